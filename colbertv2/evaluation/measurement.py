"""What an evaluation measures: values per query, and what its ranking costs.

An evaluation stage has the parent ``ranking``, declares its measures by a function ``measures`` beside its ``run``
(:class:`~colbertv2.artifacts.stage.Stage`), and writes their values with ``write_values``. Sweeps, reports and tables
then read it, wherever it is defined. Latency is measured as PLAID does it (its section 4.1).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.errors import InputError
from colbertv2.files import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

Query = TypeVar("Query")
COSTS = ("bytes_per_token", "bytes_per_document", "ms_per_query", "build_seconds")


def milliseconds_per_query(search_one: Callable[[Query], object], queries: Sequence[Query], trials: int = 3) -> float:
    """Milliseconds per query, one query at a time: the mean over ``queries``, the best of ``trials`` passes.

    ``search_one`` must have its results on the CPU when it returns; otherwise a GPU's work is not counted.

    Raises:
        InputError: there are no queries.

    >>> milliseconds_per_query(len, ["a", "b"]) < 1
    True
    """
    if not queries:
        raise InputError("There are no queries to time.")
    passes: list[float] = []
    for _ in range(trials):
        start = time.perf_counter()
        for query in queries:
            search_one(query)
        passes.append(time.perf_counter() - start)
    return 1000 * min(passes) / len(queries)


def measures_of(node: Node) -> list[str]:
    """The measures that a node computes per query; an empty list if its stage is no evaluation.

    >>> from colbertv2.artifacts.reader import parse
    >>> evaluation = {"_target_": "colbertv2.stages.evaluate.run", "measures": ["RR@10"]}
    >>> measures_of(parse(evaluation)), measures_of(parse({"_target_": "colbertv2.stages.search.run"}))
    (['RR@10'], [])
    """
    declared = node.stage.measures
    return [] if declared is None else list(declared(node.values))


def write_values(values: pd.DataFrame, out: Path) -> None:
    """Write ``per_query.csv``, and ``metrics.json`` with the means and the number of queries.

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
    """The table that ``write_values`` wrote: index ``query_id``, one column per measure."""
    import pandas as pd

    table = pd.read_csv(evaluation.file("per_query.csv"), dtype={"query_id": str}, keep_default_na=False)
    return table.set_index("query_id")


def timing(ranking: Artifact) -> dict[str, Any]:
    """The ``timing.json`` of a ranking; empty if it was not timed, as one from outside or a random one."""
    return read_json(ranking.file("timing.json")) if ranking.has("timing.json") else {}


def index_statistics(ranking: Artifact) -> dict[str, Any]:
    """The ``statistics.json`` (sizes) of the index behind a ranking.

    A ranking without an index may have its own; otherwise, as for a ranking from outside, the result is empty.

    Raises:
        InputError: there is an index, and its statistics are missing or damaged.
    """
    if "index" in ranking.parents:
        return read_json(ranking.parents["index"].file("statistics.json"))
    return read_json(ranking.file("statistics.json")) if ranking.has("statistics.json") else {}


def costs(evaluation: Artifact) -> dict[str, float]:
    """The known ones of ``COSTS``: of an evaluation's search and the index behind it.

    ``build_seconds`` is the time of the index and its centroids.
    """
    ranking = evaluation.parents["ranking"]
    found = {**timing(ranking), **index_statistics(ranking)}
    if index := ranking.parents.get("index"):
        own = [index, *(parent for role, parent in index.parents.items() if role == "centroids")]
        found["build_seconds"] = sum(one.record["seconds"] for one in own)
    return {name: float(value) for name in COSTS if (value := found.get(name)) is not None}


def summary(evaluation: Artifact) -> dict[str, float]:
    """Means of the measures, number of queries, and costs of an evaluation."""
    return {**read_json(evaluation.file("metrics.json")), **costs(evaluation)}
