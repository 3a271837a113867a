"""What of a suite is likely not meant: collections that are missing, and test queries that were trained on."""

from collections.abc import Iterable, Sequence

from colbertv2.artifacts.node import Node, digest
from colbertv2.configuration.targets import members
from colbertv2.data.leakage import leakage_warnings
from colbertv2.data.queries import Queries


def missing_collections(nodes: Iterable[Node]) -> dict[str, str]:
    """The collections that are missing in a suite of ``nodes``: name → why."""
    suites = [node for node in nodes if members(node)]
    return {name: reason for node in suites for name, reason in node.values["missing"].items()}


def leakage(nodes: Sequence[Node]) -> dict[str, list[int]]:
    """The warnings of leakage in suites: sentence → the positions in ``nodes`` that it is about.

    Nodes that were trained on the same queries and are evaluated on the same ones are compared once.
    """
    known: dict[tuple[object, ...], list[str]] = {}
    found: dict[str, list[int]] = {}
    for place, node in enumerate(nodes):
        held = members(node)
        trained = {
            step.address: queries
            for step in node.lineage()
            if held and step.parents.get("examples") and isinstance(queries := step.bound.get("queries"), Queries)
        }
        evaluated = {name: next(iter(rows.values())).bound.get("queries") for name, rows in held.items()}
        asked = {name: queries for name, queries in evaluated.items() if isinstance(queries, Queries)}
        key = (
            frozenset(digest(queries.identity()) for queries in trained.values()),
            tuple((name, digest(queries.identity())) for name, queries in asked.items()),
        )
        if key not in known:
            known[key] = leakage_warnings(trained, asked)
        for sentence in known[key]:
            found.setdefault(sentence, []).append(place)
    return found
