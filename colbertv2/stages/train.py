"""Stage: train a ColBERT checkpoint on examples."""

from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.modeling.colbert import ColBERT
from colbertv2.planning.estimate import Cost, Estimates
from colbertv2.planning.models import Model, training
from colbertv2.runtime import Runtime
from colbertv2.stages.examples import read
from colbertv2.training.data import TextLookup
from colbertv2.training.fit import fit
from colbertv2.training.recipe import Recipe


@stage(version=1, resumable=True)
def run(
    checkpoint: Artifact,
    examples: Artifact,
    validation: Artifact | None,
    documents: Collection,
    queries: Queries,
    dev_queries: Queries | None,
    recipe: Recipe,
    *,
    seed: int,
    out: Path,
    runtime: Runtime,
) -> None:
    """Train from ``checkpoint``; keep the weights that rank the dev queries' candidates best.

    Args:
        examples: training examples. validation: examples of dev queries, or ``None`` to keep the last weights.
    """
    model = ColBERT.load(checkpoint.path)
    fit(
        model,
        recipe,
        read(examples),
        read(validation),
        TextLookup(queries, documents),
        TextLookup(dev_queries or queries, documents),
        seed=seed,
        out=out,
        runtime=runtime,
    )


def cost(
    estimates: Estimates,
    checkpoint: Node,
    validation: Node | None,
    documents: Collection,
    queries: Queries,
    recipe: Recipe,
    **_: object,
) -> Cost:
    """Forward and backward passes of every step, and forward ones of the evaluations."""
    model = Model.of(checkpoint)
    lengths, evaluated = model.documents(documents), 0.0
    if validation is not None:
        asked, depth = (estimates.size(validation, name) for name in ("examples", "depth"))
        evaluated = min(recipe.validation_queries, asked) * depth
    longest = model.tokenizer.conventions.document_maxlen
    passage = lengths.tokens, lengths.squares
    return training(model, recipe, estimates.runtime, model.queries(queries), passage, evaluated, longest)
