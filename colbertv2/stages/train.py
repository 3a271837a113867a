"""Stage: train a ColBERT checkpoint on examples."""

from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.data.mixture import parts_of
from colbertv2.data.queries import Queries
from colbertv2.runtime import Runtime
from colbertv2.schema import Seed
from colbertv2.training.examples import training_examples
from colbertv2.training.recipe import MAXSIM, Recipe


@stage(version=1, resumable=True, spans_nodes=True)
def run(
    checkpoint: Artifact,
    examples: Artifact,
    validation: Artifact | None,
    documents: Collection,
    queries: Queries,
    dev_queries: Queries | None,
    recipe: Recipe,
    *,
    seed: Seed,
    out: Path,
    runtime: Runtime,
) -> None:
    """Train ``checkpoint``, and keep the weights with the best dev metric.

    That is RR@10 over the candidates of the dev queries, or the mean of ``recipe.search_validation`` if that selects.

    Writes the trained checkpoint, ``log*/metrics.csv`` and ``summary.json``; see :func:`colbertv2.training.fit.fit`.

    Args:
        checkpoint: the checkpoint to start from.
        examples: training examples.
        validation: examples of dev queries, or ``None`` for none; without a search validation that selects, the last
            weights are then kept.
        documents: the collection of the examples.
        queries: the queries of the examples.
        dev_queries: the queries of ``validation``; ``None`` takes ``queries``. Prompts are those of ``queries``.
        recipe: how to train.
        seed: the seed of everything random in the training.
    """
    from colbertv2.analysis.explain import document_token_ids
    from colbertv2.modeling.attention import with_attention
    from colbertv2.modeling.colbert import ColBERT
    from colbertv2.training.data import TextLookup
    from colbertv2.training.fit import fit

    model = ColBERT.load(
        checkpoint.path,
        documents.maxlen,
        query_prompt=queries.prompt,
        document_prompt=documents.prompt,
        query_maxlen=queries.maxlen,
    )
    with_attention(model, runtime.attention)
    texts = (text for _, text in documents)
    token_ids = document_token_ids(model.tokenizer, texts, model.vectors_per_document)
    recipe.interaction.reduction.learn(model.tokenizer, token_ids)
    fit(
        model,
        recipe,
        training_examples(examples),
        training_examples(validation),
        TextLookup(queries, documents),
        TextLookup(dev_queries or queries, documents),
        seed=seed,
        out=out,
        runtime=runtime,
    )


def check(
    checkpoint: Node,
    documents: Collection,
    queries: Queries,
    dev_queries: Queries | None,
    validation: Node | None,
    recipe: Recipe,
    **_: object,
) -> Iterator[str]:
    """Check that training and validation read texts alike, and that the recipe fits the checkpoint and the dev set."""
    from colbertv2.modeling.initial import (
        backbone_of,
        dim_of,
        pooling_problems,
        text_problems,
        trained_length,
        vectors_per_document,
    )

    trained = parts_of(queries)
    for part, of_part in parts_of(documents).items():
        yield from text_problems(checkpoint, trained[part], of_part)
        yield from pooling_problems(checkpoint, of_part.maxlen)
    for part, of_dev in parts_of(dev_queries or queries).items():
        for name in ("prompt", "maxlen"):
            own, other = getattr(trained[part], name), getattr(of_dev, name)
            if own != other:
                yield (
                    f"collection.dev.{name} is {other!r}, but collection.train.{name} is {own!r}; expected the same, "
                    f"as one model is trained{f' ({part})' if part else ''}."
                )
    if recipe.interaction != MAXSIM:
        maxlen = documents.maxlen or trained_length(checkpoint)
        yield from recipe.interaction.model_problems(dim_of(checkpoint), maxlen, vectors_per_document(checkpoint))
    if recipe.lora is not None:
        yield from recipe.lora.problems(backbone_of(checkpoint))
    if recipe.search_validation is not None:
        yield from recipe.search_validation.problems()
    if recipe.patience is not None and recipe.deciding_metric(validation is not None) is None:
        yield (
            f"training patience is {recipe.patience}, but no metric chooses the weights, so none can get better; use "
            "dev queries, or a search_validation with selects=true."
        )


def lacks(recipe: Recipe, **_: object) -> Iterator[str]:
    """Say what the recipe needs and this machine lacks."""
    yield from recipe.lacks()
