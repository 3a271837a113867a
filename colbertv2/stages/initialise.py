"""Stage: make the checkpoint that training starts from, out of pretrained weights."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from colbertv2.artifacts.stage import stage
from colbertv2.checkpoints.pretrained import too_long
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.data.collection import Collection
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.head import Head, LinearHead
from colbertv2.modeling.options import Projection
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt, Seed


@stage(version=2, neutral={"head": LinearHead()})
def run(
    backbone: Backbone,
    tokenization: Tokenization | None,
    documents: Collection,
    head: Head,
    *,
    dim: PositiveInt,
    projection: Projection,
    sample_documents: PositiveInt,
    seed: Seed,
    out: Path,
    runtime: Runtime,
) -> None:
    """Write an untrained ColBERT checkpoint.

    Args:
        backbone: the pretrained weights.
        tokenization: ``None`` takes that of the backbone, which must then be a ColBERT checkpoint. If both are given,
            they must agree, except for settings named in ``backbone.overrides``.
        documents: the collection that ``pca`` takes its sample from.
        head: the shape of the projection; a backbone that is a ColBERT checkpoint keeps its own.
        dim: number of dimensions of a token vector.
        projection: what the head starts as: ``orthogonal``, ``pca`` or ``linear``; see
            :mod:`colbertv2.modeling.initial`.
        sample_documents: number of documents that ``pca`` reads, spread evenly over the collection.
        seed: the seed of the projection.
    """
    from colbertv2.modeling import initial

    step = max(1, len(documents) // sample_documents)
    sample = [text for _, text in islice(documents, 0, step * sample_documents, step)] if projection == "pca" else []
    chosen = initial.tokenization(backbone, tokenization)
    if backbone.checkpoint:
        print(backbone.checkpoint.describe())
    initial.colbert(backbone, chosen, dim, projection, sample, seed, head).save(out)


def check(
    backbone: Backbone, tokenization: Tokenization | None, head: Head, dim: int, projection: Projection, **_: object
) -> Iterator[str]:
    """Check that the backbone supports the dimension, the tokenization and the head."""
    from colbertv2.modeling import initial

    if dim > backbone.hidden_size:
        yield f"model.dim is {dim}; expected 1 to {backbone.hidden_size}, the backbone's hidden size."
    chosen = initial.tokenization(backbone, tokenization)
    yield from initial.conflicts(backbone, chosen, dim)
    yield from initial.head_problems(backbone, head, dim, projection, chosen.document_maxlen)
    for name, length in chosen.longest.items():
        if problem := too_long(f"model.tokenization.{name}", length, backbone.max_length):
            yield problem
    if not backbone.has_words([*filter(None, (chosen.query_marker, chosen.document_marker)), *chosen.skiplist]):
        initial.tokenizer_of(backbone, chosen)  # raises an error that names the missing words
