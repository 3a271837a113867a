"""Stage: measure how far one ranking agrees with another, such as an engine's with that of exact search."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.queries import differ
from colbertv2.evaluation.agreement import measures_at
from colbertv2.evaluation.measurement import write_values
from colbertv2.evaluation.ranking import stored_ranking
from colbertv2.runtime import Runtime


@stage(version=1)
def run(
    ranking: Artifact, reference: Artifact, *, depths: list[int], persistence: float, out: Path, runtime: Runtime
) -> None:
    """Compare ``run.trec`` of ``ranking`` with that of ``reference``.

    Writes ``per_query.csv`` (columns ``query_id``, ``RBO``, and for each depth k ``overlap@k``, the share of the
    reference's first k that are among the ranking's first k, and ``found@k``, the share of them that are anywhere in
    the ranking) and ``metrics.json`` (the means, and ``queries``, the number of queries). If the reference has fewer
    than k documents, all of them count.

    Args:
        ranking: the ranking to measure.
        reference: the ranking to compare it with.
        depths: the values of k.
        persistence: of the rank-biased overlap; 0.99 in the reproducibility study of PLAID
            (:func:`colbertv2.evaluation.agreement.rank_biased_overlap`).
    """
    from colbertv2.evaluation.agreement import agreement

    own, ideal = (stored_ranking(one) for one in (ranking, reference))
    values = agreement(own, ideal, depths, persistence)
    write_values(values, out)


def measures(arguments: Mapping[str, Any]) -> list[str]:
    """The measures in ``per_query.csv``."""
    return measures_at(arguments["depths"])


def check(ranking: Node, reference: Node, depths: list[int], persistence: float) -> Iterator[str]:
    """Check that depths and persistence are in range, and that both rankings are for the same queries."""
    from colbertv2.evaluation.agreement import problems

    yield from problems(depths, persistence)
    asked = [one.bound["queries"] for one in (ranking, reference) if "queries" in one.bound]
    if len(asked) == 2 and differ(*asked):
        yield "ranking and reference are for different queries; both must use the same."
