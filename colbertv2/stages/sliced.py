"""Stage: keep only the first dimensions of a checkpoint's token vectors, as Matryoshka models allow."""

from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt


@stage(version=1)
def run(checkpoint: Artifact, *, dim: PositiveInt, out: Path, runtime: Runtime) -> None:
    """Write ``checkpoint`` with the first ``dim`` outputs of its projection and everything else unchanged.

    Its vectors are the first ``dim`` dimensions of the vectors before, L2-normalised again (Kusupati et al.,
    "Matryoshka Representation Learning", NeurIPS 2022). Queries and documents are cut alike, since both are encoded by
    the checkpoint.

    Args:
        checkpoint: any checkpoint; one that was trained for this loses less.
        dim: number of dimensions of a token vector, at most that of ``checkpoint``.
    """
    from colbertv2.modeling.colbert import ColBERT

    model = ColBERT.load(checkpoint.path)
    *layers, last = model.projection.stored()
    ColBERT(model.transformer, (*layers, last.sliced(dim)), model.tokenizer, model.pooling_weight).save(out)


def replaced(checkpoint: Node, dim: int) -> str | None:
    """With all dimensions, the checkpoint itself stands in the place of this node."""
    from colbertv2.modeling.initial import dim_of

    return "checkpoint" if dim == dim_of(checkpoint) else None


def check(checkpoint: Node, dim: int) -> Iterator[str]:
    """Check that the checkpoint has that many dimensions."""
    from colbertv2.modeling.initial import dim_of

    before = dim_of(checkpoint)
    if dim > before:
        yield f"dim is {dim}; expected 1 to {before}, the dimensions of {checkpoint.key}."
