"""Stage: the checkpoint before training, from pretrained weights."""

from itertools import islice
from pathlib import Path

from colbertv2.artifacts import stage
from colbertv2.data import Collection
from colbertv2.modeling import Backbone, Conventions, initial
from colbertv2.runtime import Runtime


@stage(version=1)
def run(
    backbone: Backbone,
    conventions: Conventions,
    documents: Collection,
    *,
    dim: int,
    projection: str,
    sample_documents: int,
    seed: int,
    out: Path,
    runtime: Runtime,
) -> None:
    """Write an untrained ColBERT checkpoint.

    Args:
        projection: ``orthogonal``, ``pca`` or ``linear``; see :mod:`colbertv2.modeling.initial`.
        sample_documents: documents that ``pca`` reads, spread evenly over the collection.
    """
    step = max(1, len(documents) // sample_documents)
    sample = [text for _, text in islice(documents, 0, step * sample_documents, step)] if projection == "pca" else []
    initial.colbert(backbone, conventions, dim, projection, sample, seed).save(out)
