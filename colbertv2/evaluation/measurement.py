"""What an evaluation measures: values per query, and what its ranking costs.

An evaluation stage has the parent ``ranking``, declares its measures by a function ``measures`` beside its ``run``
(:class:`~colbertv2.artifacts.stage.Stage`), and writes their values with ``write_values``. Sweeps, reports and tables
then read it, wherever it is defined. Latency is measured as PLAID does it (its section 4.1).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.errors import InputError
from colbertv2.evaluation.measures import NOTHING, unknown
from colbertv2.files import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

Query = TypeVar("Query")
REMARKS = ("unknown", "notes")  # of ``metrics.json``, beside its numbers
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


def depth_of(ranking: Node | Artifact) -> int | None:
    """How many documents per query a ranking keeps at most, by the arguments of its stage; None if none says.

    A stage names this ``depth``. One that re-ranks ``candidates`` may look at fewer of them (``candidate_depth``); else
    it keeps all, as the stage ``score`` does, whose ``depth`` says how many get a new score.
    """
    given = ranking.arguments
    if "candidates" in ranking.parents and "candidate_depth" not in given:
        return depth_of(ranking.parents["candidates"])
    return min((given[name] for name in ("depth", "candidate_depth") if isinstance(given.get(name), int)), default=None)


def unknown_measures(node: Node) -> dict[str, str]:
    """The measures of an evaluation that its ranking is not deep enough for, with the reason; known before any work."""
    ranking = node.parents.get("ranking")
    return {} if ranking is None else unknown(measures_of(node), depth_of(ranking))


def write_values(
    values: pd.DataFrame, out: Path, unknown: Mapping[str, str] | None = None, notes: Sequence[str] = ()
) -> None:
    """Write ``per_query.csv``, and ``metrics.json`` with the means and the number of queries.

    Args:
        values: ``[queries, measures]``, index ``query_id``. A measure that is not known is NaN for all queries; its
            cells are empty in the one file, and it is null in the other.
        unknown: why, by measure. notes: sentences on how values came about; both stand in ``metrics.json``.

    >>> import pandas as pd
    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp())
    >>> write_values(pd.DataFrame({"RR@10": [1.0, 0.5]}, index=pd.Index(["a", "b"], name="query_id")), out)
    >>> read_json(out / "metrics.json")
    {'RR@10': 0.75, 'queries': 2}
    """
    values.to_csv(out / "per_query.csv", lineterminator="\n")
    means = {name: None if math.isnan(mean) else mean for name, mean in values.mean().to_dict().items()}
    said = {"unknown": dict(unknown or {}), "notes": list(notes)}
    held = {name: remark for name, remark in said.items() if remark}
    write_json(out / "metrics.json", {**means, "queries": len(values), **held})


def per_query(evaluation: Artifact) -> pd.DataFrame:
    """The table that ``write_values`` wrote: index ``query_id``, one column per measure."""
    import pandas as pd

    file = evaluation.file("per_query.csv")
    empty = {name: [""] for name in pd.read_csv(file, nrows=0).columns[1:]}  # an id may be what pandas takes for NaN
    table = pd.read_csv(file, dtype={"query_id": str}, keep_default_na=False, na_values=empty)
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


def summary(evaluation: Artifact) -> dict[str, float | None]:
    """Means of the measures, number of queries, and costs of an evaluation; None for a measure that is not known."""
    held = read_json(evaluation.file("metrics.json"))
    return {**{name: value for name, value in held.items() if name not in REMARKS}, **costs(evaluation)}


def unknown_of(evaluation: Artifact) -> dict[str, str]:
    """The measures of an evaluation that are not known, with the reason."""
    return read_json(evaluation.file("metrics.json")).get("unknown", {})


def remarks(evaluation: Artifact) -> list[str]:
    """What a reader of an evaluation's values must know, in sentences: what is not known and why, and ties at cuts."""
    held = read_json(evaluation.file("metrics.json"))
    reasons: dict[str, list[str]] = {}
    for measure, reason in held.get("unknown", {}).items():
        reasons.setdefault(reason, []).append(measure)
    return [*(not_known(measures, reason) for reason, measures in reasons.items()), *held.get("notes", [])]


def not_known(measures: Sequence[str], reason: str) -> str:
    """A sentence on measures that are not known for one reason.

    >>> not_known(["R@50", "R@100"], "the ranking keeps 20 documents per query")
    'R@50, R@100 –: the ranking keeps 20 documents per query.'
    """
    return f"{', '.join(measures)} {NOTHING}: {reason}."
