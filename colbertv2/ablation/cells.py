"""The result of a sweep: one cell for each setting of its factors, with the values of all seeds.

An axis of a sweep is either a *factor*, whose effect is of interest, or a *seed*, whose effect is noise. There are two
separate kinds of seeds, those of training and those of k-means.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import yaml

from colbertv2.errors import InputError
from colbertv2.evaluation.variance import Strata, Values


@dataclass(frozen=True)
class Cell:
    """One setting of the factors.

    Args:
        factors: factor → value, as written on the command line: ``{"codec.nbits": "2", "search": "plaid"}``.
        values: measure → name of a collection → ``[training seeds, k-means seeds, queries]``. A collection on which any
            of its seeds was not run or failed is left out.
        costs: means over the seeds of ``bytes_per_token``, ``bytes_per_document``, ``ms_per_query``, ``build_seconds``;
            unknown costs are left out.
        problem: why values are missing: an error, or that it was not run; ``None`` if none are missing.
        command: the command that runs it.
        trained: addresses of the trainings (artifacts of stage ``train``) that its artifacts rest on, of all seeds. Two
            cells that differ in them hold models that were trained apart.
        costs_on: collection → its costs; ``costs`` has their means.

    >>> Cell({"codec.nbits": "2"}, {"RR@10": {"scifact": np.ones((2, 1, 30))}}, {}, None, "").name
    'codec.nbits=2'
    """

    factors: Mapping[str, str]
    values: Mapping[str, Mapping[str, Values]]
    costs: Mapping[str, float]
    problem: str | None
    command: str
    trained: frozenset[str] = frozenset()
    costs_on: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its factors as overrides, separated by commas."""
        return ", ".join(f"{factor}={value}" for factor, value in self.factors.items())

    def covers(self, collections: Collection[str]) -> bool:
        """Whether it has values of every measure for all of these collections."""
        return bool(self.values) and all(set(collections) <= set(found) for found in self.values.values())

    def strata(self, measure: str, collections: Sequence[str]) -> Strata:
        """The values of each collection, in this order: ``[training seeds, k-means seeds, queries]`` each."""
        return [self.values[measure][collection] for collection in collections]

    def per_query(self, measure: str, collection: str) -> Values:
        """The value of each query of a collection, averaged over all seeds: float64 ``[queries]``."""
        return self.values[measure][collection].mean(axis=(0, 1))

    def mean(self, measure: str) -> float:
        """The mean over its collections of their means over seeds and queries."""
        return float(np.mean([found.mean() for found in self.values[measure].values()]))


@dataclass(frozen=True)
class Cells:
    """A sweep: all its cells, evaluated on the same queries of the same collections with the same seeds.

    Args:
        title: title of the report.
        factors: factor → its values in the order of the sweep, at least two.
        training_seeds: as written on the command line; a single one if the sweep does not vary them.
        kmeans_seeds: likewise.
        queries: name of each collection (at least one) → ids of its queries, in the order of the values.
        measures: names of the measures; the conclusions are about the first one.
        cells: in the order of the sweep. A complete factorial design has one for every combination of values.
        baseline: the cell that the others are compared with; it is one of ``cells``.
        warnings: sentences that a reader must know, for example that two versions of the code built the cells.
        commands: the commands that build the sweep and make this report.
        kmeans_follows: whether the k-means seed moved with the training seed, so that their effects can't be separated.
        leading: collection → what the first of ``measures`` is there, if collections of a suite are led by different
            measures; else empty. Its name is then made of all of theirs.
        missing: name of each further collection of the suite, on which no cell has values → why.
    """

    title: str
    factors: Mapping[str, Sequence[str]]
    training_seeds: Sequence[str]
    kmeans_seeds: Sequence[str]
    queries: Mapping[str, Sequence[str]]
    measures: Sequence[str]
    cells: Sequence[Cell]
    baseline: Cell
    warnings: Sequence[str] = field(default_factory=list)
    commands: Sequence[str] = field(default_factory=list)
    kmeans_follows: bool = False
    leading: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def collections(self) -> list[str]:
        """The names of the collections."""
        return list(self.queries)

    @property
    def complete(self) -> list[Cell]:
        """The cells that have values for all collections."""
        return [cell for cell in self.cells if cell.covers(self.collections)]

    @property
    def others(self) -> list[Cell]:
        """The cells that have values for all collections, without the baseline."""
        return [cell for cell in self.complete if cell is not self.baseline]

    def of(self, collection: str) -> Cells:
        """The same sweep on one of its collections."""
        if self.collections == [collection]:
            return self

        led = self.leading.get(collection)
        further = [name for name in self.measures[1:] if name != led]

        def restricted(cell: Cell) -> Cell:
            values = {
                name: {collection: found[collection]} for name, found in cell.values.items() if collection in found
            }
            if led:
                values = {led: values.get(self.measures[0], {})} | {name: values.get(name, {}) for name in further}
            own = {name: found for name, found in values.items() if found}
            costs = cell.costs_on.get(collection, cell.costs)
            return replace(cell, values=own, costs=costs, problem=None if own else cell.problem)

        cells = [restricted(cell) for cell in self.cells]
        place = next(i for i, cell in enumerate(self.cells) if cell is self.baseline)
        return replace(
            self,
            title=f"{self.title}: {collection}",
            queries={collection: self.queries[collection]},
            measures=[led, *further] if led else self.measures,
            leading={},
            missing={},
            cells=cells,
            baseline=cells[place],
        )


def baseline(cells: Sequence[Cell], wanted: Mapping[str, Any]) -> Cell:
    """The first cell that has values and the levels in ``wanted``.

    Args:
        cells: the cells of the sweep.
        wanted: factor → level; keys that are not factors of this sweep are ignored.

    Raises:
        InputError: there is no such cell, or it has no values.
    """
    matching = [
        cell for cell in cells if all(same(cell.factors[key], wanted[key]) for key in cell.factors if key in wanted)
    ]
    if not matching:
        shown = ", ".join(f"{key}={value}" for key, value in wanted.items())
        raise InputError(f"report.baseline is {shown}; expected a cell of this sweep: {factors_of(cells)}.")
    whole = {collection for cell in cells for found in cell.values.values() for collection in found}
    ordered = sorted(matching, key=lambda cell: not cell.covers(whole))
    if (chosen := next((cell for cell in ordered if cell.values), None)) is None:
        problem, command = matching[0].problem, matching[0].command
        raise InputError(f"The baseline {matching[0].name} has no values ({problem}); build it first:\n  {command}")
    return chosen


def same(written: str, value: Any) -> bool:
    """Whether the text of an override means this value.

    >>> same("1", 1.0), same("null", None), same("residual", "residual"), same("2", 4)
    (True, True, True, False)
    """
    return written == str(value) or yaml.safe_load(written) == value


def factors_of(cells: Sequence[Cell]) -> str:
    """The factors of the cells with their values, as text."""
    found = {key: dict.fromkeys(cell.factors[key] for cell in cells) for key in cells[0].factors}
    return "; ".join(f"{key}={','.join(values)}" for key, values in found.items())
