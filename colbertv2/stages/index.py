"""Stage: a compressed index over encoded documents."""

import json
from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.compression.clustering.clusters import Clusters
from colbertv2.compression.codec import Codec
from colbertv2.files import read_json
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.runtime import Runtime
from colbertv2.stages.centroids import CODES


@stage(version=3)
def run(embeddings: Artifact, centroids: Artifact, codec: Codec, *, seed: int, out: Path, runtime: Runtime) -> None:
    """Learn residuals for ``centroids``, encode every vector in ``runtime.devices`` processes, build the inverted list.

    Writes the index and ``statistics.json``: its codec and size. ``bytes_per_token`` is what one encoded vector
    takes with an id of four bytes, the papers' figure; ``index_bytes_per_token`` counts everything on disk, where ids
    take fewer, as ``bytes_per_document`` does.

    Args:
        centroids: of the stage of that name, for the same vectors and codec.
    """
    from colbertv2.indexing.index import Index

    codec.learn(Clusters.load(centroids.path), seed=seed, device=runtime.torch_device)
    index = Index.build_fitted(
        Embeddings.open(embeddings.path),
        codec,
        out,
        num_sampled_documents=read_json(centroids.path / "sample.json")["num_sampled_documents"],
        device=runtime.torch_device,
        bar=runtime.bar,
        devices=[runtime.device_of(rank) for rank in range(runtime.devices)],
        codes=centroids.path / CODES if codec.shares_codes else None,
    )
    statistics = {
        "codec": index.codec.label,
        "num_documents": index.num_documents,
        "num_vectors": index.num_vectors,
        "num_centroids": 0 if index.codec.centroids is None else len(index.codec.centroids),
        "bytes_per_token": index.codec.bytes_per_vector,
        "index_bytes_per_token": index.bytes_per_token,
        "bytes_per_document": index.bytes_per_token * index.num_vectors / index.num_documents,
        "notes": index.codec.notes,
    }
    (out / "statistics.json").write_text(json.dumps(statistics, indent=2) + "\n")


def check(embeddings: Node, centroids: Node, codec: Codec, **_: object) -> Iterator[str]:
    """The centroids must be those of these vectors and this codec."""
    if centroids.parents["embeddings"].address != embeddings.address:
        yield "the centroids are those of other embeddings; both must read the same node."
    if (found := centroids.bound["codec"].identity()) != (wanted := codec.cluster_settings()):
        yield f"the centroids are those of another codec: {found}; expected {wanted}."
