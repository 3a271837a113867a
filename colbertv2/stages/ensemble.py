"""Stage: combine the scores that several teachers give the same candidates."""

from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import stored_ranking
from colbertv2.runtime import Runtime
from colbertv2.schema import Weight
from colbertv2.training.examples import SCORED_FILE, Example, read_examples
from colbertv2.training.objectives import Normalisation
from colbertv2.training.scored import retrieval_scores, weighted_mean, write_scored

CHOICES = ("candidates", "num_queries", "depth", "add_labelled")  # arguments of ``score`` that say what is scored


@stage(version=1, provides=["teacher_scores"])
def run(
    scored: dict[str, Artifact],
    *,
    normalisation: Normalisation,
    weights: dict[str, Weight],
    out: Path,
    runtime: Runtime,
) -> None:
    """Average the normalised scores of several teachers (JaColBERTv2.5, arXiv:2407.20750, §3.7.2).

    Writes the files of the stage ``score``, so whatever reads one teacher's scores can read these.

    Args:
        scored: name → a teacher's scored candidates, or a ranking, whose own scores count: that of the retriever, for
            example. A document that is not in the ranking gets the query's lowest score in it. The teachers must have
            scored the same documents.
        normalisation: of each query's scores, per teacher: ``none``, ``minmax`` (to 0 … 1) or ``zscore``. What reads
            the result, such as the margin of denoising, is in these units.
        weights: name → its weight in the mean. What has the weight 0 is not computed.

    Raises:
        InputError: two teachers have scored other queries or documents.
    """
    names = [name for name in scored if weights[name]]
    teachers = {name: scored[name] for name in names if "teacher_scores" in scored[name].provides}
    rankings = {name: stored_ranking(scored[name]) for name in names if name not in teachers}
    first = next(iter(teachers.values()))
    candidates = stored_ranking(first)
    combined, unscored = {}, {}
    for examples in in_parallel({name: teacher.file(SCORED_FILE) for name, teacher in teachers.items()}):
        query_id, documents, _ = next(iter(examples.values()))
        scores = [
            [*examples[name].teacher_scores.values()]
            if name in examples
            else retrieval_scores(dict(rankings[name].get(query_id, [])), documents)
            for name in names
        ]
        mean = weighted_mean(scores, [weights[name] for name in names], normalisation)
        combined[query_id] = dict(zip(documents, mean, strict=True))
        unscored[query_id] = [one for one, _ in candidates.get(query_id, []) if one not in combined[query_id]]
    write_scored(out, combined, unscored, out.name)


def in_parallel(files: dict[str, Path]) -> Iterator[dict[str, Example]]:
    """Yield for each query the scored candidates of all files, by name.

    Raises:
        InputError: the files differ in a query or in its documents, or a document has no score.
    """
    for examples in zip(*map(read_examples, files.values()), strict=True):
        found = dict(zip(files, examples, strict=True))
        first = examples[0]
        for name, one in found.items():
            if (one.query_id, one.documents) != (first.query_id, first.documents):
                raise InputError(
                    f"{files[name]} has other candidates than {next(iter(files.values()))} (queries {one.query_id} and "
                    f"{first.query_id}); the teachers of an ensemble must score the same."
                )
            if not one.is_scored:
                raise InputError(f"{files[name]}: a candidate of the query {one.query_id} has no score.")
        yield found


def unneeded(scored: dict[str, Node], weights: dict[str, float], **_: object) -> Iterator[str]:
    """What has the weight 0."""
    yield from (f"scored.{name}" for name in scored if weights.get(name) == 0)


def check(scored: dict[str, Node], weights: dict[str, float], **_: object) -> Iterator[str]:
    """Check that every teacher has a weight and is there once, and that all score the same candidates."""
    weighted = {name for name, weight in weights.items() if weight}
    if scored.keys() != weighted:
        yield (
            f"the weights above 0 are those of {', '.join(sorted(weighted)) or 'nothing'}, but scored has "
            f"{', '.join(sorted(scored)) or 'nothing'}; give each of scored a weight, and no other name."
        )
    teachers = {name: node for name, node in scored.items() if "teacher_scores" in node.stage.provides}
    if not teachers:
        yield "scored has no teacher of a weight above 0, only rankings; name at least one node of the stage score."
    places: dict[str, str] = {}
    for name, node in scored.items():
        if (same := places.setdefault(node.address, name)) != name:
            yield f"scored.{name} is the same as scored.{same} ({node.address}); give its teacher another seed."
    first = next(iter(teachers), "")
    for name, node in teachers.items():
        for key in (*CHOICES, *(["seed"] if node.arguments.get("num_queries") else [])):
            found, expected = (one.arguments.get(key, "unknown") for one in (node, teachers[first]))
            if found != expected and "unknown" not in (found, expected):
                yield (
                    f"scored.{name} has {key} {found}, but scored.{first} has {expected}; the teachers of an ensemble "
                    "must score the same candidates."
                )
