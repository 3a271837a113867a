"""The result of a sweep: one cell for each setting of its factors, with the values of all seeds.

An axis of a sweep is either a *factor*, whose effect is of interest, or a *seed*, whose effect is noise. There are two
separate kinds of seeds, those of training and those of k-means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cell:
    """One setting of the factors.

    Args:
        factors: factor → value, as written on the command line: ``{"codec.nbits": "2", "search": "plaid"}``.
        values: measure → ``[training seeds, k-means seeds, queries]``; empty if any of these was not run or failed.
        costs: means over the seeds of ``bytes_per_token``, ``bytes_per_document``, ``ms_per_query``, ``build_seconds``;
            unknown costs are left out.
        problem: why there are no values: an error, or that it was not run; ``None`` if there are values.
        command: the command that runs it.

    >>> Cell({"codec.nbits": "2"}, {"RR@10": np.ones((2, 1, 30))}, {}, None, "").name
    'codec.nbits=2'
    """

    factors: Mapping[str, str]
    values: Mapping[str, NDArray[np.float64]]
    costs: Mapping[str, float]
    problem: str | None
    command: str

    @property
    def name(self) -> str:
        """Its factors as overrides, separated by commas."""
        return ", ".join(f"{factor}={value}" for factor, value in self.factors.items())

    def per_query(self, measure: str) -> NDArray[np.float64]:
        """The value of each query, averaged over all seeds: float64 ``[queries]``."""
        return self.values[measure].mean(axis=(0, 1))

    def mean(self, measure: str) -> float:
        """The mean over seeds and queries."""
        return float(self.values[measure].mean())


@dataclass(frozen=True)
class Cells:
    """A sweep: all its cells, evaluated on the same queries with the same seeds.

    Args:
        title: title of the report.
        factors: factor → its values in the order of the sweep, at least two.
        training_seeds: as written on the command line; a single one if the sweep does not vary them.
        kmeans_seeds: likewise.
        queries: ids, in the order of the values.
        measures: names of the measures; the conclusions are about the first one.
        cells: in the order of the sweep. A complete factorial design has one for every combination of values.
        baseline: the cell that the others are compared with; it is one of ``cells``.
        warnings: sentences that a reader must know, for example that two versions of the code built the cells.
        commands: the commands that build the sweep and make this report.
    """

    title: str
    factors: Mapping[str, Sequence[str]]
    training_seeds: Sequence[str]
    kmeans_seeds: Sequence[str]
    queries: Sequence[str]
    measures: Sequence[str]
    cells: Sequence[Cell]
    baseline: Cell
    warnings: Sequence[str] = field(default_factory=list)
    commands: Sequence[str] = field(default_factory=list)

    @property
    def complete(self) -> list[Cell]:
        """The cells that have values."""
        return [cell for cell in self.cells if cell.values]

    @property
    def others(self) -> list[Cell]:
        """The cells that have values, without the baseline."""
        return [cell for cell in self.complete if cell is not self.baseline]
