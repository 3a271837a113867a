"""Stage: make training examples from candidates, and denoise them if a teacher has scored them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import stored_ranking
from colbertv2.files import write_json
from colbertv2.runtime import Runtime
from colbertv2.training.denoising import Denoising
from colbertv2.training.examples import EXAMPLES_FILE, SCORED_FILE, Example, read_examples, write_examples


@stage(version=1)
def run(candidates: Artifact, queries: Queries, denoising: Denoising, *, out: Path, runtime: Runtime) -> None:
    """Make one example per query and labelled document, with negatives from ``candidates``.

    For a query without labels (``queries.unlabelled``), the candidate with the best teacher score is the positive; if
    there are no teacher scores, as before round 1, it gives no example.

    Writes ``examples.jsonl``, and ``denoising.json`` with the number and share of candidates that each filter removed.

    Args:
        candidates: a ranking, or the scored candidates of the stage ``score``.
        queries: training queries with their labels.
        denoising: the filters.

    Raises:
        InputError: there is no example: no query has a label or teacher scores.
    """
    removed: Counter = Counter()
    count = write_examples(out / EXAMPLES_FILE, denoised(read_candidates(candidates), queries, denoising, removed))
    if not count:
        raise InputError(
            "There are no training examples: no query has a label or teacher scores. Use labelled training queries, or "
            "score the candidates with a teacher."
        )
    total = max(1, removed["candidates"])
    shares = {
        f"share_{name}": round(value / total, 4) for name, value in sorted(removed.items()) if name != "candidates"
    }
    write_json(out / "denoising.json", {"examples": count, **dict(removed), **shares})
    kept = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in removed.items() if name != "candidates")
    print(f"{count:,} examples from {removed['candidates']:,} candidates: {kept}")


def check(candidates: Node, denoising: Denoising, **_: object) -> Iterator[str]:
    """Check that the threshold has a meaning on the scale of the scores, which may be logits or normalised."""
    ensemble = candidates.stage.name == "ensemble"
    scored = list(candidates.parents.values()) if ensemble else [candidates]
    teachers = [one.parents["teacher"] for one in scored if "teacher" in one.parents]
    normalisation = candidates.values["normalisation"] if ensemble else "none"
    if normalisation != "none":
        yield from misfits_of_normalised(normalisation, denoising)
        return
    logits = any(one.values.get("scoring_head") == "classifier" for one in teachers)
    if logits and denoising.ratio is not None and denoising.activation == "none":
        yield (
            f"denoising.ratio is {denoising.ratio:g}, but the teacher's scores are logits, which may be "
            "negative; set denoising.activation=sigmoid, or use denoising.margin."
        )


def misfits_of_normalised(normalisation: str, denoising: Denoising) -> Iterator[str]:
    """Yield a sentence for each threshold that has no meaning for the normalised scores of an ensemble."""
    what = f"an ensemble's scores with normalisation={normalisation}"
    if denoising.activation == "sigmoid":
        yield f"denoising.activation is sigmoid, but {what} are no logits; set it to none."
    if denoising.ratio is not None:
        yield (
            f"denoising.ratio is {denoising.ratio:g}, but the zero of {what} depends on the other candidates, so a "
            "ratio has no meaning; use denoising.margin."
        )
    if normalisation == "minmax" and denoising.margin is not None and abs(denoising.margin) >= 1:
        yield (
            f"denoising.margin is {denoising.margin:g}, but {what} are from 0 to 1, so it would drop "
            f"{'all' if denoising.margin > 0 else 'no'} candidates; expected more than -1 and less than 1."
        )


def denoised(
    candidates: dict[str, Example], queries: Queries, denoising: Denoising, removed: Counter
) -> Iterator[Example]:
    """Yield the examples of every query that has a positive. If there are no candidates, an example has no negatives.

    If candidates are scored, queries without scored candidates are left out.

    Args:
        candidates: candidates of each query, by query id.
        queries: training queries with their labels.
        denoising: the filters.
        removed: counts what each filter removes, updated in place.
    """
    scored_only = any(example.teacher_scores for example in candidates.values())
    for query_id, _ in queries:
        candidate = candidates.get(query_id, Example(query_id, [], []))
        if scored_only and query_id not in candidates:
            continue
        known = dict(zip(candidate.documents, candidate.scores, strict=True))
        denoising.check_scored(list(known.values()))
        labelled = queries.qrels.relevant(query_id) or best_scored(candidate.teacher_scores)
        positives = {document: known.get(document) for document in labelled}
        yield from denoising.examples(query_id, list(known.items()), positives, removed)


def best_scored(scores: dict[str, float]) -> list[str]:
    """A list of the document with the best teacher score; empty if there are no scores."""
    return [max(scores, key=scores.__getitem__)] if scores else []


def read_candidates(candidates: Artifact) -> dict[str, Example]:
    """Candidates by query id: with the teacher's scores if their stage provides these, else without scores."""
    if "teacher_scores" in candidates.provides:
        return {example.query_id: example for example in read_examples(candidates.file(SCORED_FILE))}
    return {
        query_id: Example(query_id, [document for document, _ in ranked], [None] * len(ranked))
        for query_id, ranked in stored_ranking(candidates).items()
    }
