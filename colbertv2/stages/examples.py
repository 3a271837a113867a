"""Stage: training examples from candidates, denoised where a teacher has scored them."""

import json
from collections import Counter
from collections.abc import Iterator
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

    def examples() -> Iterator[Example]:
        for candidate in scored(candidates):
            known = dict(zip(candidate.documents, candidate.scores, strict=True))
            relevant = queries.qrels.relevant(candidate.query_id)
            positives = {document: known.get(document, float("nan")) for document in relevant}
            denoising.check_scored(list(known.values()))
            ranked = list(known.items())
            yield from denoising.examples(candidate.query_id, ranked, positives, removed)

    count = write_examples(out / "examples.jsonl", examples())
    if not count:
        raise InputError("No training example came out: no query has both a label and candidates.")
    total = max(1, removed["candidates"])
    shares = {
        f"share_{name}": round(value / total, 4) for name, value in sorted(removed.items()) if name != "candidates"
    }
    (out / "denoising.json").write_text(json.dumps({"examples": count, **dict(removed), **shares}, indent=2))


def scored(candidates: Artifact) -> Iterator[Example]:
    """The candidates of a ``score`` stage with the teacher's scores, or of a ranking without any."""
    if (candidates.path / "scored.jsonl").exists():
        yield from read_examples(candidates.path / "scored.jsonl")
        return
    for query_id, ranked in Ranking.read(candidates.path / "run.trec").items():
        yield Example(query_id, [document for document, _ in ranked], [float("nan")] * len(ranked))


def read(examples: Artifact | None) -> Examples:
    """The examples of an artifact of this stage; none of ``None``."""
    return Examples.read(examples.path / "examples.jsonl") if examples else Examples()
