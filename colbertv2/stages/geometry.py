"""Stage: how evenly a checkpoint's document vectors use their space."""

from dataclasses import asdict
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.stage import stage
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.runtime import Runtime

BLOCK_VECTORS = 2**16


@stage(version=1)
def run(embeddings: Artifact, *, out: Path, runtime: Runtime) -> None:
    """Measure anisotropy, the mean vector and the effective rank of all vectors.

    Writes ``metrics.json`` with the figures of :class:`~colbertv2.analysis.geometry.Geometry`, and ``table.md``. How
    full the centroids are is in the ``centroids.csv`` of the stage ``centroid_analysis``.

    Args:
        embeddings: encoded documents, with at least two vectors.
    """
    import numpy as np

    from colbertv2.analysis.geometry import geometry_of
    from colbertv2.errors import InputError
    from colbertv2.files import write_json
    from colbertv2.reporting.analysis_reports import geometry_report

    vectors = Embeddings.open(embeddings.path)
    if vectors.num_vectors < 2:
        raise InputError(f"{embeddings.path} has {vectors.num_vectors} vectors; expected at least 2.")
    starts = range(0, vectors.num_vectors, BLOCK_VECTORS)
    progress = runtime.bar(starts, "measure vectors", f"× {BLOCK_VECTORS} vectors", len(starts))
    found = geometry_of(vectors.vectors(start, start + BLOCK_VECTORS).astype(np.float32) for start in progress)
    write_json(out / "metrics.json", asdict(found))
    (out / "table.md").write_text(geometry_report(found, vectors.num_vectors, vectors.dim), encoding="utf-8")
