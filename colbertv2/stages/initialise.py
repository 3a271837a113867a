"""Stage: the checkpoint before training, from pretrained weights."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.tokenizer import Conventions, Tokenizer
from colbertv2.planning.estimate import Cost, Estimates
from colbertv2.planning.models import checkpoint_bytes
from colbertv2.planning.sizes import Transformer, document_lengths, tokenizer_of
from colbertv2.runtime import Runtime


@stage(version=1)
def run(
    backbone: Backbone,
    conventions: Conventions | None,
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
        conventions: ``None`` takes those of the backbone, which then has to be a ColBERT checkpoint. Where both speak,
            they have to agree, but for what ``backbone.overrides`` names.
        projection: ``orthogonal``, ``pca`` or ``linear``; see :mod:`colbertv2.modeling.initial`.
        sample_documents: documents that ``pca`` reads, spread evenly over the collection.
    """
    step = max(1, len(documents) // sample_documents)
    sample = [text for _, text in islice(documents, 0, step * sample_documents, step)] if projection == "pca" else []
    chosen = initial.conventions(backbone, conventions)
    if backbone.checkpoint:
        print(backbone.checkpoint.describe())
    initial.colbert(backbone, chosen, dim, projection, sample, seed).save(out)


def check(
    backbone: Backbone, conventions: Conventions | None, dim: int, projection: str, sample_documents: int, **_: object
) -> Iterator[str]:
    """What the backbone can't do."""
    if projection not in initial.PROJECTIONS:
        yield f"model.projection is {projection!r}; expected one of {', '.join(initial.PROJECTIONS)}."
    if sample_documents < 1:
        yield f"model.sample_documents is {sample_documents}; expected at least 1."
    if not 1 <= dim <= backbone.hidden_size:
        yield f"model.dim is {dim}; expected 1 to {backbone.hidden_size}, the backbone's hidden size."
    chosen = initial.conventions(backbone, conventions)
    yield from initial.conflicts(backbone, chosen, dim)
    for name in ("query_maxlen", "document_maxlen"):
        if (length := getattr(chosen, name)) > backbone.max_length:
            yield f"model.conventions.{name} is {length}; the backbone reads at most {backbone.max_length} tokens."
    Tokenizer(backbone.tokenizer(), chosen)  # refuses markers that its vocabulary has not


def cost(
    estimates: Estimates,
    backbone: Backbone,
    conventions: Conventions | None,
    documents: Collection,
    projection: str,
    sample_documents: int,
    **_: object,
) -> Cost:
    """Reading and writing weights; for ``pca`` also encoding the sample."""
    transformer, tokenizer, flops = Transformer.of(backbone.directory), tokenizer_of(backbone, conventions), 0.0
    if projection == "pca":
        lengths = document_lengths(documents, tokenizer)
        number = min(sample_documents, lengths.count)
        flops = transformer.flops(number * lengths.tokens, number * lengths.squares)
    return Cost(
        flops=flops,
        seconds=1.5 + transformer.weights / 2e8,
        memory=2 * transformer.weights + transformer.forward_bytes(2048, 256),
        disk=checkpoint_bytes(transformer, tokenizer),
        kind=projection,
    )
