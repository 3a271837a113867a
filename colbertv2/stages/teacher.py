"""Stage: a cross-encoder teacher, released or trained here from a sentence encoder."""

from pathlib import Path

from colbertv2.artifacts import Artifact, stage
from colbertv2.data import Collection, Queries
from colbertv2.modeling import Backbone
from colbertv2.runtime import Runtime
from colbertv2.stages.examples import read
from colbertv2.teachers import CrossEncoder
from colbertv2.training.data import TextLookup
from colbertv2.training.fit import Recipe, fit


@stage(version=1, resumable=True)
def run(
    backbone: Backbone,
    examples: Artifact | None,
    validation: Artifact | None,
    documents: Collection | None,
    queries: Queries | None,
    dev_queries: Queries | None,
    recipe: Recipe | None,
    *,
    maxlen: int,
    readout: str,
    temperature: float,
    seed: int,
    out: Path,
    runtime: Runtime,
) -> None:
    """Write a cross-encoder; with ``recipe=null`` the backbone as released, else trained on ``examples``.

    Args:
        maxlen: tokens of a query–passage pair. readout: ``late_interaction`` or ``classifier``.
        temperature: of the late-interaction read-out.
    """
    teacher = CrossEncoder.pretrained(backbone.directory, maxlen, readout, temperature)
    if recipe is not None:
        assert examples and documents and queries  # the stage's check has seen to it
        fit(
            teacher,
            recipe,
            read(examples),
            read(validation),
            TextLookup(queries, documents),
            TextLookup(dev_queries or queries, documents),
            seed=seed,
            out=out,
            runtime=runtime,
        )
    teacher.save(out)


def check(examples, documents, queries, recipe, **_):
    """A trained teacher needs something to learn from."""
    if recipe is not None and not (examples and documents and queries):
        yield "teacher.recipe is set, but examples, documents or queries are null; a trained teacher needs all three."
