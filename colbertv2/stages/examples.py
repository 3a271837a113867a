"""Stage: training examples from candidates, denoised where a teacher has scored them."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from colbertv2.artifacts import Artifact, stage
from colbertv2.data import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.runtime import Runtime
from colbertv2.training.denoising import Denoising
from colbertv2.training.examples import Example, Examples, read_examples, write_examples


@stage(version=1)
def run(candidates: Artifact, queries: Queries, denoising: Denoising, *, out: Path, runtime: Runtime) -> None:
    """One example per labelled query and positive, its negatives from ``candidates`` (a ranking, or scored ones).

    Writes ``examples.jsonl`` and ``denoising.json``: what each filter removed, as counts and shares.
    """
    removed: Counter = Counter()
    count = write_examples(out / "examples.jsonl", denoised(scored(candidates), queries, denoising, removed))
    if not count:
        raise InputError("No training example came out: no query has a label.")
    total = max(1, removed["candidates"])
    shares = {
        f"share_{name}": round(value / total, 4) for name, value in sorted(removed.items()) if name != "candidates"
    }
    (out / "denoising.json").write_text(json.dumps({"examples": count, **dict(removed), **shares}, indent=2))
    kept = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in removed.items() if name != "candidates")
    print(f"{count:,} examples from {removed['candidates']:,} candidates: {kept}")


def denoised(
    candidates: dict[str, Example], queries: Queries, denoising: Denoising, removed: Counter
) -> Iterator[Example]:
    """Examples of every labelled query; one that retrieval found nothing for has no negatives.

    Where only some queries' candidates were scored, those are the ones.
    """
    scored_only = any(score == score for example in candidates.values() for score in example.scores)
    for query_id, _ in queries:
        candidate = candidates.get(query_id, Example(query_id, [], []))
        if scored_only and query_id not in candidates:
            continue
        known = dict(zip(candidate.documents, candidate.scores, strict=True))
        denoising.check_scored(list(known.values()))
        positives = {document: known.get(document, float("nan")) for document in queries.qrels.relevant(query_id)}
        yield from denoising.examples(query_id, list(known.items()), positives, removed)


def scored(candidates: Artifact) -> dict[str, Example]:
    """The candidates of a ``score`` stage with the teacher's scores, or of a ranking without any, by query id."""
    if (candidates.path / "scored.jsonl").exists():
        return {example.query_id: example for example in read_examples(candidates.path / "scored.jsonl")}
    return {
        query_id: Example(query_id, [document for document, _ in ranked], [float("nan")] * len(ranked))
        for query_id, ranked in Ranking.read(candidates.path / "run.trec").items()
    }


def read(examples: Artifact | None) -> Sequence[Example]:
    """The examples of an artifact of this stage; none of ``None``."""
    return Examples(examples.path / "examples.jsonl") if examples else []
