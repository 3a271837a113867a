"""All statistics of a sweep, computed once: what its tables, sentences and pictures show."""

from collections.abc import Mapping
from dataclasses import dataclass

from colbertv2.ablation.cells import Cells
from colbertv2.ablation.effects import Effects, find_effects
from colbertv2.evaluation.statistics import Contrast, Estimate, contrasts, estimate


@dataclass(frozen=True)
class Findings:
    """What is known of a sweep.

    Args:
        cells: the sweep.
        estimates: measure → name of a cell that has values → its mean with intervals.
        comparisons: measure → name of a cell that has values → its difference from the baseline.
        effects: measure → main effects and interactions.
    """

    cells: Cells
    estimates: Mapping[str, Mapping[str, Estimate]]
    comparisons: Mapping[str, Mapping[str, Contrast]]
    effects: Mapping[str, Effects]


def find(cells: Cells, seed: int) -> Findings:
    """The statistics of every measure.

    Args:
        seed: of the resampling.
    """
    return Findings(
        cells=cells,
        estimates={
            measure: {cell.name: estimate(cell.values[measure], seed) for cell in cells.complete}
            for measure in cells.measures
        },
        comparisons={measure: compare_cells(cells, measure, seed) for measure in cells.measures},
        effects={measure: find_effects(cells, measure, seed) for measure in cells.measures},
    )


def compare_cells(cells: Cells, measure: str, seed: int) -> dict[str, Contrast]:
    """Every other cell that has values against the baseline: one family of tests.

    Args:
        seed: of the resampling.

    Returns:
        the cell's name → its difference from the baseline; empty if the baseline has no values.
    """
    if not cells.baseline.values:
        return {}
    baseline = cells.baseline.values[measure]
    return dict(
        zip(
            [cell.name for cell in cells.others],
            contrasts([cell.values[measure] - baseline for cell in cells.others], seed),
            strict=True,
        )
    )
