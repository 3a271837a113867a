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

    >>> import pandas as pd
    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp())
    >>> write_values(pd.DataFrame({"RR@10": [1.0, 0.5]}, index=pd.Index(["a", "b"], name="query_id")), out)
    >>> read_json(out / "metrics.json")
    {'RR@10': 0.75, 'queries': 2}
    """
    values.to_csv(out / "per_query.csv", lineterminator="\n")
    write_json(out / "metrics.json", {**values.mean().to_dict(), "queries": len(values)})


def per_query(evaluation: Artifact) -> pd.DataFrame:
    """What ``write_values`` wrote: index ``query_id``, one column a measure."""
    import pandas as pd

    table = pd.read_csv(evaluation.path / "per_query.csv", dtype={"query_id": str}, keep_default_na=False)
    return table.set_index("query_id")


def timing(ranking: Artifact) -> dict[str, Any]:
    """What a ranking took to search; empty where nobody timed it, as one from outside or one drawn at random."""
    file = ranking.path / "timing.json"
    return read_json(file) if file.is_file() else {}


def index_statistics(ranking: Artifact) -> dict[str, Any]:
    """What the index behind a ranking tells of its sizes.

    What searches without an index may tell its own; empty where it does not, such as a ranking from outside.

    Raises:
        InputError: there is an index, and its statistics are missing or damaged.
    """
    if "index" in ranking.parents:
        return read_json(ranking.parents["index"].path / "statistics.json")
    file = ranking.path / "statistics.json"
    return read_json(file) if file.is_file() else {}


def costs(evaluation: Artifact) -> dict[str, float]:
    """What an evaluation's search and the index behind it take; of ``COSTS`` what is known."""
    ranking = evaluation.parents["ranking"]
    found = {**timing(ranking), **index_statistics(ranking)}
    if index := ranking.parents.get("index"):
        own = [index, *(parent for role, parent in index.parents.items() if role == "centroids")]
        found["build_seconds"] = sum(one.record["seconds"] for one in own)
    return {name: float(value) for name in COSTS if (value := found.get(name)) is not None}


def summary(evaluation: Artifact) -> dict[str, float]:
    """Means, number of queries, and costs."""
    return {**read_json(evaluation.path / "metrics.json"), **costs(evaluation)}
