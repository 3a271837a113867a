"""Stage: provide a cross-encoder teacher, either a released one or one trained here."""

from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.integrity import check_directory
from colbertv2.artifacts.stage import stage
from colbertv2.checkpoints.pretrained import too_long
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.options import ScoringHead
from colbertv2.runtime import Runtime
from colbertv2.schema import MaxLength, Scale, Seed
from colbertv2.training.examples import training_examples
from colbertv2.training.recipe import MAXSIM, Recipe


@stage(version=1, resumable=True, spans_nodes=True)
def run(
    backbone: Backbone | None,
    encoder: Artifact | None,
    examples: Artifact | None,
    validation: Artifact | None,
    documents: Collection | None,
    queries: Queries | None,
    dev_queries: Queries | None,
    recipe: Recipe | None,
    *,
    maxlen: MaxLength,
    scoring_head: ScoringHead,
    temperature: Scale,
    seed: Seed,
    out: Path,
    runtime: Runtime,
) -> None:
    """Write a cross-encoder: with ``recipe=null`` the weights it starts from, otherwise trained on ``examples``.

    Args:
        backbone: pretrained weights to start from.
        encoder: instead of ``backbone``, a ColBERT checkpoint to start from with its encoder.
        examples: training examples.
        validation: examples of dev queries, or ``None`` to keep the last weights.
        documents: the collection of the examples.
        queries: the queries of the examples.
        dev_queries: the queries of ``validation``; ``None`` takes ``queries``.
        recipe: how to train.
        maxlen: maximum number of tokens per query–passage pair.
        scoring_head: ``late_interaction`` or ``classifier``.
        temperature: of the head ``late_interaction``.
        seed: the seed of everything random in the training.
    """
    from colbertv2.modeling.attention import with_attention
    from colbertv2.modeling.cross_encoder import CrossEncoder
    from colbertv2.training.data import TextLookup
    from colbertv2.training.fit import fit

    if encoder:
        check_directory(encoder.path)
    start = encoder.path if encoder else backbone and backbone.directory
    assert start  # ensured by ``check``
    teacher = with_attention(CrossEncoder.pretrained(start, maxlen, scoring_head, temperature), runtime.attention)
    if recipe is None:
        teacher.save(out)
    else:
        assert examples and documents and queries
        fit(
            teacher,
            recipe,
            training_examples(examples),
            training_examples(validation),
            TextLookup(queries, documents),
            TextLookup(dev_queries or queries, documents),
            seed=seed,
            out=out,
            runtime=runtime,
        )


def check(backbone, encoder, examples, validation, documents, queries, recipe, maxlen, scoring_head, **_):
    """Check that the teacher has weights to start from, and that a trained one has examples and suitable settings."""
    from colbertv2.modeling.initial import backbone_of

    start = backbone or (encoder and backbone_of(encoder))
    if start and (problem := too_long("teacher.maxlen", maxlen, start.max_length)):
        yield problem
    if recipe is None and scoring_head == "classifier" and start and not (backbone and backbone.is_classifier):
        yield (
            "teacher.scoring_head is classifier and teacher.recipe is null, but the backbone has no classifier, so its "
            "head would be random. Use a released cross-encoder, a recipe, or scoring_head=late_interaction."
        )
    if (backbone is None) == (encoder is None):
        yield "teacher.backbone and teacher.encoder: set exactly one of the two; the other must be null."
    if recipe is not None and recipe.lora is not None:
        yield from recipe.lora.problems(start)
    if recipe is not None and not (examples and documents and queries):
        yield "teacher.recipe is set, but examples, documents or queries are null; a trained teacher needs all three."
    if recipe is not None and any(objective.needs_all_pairs for objective in recipe.losses.values()):
        yield "training.teacher uses in-batch negatives, which a cross-encoder can't score; remove that objective."
    if recipe is not None and recipe.search_validation is not None:
        yield "training.teacher.search_validation is set, but a cross-encoder can't search; remove it."
    if recipe is not None and recipe.interaction != MAXSIM:
        yield "training.teacher.interaction is set, but a cross-encoder has no token vectors; remove it."
    if recipe is not None and recipe.patience is not None and validation is None:
        yield "training.teacher.patience is set, but there are no dev queries to validate by; remove it."


def lacks(recipe: Recipe | None, **_: object) -> Iterator[str]:
    """Say what the recipe needs and this machine lacks."""
    if recipe is not None:
        yield from recipe.lacks()
