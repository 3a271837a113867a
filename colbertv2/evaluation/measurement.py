"""What an evaluation says: measures query by query, and what the ranking that they are of costs.

An evaluation stage has the parent ``ranking``, declares its measures by a function ``measures`` beside its ``run``
(:class:`~colbertv2.artifacts.stage.Stage`), and writes their values by ``write_values``. Then sweeps, reports and
tables read it, wherever it is defined.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.files import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

COSTS = ("bytes_per_token", "bytes_per_document", "ms_per_query", "build_seconds")


def measures_of(node: Node) -> list[str]:
    """The measures that a node takes of a ranking, query by query; none where its stage is no evaluation.

    >>> from colbertv2.artifacts.reader import parse
    >>> evaluation = {"_target_": "colbertv2.stages.evaluate.run", "measures": ["RR@10"]}
    >>> measures_of(parse(evaluation)), measures_of(parse({"_target_": "colbertv2.stages.search.run"}))
    (['RR@10'], [])
    """
    declared = node.stage.measures
    return [] if declared is None else list(declared(node.values))


def write_values(values: pd.DataFrame, out: Path) -> None:
    """Write ``per_query.csv`` and ``metrics.json``: means and the number of queries.

    Args:
        values: ``[queries, measures]``, index ``query_id``.
    """
    values.to_csv(out / "per_query.csv", lineterminator="\n")
    write_json(out / "metrics.json", means_of(values))


def means_of(values: pd.DataFrame) -> dict[str, float]:
    """The mean of each measure, and ``queries``, their number.

    >>> import pandas as pd
    >>> means_of(pd.DataFrame({"RR@10": [1.0, 0.5]}))
    {'RR@10': 0.75, 'queries': 2}
    """
    return {**values.mean().to_dict(), "queries": len(values)}


def per_query(evaluation: Artifact) -> pd.DataFrame:
    """What ``write_values`` wrote: index ``query_id``, one column a measure."""
    import pandas as pd

    table = pd.read_csv(evaluation.path / "per_query.csv", dtype={"query_id": str}, keep_default_na=False)
    return table.set_index("query_id")


def timing(ranking: Artifact) -> dict[str, Any]:
    """What a ranking took to search; empty where nobody timed it, as one from outside or one drawn at random."""
    file = ranking.path / "timing.json"
    return read_json(file) if file.is_file() else {}


def searched(ranking: Artifact) -> Artifact:
    """The index that a ranking is from; without one the ranking itself, which may tell its own sizes."""
    return ranking.parents.get("index", ranking)


def statistics(index: Artifact) -> dict[str, Any]:
    """The sizes that an index, or what searches without one, tells of itself; empty where it tells none."""
    file = index.path / "statistics.json"
    return read_json(file) if file.is_file() else {}


def costs(evaluation: Artifact) -> dict[str, float]:
    """What an evaluation's search and the index behind it take; of ``COSTS`` what is known."""
    ranking = evaluation.parents["ranking"]
    index = searched(ranking)
    found = {**timing(ranking), **statistics(index)}
    if index is not ranking:
        own = [index, *(parent for role, parent in index.parents.items() if role == "centroids")]
        found["build_seconds"] = sum(one.record["seconds"] for one in own)
    return {name: float(value) for name in COSTS if (value := found.get(name)) is not None}


def summary(evaluation: Artifact) -> dict[str, float]:
    """Means, number of queries, and costs."""
    return {**read_json(evaluation.path / "metrics.json"), **costs(evaluation)}
