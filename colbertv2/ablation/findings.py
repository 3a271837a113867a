"""Compute all statistics of a sweep once, for its tables, sentences and figures.

They are those of a factorial design: the effect of each factor, the interaction of each pair of factors, and how much
of the variation each explains. A marginal mean averages the cells of one level over all other factors, separately for
each query, so that the tests stay paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np

from colbertv2.ablation.cells import Cells
from colbertv2.evaluation.across import Summary, summarise
from colbertv2.evaluation.statistics import Contrast, Estimate, contrasts, estimate
from colbertv2.evaluation.variance import Strata, variation_shares


@dataclass(frozen=True)
class MainEffect:
    """One level of a factor, averaged over the levels of all others.

    Args:
        factor: name of the factor.
        level: one of its values.
        mean: the marginal mean.
        contrast: its difference from the marginal mean of the baseline's level, Holm-adjusted over all levels of all
            factors; ``None`` for that level itself.
    """

    factor: str
    level: str
    mean: Estimate
    contrast: Contrast | None


@dataclass(frozen=True)
class Interaction:
    """The effect of two levels together beyond the sum of their effects: y_ab − y_a0 − y_0b + y_00.

    The index 0 is the level of the baseline.

    Args:
        factors: names of the two factors.
        levels: their levels a and b.
        contrast: the difference, averaged over the levels of all further factors; Holm-adjusted over all pairs of
            levels of all pairs of factors.
    """

    factors: tuple[str, str]
    levels: tuple[str, str]
    contrast: Contrast


@dataclass(frozen=True)
class Effects:
    """Main effects and interactions on one measure.

    Args:
        main: one entry per level of every factor; may be empty, then ``explanation`` says why.
        interactions: of every pair of factors; empty if there is only one factor.
        shares: set of factors → the share of the sum of squares between the cells' means that it explains beyond its
            subsets. The shares sum to 1 and contain noise as well as effects. Empty if no two cells differ.
        explanation: why something is missing; ``None`` if nothing is.
    """

    main: Sequence[MainEffect]
    interactions: Sequence[Interaction]
    shares: Mapping[tuple[str, ...], float]
    explanation: str | None


def find_effects(cells: Cells, measure: str, seed: int) -> Effects:
    """Compute main effects, interactions and shares, as far as the design allows.

    Args:
        cells: the sweep.
        measure: one of ``cells.measures``.
        seed: the seed of the resampling.
    """
    if not cells.baseline.covers(cells.collections):
        return Effects([], [], {}, f"The baseline {cells.baseline.name} has no values, so nothing is compared with it.")
    lacking = missing_settings(cells)
    if lacking and len(cells.factors) > 1:
        shown = "; ".join(lacking[:3]) + ("; …" if len(lacking) > 3 else "")
        total = len(lacking) + len(cells.complete)
        reason = (
            f"The grid is not complete: {len(lacking)} of {total} cells lack values ({shown}). Means over the other "
            "cells would mix the effects of the factors, so neither main effects nor interactions are given."
        )
        return Effects([], [], {}, reason)
    grid = Grid(cells, measure)
    explanation = "There is only one factor, so there are no interactions." if len(cells.factors) == 1 else None
    return Effects(main_effects(grid, seed), interactions(grid, seed), shares(grid), explanation)


def missing_settings(cells: Cells) -> list[str]:
    """The combinations of levels for which no cell has values, written as overrides."""
    there = {tuple(cell.factors[factor] for factor in cells.factors) for cell in cells.complete}
    return [
        ", ".join(f"{factor}={level}" for factor, level in zip(cells.factors, levels, strict=True))
        for levels in product(*cells.factors.values())
        if levels not in there
    ]


class Grid:
    """The values of a complete design, of each collection ``[levels of each factor …, training, k-means, queries]``.

    If there is only one factor, levels without values are left out.

    Args:
        cells: the sweep.
        measure: one of ``cells.measures``.
    """

    def __init__(self, cells: Cells, measure: str) -> None:
        held = {factor: {cell.factors[factor] for cell in cells.complete} for factor in cells.factors}
        self.factors = {factor: [v for v in levels if v in held[factor]] for factor, levels in cells.factors.items()}
        self.cells = list(cells.complete)
        found = {tuple(cell.factors[factor] for factor in cells.factors): cell for cell in cells.complete}
        ordered = [found[levels].strata(measure, cells.collections) for levels in product(*self.factors.values())]
        sizes = [len(levels) for levels in self.factors.values()]
        self.strata = [np.stack(values).reshape(*sizes, *values[0].shape) for values in zip(*ordered, strict=True)]
        self.baseline = dict(cells.baseline.factors)

    def others(self, factor: str) -> list[str]:
        """The levels of ``factor`` other than the baseline's."""
        return [level for level in self.factors[factor] if level != self.baseline[factor]]

    def marginal(self, setting: Mapping[str, str]) -> Strata:
        """The mean of all cells with the levels in ``setting``, of each collection."""
        chosen = self.strata
        for axis, (factor, levels) in enumerate(self.factors.items()):
            if factor in setting:
                chosen = [values.take([levels.index(setting[factor])], axis=axis) for values in chosen]
        return [values.mean(axis=tuple(range(len(self.factors)))) for values in chosen]

    def trained(self, setting: Mapping[str, str]) -> frozenset[str]:
        """The trainings of all cells with the levels in ``setting``."""
        there = [cell for cell in self.cells if all(cell.factors[key] == level for key, level in setting.items())]
        return frozenset(address for cell in there for address in cell.trained)

    def trained_apart(self, *settings: Mapping[str, str]) -> bool:
        """Whether the models of these settings were not all trained together."""
        return len({self.trained(setting) for setting in settings}) > 1


def minus(first: Strata, second: Strata) -> Strata:
    """The differences of two systems on each collection."""
    return [one - other for one, other in zip(first, second, strict=True)]


def main_effects(grid: Grid, seed: int) -> list[MainEffect]:
    """Compute one main effect per level of every factor, in the order of the sweep."""
    settings = [(factor, level) for factor in grid.factors for level in grid.others(factor)]
    pairs = [({factor: level}, {factor: grid.baseline[factor]}) for factor, level in settings]
    tested = contrasts(
        [minus(grid.marginal(one), grid.marginal(base)) for one, base in pairs],
        seed,
        [grid.trained_apart(one, base) for one, base in pairs],
    )
    found = dict(zip(settings, tested, strict=True))
    return [
        MainEffect(factor, level, estimate(grid.marginal({factor: level}), seed), found.get((factor, level)))
        for factor, levels in grid.factors.items()
        for level in levels
    ]


def interactions(grid: Grid, seed: int) -> list[Interaction]:
    """Compute one interaction per pair of levels of every pair of factors; levels of the baseline are left out."""
    settings = [
        ((one, two), (a, b))
        for one, two in combinations(grid.factors, 2)
        for a in grid.others(one)
        for b in grid.others(two)
    ]

    def corners(factors: tuple[str, str], levels: tuple[str, str]) -> list[dict[str, str]]:
        (one, two), (a, b) = factors, levels
        base_one, base_two = grid.baseline[one], grid.baseline[two]
        return [
            {one: first, two: second} for first, second in ((a, b), (a, base_two), (base_one, b), (base_one, base_two))
        ]

    def beyond_the_sum(settings: Sequence[Mapping[str, str]]) -> Strata:
        both, one, other, neither = map(grid.marginal, settings)
        return minus(minus(both, one), minus(other, neither))

    squares = [corners(*setting) for setting in settings]
    tested = contrasts(
        [beyond_the_sum(square) for square in squares],
        seed,
        [grid.trained_apart(*square) for square in squares],
        reach=2.0,
    )
    return [Interaction(factors, levels, found) for (factors, levels), found in zip(settings, tested, strict=True)]


def shares(grid: Grid) -> dict[tuple[str, ...], float]:
    """The share of the sum of squares between the cells' means that each set of factors explains beyond its subsets."""
    names = list(grid.factors)
    found = variation_shares(np.mean([values.mean(axis=(-3, -2, -1)) for values in grid.strata], axis=0))
    return {tuple(names[axis] for axis in axes): share for axes, share in found.items()}


@dataclass(frozen=True)
class Findings:
    """The statistics of a sweep.

    Args:
        cells: the sweep.
        estimates: measure → name of each cell with values → its mean with intervals.
        comparisons: measure → name of each cell with values but the baseline → its difference from the baseline. Of
            several collections it is that of the macro mean.
        effects: measure → main effects and interactions, likewise.
        by_collection: collection → measure → cell → its difference from the baseline on this collection, Holm-adjusted
            over all cells and collections; empty if there is one collection.
        summaries: measure → cell → what these differences say together; empty if there is one collection.
    """

    cells: Cells
    estimates: Mapping[str, Mapping[str, Estimate]]
    comparisons: Mapping[str, Mapping[str, Contrast]]
    effects: Mapping[str, Effects]
    by_collection: Mapping[str, Mapping[str, Mapping[str, Contrast]]] = field(default_factory=dict)
    summaries: Mapping[str, Mapping[str, Summary]] = field(default_factory=dict)


def find(cells: Cells, seed: int) -> Findings:
    """Compute the statistics of every measure.

    Args:
        cells: the sweep.
        seed: the seed of the resampling.
    """
    apart = {measure: compare_on_each(cells, measure, seed) for measure in cells.measures}
    several = len(cells.collections) > 1
    return Findings(
        cells=cells,
        estimates={
            measure: {cell.name: estimate(cell.strata(measure, cells.collections), seed) for cell in cells.complete}
            for measure in cells.measures
        },
        comparisons={measure: compare_cells(cells, measure, seed) for measure in cells.measures},
        effects={measure: find_effects(cells, measure, seed) for measure in cells.measures},
        by_collection={one: {measure: apart[measure][one] for measure in cells.measures} for one in cells.collections}
        if several
        else {},
        summaries={measure: summaries(cells, measure, apart[measure]) for measure in cells.measures} if several else {},
    )


def compare_cells(cells: Cells, measure: str, seed: int) -> dict[str, Contrast]:
    """Compare every other cell that has values with the baseline, as one family of tests (Holm).

    Args:
        cells: the sweep.
        measure: one of ``cells.measures``.
        seed: the seed of the resampling.

    Returns:
        Name of each cell → its difference from the baseline; empty if the baseline has no values.
    """
    if not cells.baseline.covers(cells.collections):
        return {}
    baseline = cells.baseline.strata(measure, cells.collections)
    tested = contrasts(
        [minus(cell.strata(measure, cells.collections), baseline) for cell in cells.others],
        seed,
        [cell.trained != cells.baseline.trained for cell in cells.others],
    )
    return dict(zip([cell.name for cell in cells.others], tested, strict=True))


def compare_on_each(cells: Cells, measure: str, seed: int) -> dict[str, dict[str, Contrast]]:
    """Compare the cells with the baseline on each collection, all as one family of tests (Holm).

    A cell that lacks values for a collection is compared on the others.

    Args:
        cells: the sweep.
        measure: one of ``cells.measures``.
        seed: the seed of the resampling.

    Returns:
        collection → name of each cell → its difference from the baseline. Without a test if there is one collection,
        whose comparisons are those of ``compare_cells``.
    """
    found: dict[str, dict[str, Contrast]] = {collection: {} for collection in cells.collections}
    if len(cells.collections) < 2:
        return found
    pairs = [
        (collection, cell)
        for collection in cells.collections
        for cell in cells.cells
        if cell is not cells.baseline and cell.covers([collection]) and cells.baseline.covers([collection])
    ]
    tested = contrasts(
        [minus(cell.strata(measure, [one]), cells.baseline.strata(measure, [one])) for one, cell in pairs],
        seed,
        [cell.trained != cells.baseline.trained for _, cell in pairs],
    )
    for (collection, cell), contrast in zip(pairs, tested, strict=True):
        found[collection][cell.name] = contrast
    return found


def summaries(cells: Cells, measure: str, tested: Mapping[str, Mapping[str, Contrast]]) -> dict[str, Summary]:
    """What the comparisons on each collection say together, of each cell that has values for all collections.

    Args:
        cells: the sweep.
        measure: one of ``cells.measures``.
        tested: as from ``compare_on_each``.
    """
    if not cells.baseline.covers(cells.collections):
        return {}
    baseline = cells.baseline.strata(measure, cells.collections)
    return {
        cell.name: summarise(
            minus(cell.strata(measure, cells.collections), baseline),
            [tested[one][cell.name] for one in cells.collections],
        )
        for cell in cells.others
    }
