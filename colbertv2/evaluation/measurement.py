"""Reading and writing the results of an evaluation: values per query, and the costs of its ranking.

An evaluation stage has a parent named ``ranking``, gives ``@stage`` a function ``measures`` that names its measures
(or is called ``run`` and has it beside itself, :class:`~colbertv2.artifacts.stage.Stage`), and writes their values with
``write_values``. Sweeps, reports and tables can then read it, no matter where the stage is defined. Latency is measured
as in PLAID §4.1.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.errors import InputError
from colbertv2.evaluation.measures import NOTHING, unknown
from colbertv2.files import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

Query = TypeVar("Query")
REMARKS = ("unknown", "notes")  # the keys of ``metrics.json`` that are not numbers


class CostName(NamedTuple):
    """How a cost is called: at the head of a column, and in a sentence."""

    column: str
    words: str


COSTS = {
    "bytes_per_token": CostName("B/token", "bytes per token"),
    "bytes_per_document": CostName("B/document", "bytes per document"),
    "ms_per_query": CostName("ms/query", "ms per query"),
    "build_seconds": CostName("s to build", "seconds to build"),
}
IN_TABLES = ("bytes_per_token", "bytes_per_document", "ms_per_query")


def milliseconds_per_query(search_one: Callable[[Query], object], queries: Sequence[Query], trials: int = 3) -> float:
    """Measure the milliseconds per query, one query at a time: the mean over ``queries`` in the fastest pass.

    Args:
        search_one: searches for one query. Its results must be on the CPU when it returns; otherwise the GPU's work is
            not timed.
        queries: the queries to search for.
        trials: the number of passes over all queries.

    Raises:
        InputError: there are no queries.

    >>> milliseconds_per_query(len, ["a", "b"]) < 1
    True
    """
    if not queries:
        raise InputError("There are no queries to time; expected at least one.")
    passes: list[float] = []
    for _ in range(trials):
        start = time.perf_counter()
        for query in queries:
            search_one(query)
        passes.append(time.perf_counter() - start)
    return 1000 * min(passes) / len(queries)


def measures_of(node: Node) -> list[str]:
    """The measures that a node computes per query; empty if its stage is not an evaluation.

    >>> from colbertv2.artifacts.reader import parse
    >>> evaluation = {"_target_": "colbertv2.stages.evaluate.run", "measures": ["RR@10"]}
    >>> measures_of(parse(evaluation)), measures_of(parse({"_target_": "colbertv2.stages.search.run"}))
    (['RR@10'], [])
    """
    declared = node.stage.measures
    return [] if declared is None else list(declared(node.values))


def depth_of(ranking: Node | Artifact) -> int | None:
    """The most documents that a ranking keeps per query, read from its stage's arguments; None if they do not say.

    The argument is called ``depth``. A stage that re-ranks ``candidates`` may consider fewer of them
    (``candidate_depth``). Without that argument it keeps all candidates, as the stage ``score`` does: there, ``depth``
    is the number of documents that get a new score.
    """
    given = ranking.arguments
    if "candidates" in ranking.parents and "candidate_depth" not in given:
        return depth_of(ranking.parents["candidates"])
    return min((given[name] for name in ("depth", "candidate_depth") if isinstance(given.get(name), int)), default=None)


def unknown_measures(node: Node) -> dict[str, str]:
    """Measures that the ranking is not deep enough for: name → reason. Known before anything is built."""
    ranking = node.parents.get("ranking")
    return {} if ranking is None else unknown(measures_of(node), depth_of(ranking))


def write_values(
    values: pd.DataFrame,
    out: Path,
    unknown: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    numbers: Mapping[str, float] | None = None,
) -> None:
    """Write ``per_query.csv``, and ``metrics.json`` with the means and the number of queries.

    Args:
        values: ``[queries, measures]``, index ``query_id``. An unknown measure is NaN for all queries; its cells are
            empty in ``per_query.csv``, and its mean is null in ``metrics.json``.
        unknown: measure → why it is unknown; written to ``metrics.json``.
        notes: sentences about how the values were computed; written to ``metrics.json``.
        numbers: the means and costs to write; None takes the means over all queries.

    >>> import pandas as pd
    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp())
    >>> write_values(pd.DataFrame({"RR@10": [1.0, 0.5]}, index=pd.Index(["a", "b"], name="query_id")), out)
    >>> read_json(out / "metrics.json")
    {'RR@10': 0.75, 'queries': 2}
    """
    values.to_csv(out / "per_query.csv", lineterminator="\n")
    found = values.mean().to_dict() if numbers is None else numbers
    means = {name: None if math.isnan(mean) else mean for name, mean in found.items()}
    said = {"unknown": dict(unknown or {}), "notes": list(notes)}
    held = {name: remark for name, remark in said.items() if remark}
    write_json(out / "metrics.json", {**means, "queries": len(values), **held})


def per_query(evaluation: Artifact) -> pd.DataFrame:
    """Read the table that ``write_values`` wrote: index ``query_id``, one column per measure."""
    import pandas as pd

    file = evaluation.file("per_query.csv")
    empty = {name: [""] for name in pd.read_csv(file, nrows=0).columns[1:]}  # pandas would read an id "NA" as NaN
    table = pd.read_csv(file, dtype={"query_id": str}, keep_default_na=False, na_values=empty)
    return table.set_index("query_id")


def timing(ranking: Artifact) -> dict[str, Any]:
    """Read a ranking's ``timing.json``; empty if it was not timed, such as an imported or a random ranking."""
    return read_json(ranking.file("timing.json")) if ranking.has("timing.json") else {}


def index_statistics(ranking: Artifact) -> dict[str, Any]:
    """Read the ``statistics.json`` (sizes) of the index that a ranking was searched in.

    A ranking without an index may have statistics of its own; otherwise, as for an imported ranking, the result is
    empty. Candidates from another index add theirs to ``bytes_per_document``, which is left out if it is not known.

    Raises:
        InputError: there is an index, but its statistics are missing or damaged.
    """
    if "index" in ranking.parents:
        return with_candidates(ranking, read_json(ranking.parents["index"].file("statistics.json")))
    return read_json(ranking.file("statistics.json")) if ranking.has("statistics.json") else {}


def with_candidates(ranking: Artifact, statistics: dict[str, Any]) -> dict[str, Any]:
    """The statistics of a ranking's index, with the size of what its candidates were searched in, if it has some."""
    if "candidates" not in ranking.parents:
        return statistics
    candidates, index = ranking.parents["candidates"], ranking.parents["index"]
    if "index" in candidates.parents and candidates.parents["index"].address == index.address:
        return statistics
    added = index_statistics(candidates).get("bytes_per_document")
    own = statistics.get("bytes_per_document")
    return {**statistics, "bytes_per_document": None if added is None or own is None else own + added}


def costs(evaluation: Artifact) -> dict[str, float]:
    """Those costs (``COSTS``) that are known of an evaluation's search and its index: name → value.

    ``build_seconds`` is the time it took to build the index and its centroids; it is left out for an index that was
    made while its documents were encoded. A suite has written its own.
    """
    if "ranking" not in evaluation.record["parents"]:
        return {}
    ranking = evaluation.parents["ranking"]
    found = {**timing(ranking), **index_statistics(ranking)}
    index = ranking.parents.get("index")
    if index is not None and "without_vectors" not in index.provides:
        own = [index, *(parent for role, parent in index.parents.items() if role == "centroids")]
        found["build_seconds"] = sum(one.record["seconds"] for one in own)
    return known_costs(found)


def known_costs(found: Mapping[str, Any]) -> dict[str, float]:
    """Those of the numbers that are costs (``COSTS``) and known: name → value."""
    return {name: float(value) for name in COSTS if (value := found.get(name)) is not None}


def own_costs(artifact: Artifact) -> dict[str, float]:
    """Those costs (``COSTS``) that an artifact holds itself: the sizes of an index, the time of a search.

    Unlike :func:`costs` it reads no parents, which may have been deleted.
    """
    sizes = read_json(artifact.file("statistics.json")) if artifact.has("statistics.json") else {}
    found = {**timing(artifact), **sizes}
    return known_costs(found)


def summary(evaluation: Artifact) -> dict[str, float | None]:
    """Means of the measures, number of queries, and costs of an evaluation; None for an unknown measure."""
    held = read_json(evaluation.file("metrics.json"))
    return {**{name: value for name, value in held.items() if name not in REMARKS}, **costs(evaluation)}


def unknown_of(evaluation: Artifact) -> dict[str, str]:
    """The unknown measures of an evaluation: name → reason."""
    return read_json(evaluation.file("metrics.json")).get("unknown", {})


def remarks(evaluation: Artifact) -> list[str]:
    """Sentences that a reader of an evaluation needs: which measures are unknown and why, and ties at cut-offs."""
    held = read_json(evaluation.file("metrics.json"))
    reasons: dict[str, list[str]] = {}
    for measure, reason in held.get("unknown", {}).items():
        reasons.setdefault(reason, []).append(measure)
    return [*(not_known(measures, reason) for reason, measures in reasons.items()), *held.get("notes", [])]


def not_known(measures: Sequence[str], reason: str) -> str:
    """A sentence that says why these measures are unknown.

    >>> not_known(["R@50", "R@100"], "the ranking keeps 20 documents per query")
    'R@50, R@100 –: the ranking keeps 20 documents per query.'
    """
    return f"{', '.join(measures)} {NOTHING}: {reason}."
