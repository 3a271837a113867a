"""What the points of a sweep are compared by: the queries that they share, and their measures.

The collections of a suite may be led by different measures. Then the report is about all of them together, as the table
of a run is: each collection is measured by its own, under a name such as ``Success@5 / nDCG@10``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from colbertv2.artifacts.node import Node
from colbertv2.configuration.targets import members
from colbertv2.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Tables = Sequence[Mapping[str, "pd.DataFrame"]]  # of each point, by collection: values ``[queries, measures]``


@dataclass(frozen=True)
class Measures:
    """The measures of a report.

    Args:
        measures: their names; the conclusions are about the first one.
        tables: the values per query, of each point by collection, with a column for each of ``measures``.
        leading: collection → what the first of ``measures`` is there, if the collections differ in it; else empty.
        remarks: sentences that a reader must know.
    """

    measures: Sequence[str]
    tables: Tables
    leading: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()


def common_queries(tables: Tables, alone: bool) -> dict[str, list[str]]:
    """The queries of each collection.

    Args:
        tables: values per query, of each point by collection.
        alone: whether each point was evaluated on one collection, without a suite.

    Raises:
        InputError: points differ in the queries of a collection.
    """
    queries: dict[str, list[str]] = {}
    for found in tables:
        for name, table in found.items():
            ids = queries.setdefault(name, list(table.index))
            if set(table.index) != set(ids) or (alone and len(queries) > 1):
                raise InputError(
                    "The points were evaluated on different queries, so they can't be compared query by query; "
                    "evaluate all of them on the same collections with a suite: "
                    f"suite.collections=[{','.join(queries)}]."
                )
    return queries


def leading_measures(nodes: Sequence[Node], collections: Collection[str]) -> dict[str, str]:
    """The measure that leads each of these collections in the suites of ``nodes``; empty if they don't differ in it.

    It is also empty if two nodes differ in the measure of a collection.
    """
    found: dict[str, str] = {}
    for node in nodes:
        for name, measure in node.values["measures"].items() if members(node) else ():
            if name in collections and found.setdefault(name, measure) != measure:
                return {}
    return found if len(set(found.values())) > 1 else {}


def choose_measures(tables: Tables, leading: Mapping[str, str], wanted: str | None, lacking: Sequence[str]) -> Measures:
    """The measures that all points have, the leading one first: ``wanted``, or those that lead the collections.

    Args:
        tables: values per query, of each point by collection.
        leading: collection → the measure that leads there, if the collections differ in it.
        wanted: the measure that shall lead everywhere.
        lacking: sentences that say why measures are not known.

    Raises:
        InputError: the tables have no measure in common, none that is known at every point, or not ``wanted``.
    """
    every = [(name, table) for found in tables for name, table in found.items()]
    measures = [name for name in every[0][1].columns if all(name in table.columns for _, table in every)]
    if not measures and (wanted or not leading):
        raise InputError("The points have no measure in common; evaluate them with the same `measures`.")
    known = [name for name in measures if not any(table[name].isna().any() for _, table in every)]
    if wanted is not None and wanted not in known:
        expected = ", ".join(known) or "none"
        raise InputError(" ".join([f"report.measure is {wanted!r}; expected one of {expected}.", *lacking]))
    unknown = {name: leading[name] for name, table in every if leading and table[leading[name]].isna().any()}
    if leading and not unknown and wanted is None:
        together = " / ".join(dict.fromkeys(leading.values()))
        joined = [{n: one.assign(**{together: one[leading[n]]}) for n, one in found.items()} for found in tables]
        return Measures([together, *measures], joined, leading)
    if not known:
        raise InputError(f"No measure is known at every point. {' '.join(lacking)}")
    first = wanted or known[0]
    remarks = [
        f"{measure} leads on {name}, but is not known at every point, so this is about {first} on all collections."
        for name, measure in (unknown.items() if wanted is None else ())
    ]
    return Measures([first, *(name for name in measures if name != first)], tables, {}, remarks)
