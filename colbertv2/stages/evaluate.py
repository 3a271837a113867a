"""Stage: effectiveness of a ranking."""

import json
from pathlib import Path

from colbertv2.artifacts import Artifact, Cost, Estimates, Node, stage
from colbertv2.data import Queries
from colbertv2.evaluation import Ranking, evaluate
from colbertv2.evaluation.measures import parse
from colbertv2.runtime import Runtime

READ, MEASURED = 1e-6, 1e-7  # seconds to read a document of a ranking, and for each measure of it


def check(ranking: object, queries: Queries, measures: list[str]) -> list[str]:
    """Unknown measures and queries without judgements, before the first second of work."""
    parse(measures)
    return [] if queries.judgements else [f"{queries.id!r} has no relevance judgements to evaluate against."]


@stage(version=1)
def run(ranking: Artifact, queries: Queries, *, measures: list[str], out: Path, runtime: Runtime) -> None:
    """Evaluate ``run.trec`` of ``ranking``.

    Writes ``per_query.csv`` (``query_id`` and one column a measure) and ``metrics.json`` (the means, and ``queries``,
    their number). Judged queries without results count as zero.

    Args:
        measures: in the notation of ir_measures.
    """
    values = evaluate(Ranking.read(ranking.path / "run.trec"), queries.qrels, measures)
    values.to_csv(out / "per_query.csv", lineterminator="\n")
    means = {**values.mean().to_dict(), "queries": len(values)}
    (out / "metrics.json").write_text(json.dumps(means, indent=2) + "\n")


def cost(estimates: Estimates, ranking: Node, queries: Queries, measures: list[str], **_: object) -> Cost:
    """Reading the ranking, and each measure over it."""
    results = estimates.size(ranking, "queries") * estimates.size(ranking, "depth")
    return Cost(
        seconds=0.3 + results * (READ + MEASURED * len(measures)),
        memory=results * 600,
        disk=len(queries) * (12 + 10 * len(measures)) + 500,
    )
