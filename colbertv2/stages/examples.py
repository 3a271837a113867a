"""Stage: training examples from candidates, denoised where a teacher has scored them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
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
    """One example per query and labelled document, its negatives from ``candidates`` (a ranking, or scored ones).

    A query without a label (``queries.unlabelled``) has the candidate that the teacher scores best as its positive;
    where no teacher has spoken, as before round 1, it gives no example.

    Writes ``examples.jsonl`` and ``denoising.json``: what each filter removed, as counts and shares.
    """
    removed: Counter = Counter()
    count = write_examples(out / EXAMPLES_FILE, denoised(read_candidates(candidates), queries, denoising, removed))
    if not count:
        raise InputError("No training example came out: no query has a label or teacher scores.")
    total = max(1, removed["candidates"])
    shares = {
        f"share_{name}": round(value / total, 4) for name, value in sorted(removed.items()) if name != "candidates"
    }
    write_json(out / "denoising.json", {"examples": count, **dict(removed), **shares})
    kept = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in removed.items() if name != "candidates")
    print(f"{count:,} examples from {removed['candidates']:,} candidates: {kept}")


def denoised(
    candidates: dict[str, Example], queries: Queries, denoising: Denoising, removed: Counter
) -> Iterator[Example]:
    """Examples of every query with a positive; one that retrieval found nothing for has no negatives.

    Where only some queries' candidates were scored, those are the ones.
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
    """The document that the teacher scores best; none where it has scored none."""
    return [max(scores, key=scores.__getitem__)] if scores else []


def read_candidates(candidates: Artifact) -> dict[str, Example]:
    """By query id: what the stage ``score`` wrote, with the teacher's scores, or any other stage's ranking, without."""
    if candidates.stage == "score":
        return {example.query_id: example for example in read_examples(candidates.file(SCORED_FILE))}
    return {
        query_id: Example(query_id, [document for document, _ in ranked], [None] * len(ranked))
        for query_id, ranked in stored_ranking(candidates).items()
    }
