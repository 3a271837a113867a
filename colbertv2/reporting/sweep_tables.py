"""The tables of an ablation's report: cells, main effects, interactions, shares, and intervals over seeds."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from colbertv2.ablation.cells import Cell, Cells
from colbertv2.ablation.findings import Findings
from colbertv2.evaluation.intervals import RESAMPLES, ConfidenceInterval
from colbertv2.evaluation.measurement import COSTS, IN_TABLES
from colbertv2.evaluation.measures import NOTHING, fraction, plain, signed
from colbertv2.evaluation.statistics import FEWEST_SEEDS, Contrast, Estimate
from colbertv2.reporting.rendering import ReportTable

FAILED = "—"
FEW_SEEDS = "few seeds"
TEST = f"two-sided paired randomisation test over queries ({RESAMPLES:,} resamples, means over seeds)"
INTERVAL = f"95 % percentile bootstrap intervals over queries ({RESAMPLES:,} resamples, means over seeds)"


def make_tables(findings: Findings) -> dict[str, ReportTable]:
    """Make the tables of a report: file name → table, in the order of the report.

    Returns:
        ``cells``; ``main_effects``, ``interactions`` and ``shares`` if the factorial design is complete and has several
        factors; ``seeds`` if there are several training seeds or k-means seeds.
    """
    tables = {"cells": cells_table(findings)}
    if len(findings.cells.factors) > 1 and findings.effects[findings.cells.measures[0]].main:
        tables["main_effects"] = main_effects_table(findings)
        tables["interactions"] = interactions_table(findings)
        tables["shares"] = shares_table(findings)
    if max(len(findings.cells.training_seeds), len(findings.cells.kmeans_seeds)) > 1 and findings.cells.complete:
        tables["seeds"] = seeds_table(findings)
    return tables


def cells_table(findings: Findings) -> ReportTable:
    """Make the table of cells: measures, difference from the baseline, detectable difference, and costs.

    Its notes name the cells without values, with the reason and the command that runs them.
    """
    cells = findings.cells
    first = cells.measures[0]
    costs = [cost for cost in IN_TABLES if any(cost in cell.costs for cell in cells.cells)]
    header = [*cells.factors, *cells.measures, f"Δ {first}", "detectable", *(COSTS[cost].column for cost in costs)]
    body = []
    for cell in cells.cells:
        setting = [cell.factors[factor] for factor in cells.factors]
        if not cell.covers(cells.collections):
            body.append(setting + [FAILED] * (len(header) - len(setting)))
            continue
        contrasts = {measure: findings.comparisons[measure].get(cell.name) for measure in cells.measures}
        body.append(
            setting
            + [with_interval(findings.estimates[m][cell.name]) + mark(contrasts[m]) for m in cells.measures]
            + difference_and_detectable(contrasts[first])
            + [plain(cell.costs.get(cost, float("nan")), 1) for cost in costs]
        )
    caption = (
        f"Means over {queries_of(cells)}, {counted(len(cells.training_seeds), 'training seed')} and "
        f"{counted(len(cells.kmeans_seeds), 'k-means seed')}. In brackets {INTERVAL}. "
        f"Δ: difference from {cells.baseline.name}; † p < .05, {TEST}, Holm-adjusted over the "
        f"{counted(len(cells.others), 'comparison')} of each measure. {detectable_note(cells)}"
    )
    lacking = [cell for cell in cells.cells if not cell.covers(cells.collections)]
    notes = [f"{FAILED} {cell.name}: {one_line(cell.problem)}. Run: `{cell.command}`" for cell in lacking]
    numbers = pd.DataFrame([cell_numbers(findings, cell) for cell in cells.cells])
    return ReportTable(cells.title, numbers, header, body, len(cells.factors), [caption, *notes])


def cell_numbers(findings: Findings, cell: Cell) -> dict[str, object]:
    """The row of a cell in ``cells.csv``: column → value, which is None if the column does not apply to the cell.

    The columns are the factors, the estimate of each measure and of its difference from the baseline, the costs,
    ``problem`` and ``command``.
    """
    row: dict[str, object] = dict(cell.factors)
    for measure in findings.cells.measures:
        row |= estimate_numbers(measure, findings.estimates[measure].get(cell.name))
        row |= contrast_numbers(f"{measure}_difference", findings.comparisons[measure].get(cell.name))
    row |= {cost: cell.costs.get(cost) for cost in COSTS}
    return row | {"problem": cell.problem and one_line(cell.problem), "command": cell.command}


def estimate_numbers(name: str, found: Estimate | None) -> dict[str, object]:
    """The columns ``name``, ``name_low``, ``name_high``, the same for the intervals over seeds, and ``name_error``."""
    row: dict[str, object] = {name: found and found.mean}
    for kind in ("queries", "training", "kmeans", "combined"):
        prefix = name if kind == "queries" else f"{name}_{kind}"
        ends: ConfidenceInterval | None = found and getattr(found, kind)
        row |= {f"{prefix}_low": ends and ends.low, f"{prefix}_high": ends and ends.high}
    return row | {f"{name}_error": found and found.error}


def contrast_numbers(name: str, found: Contrast | None) -> dict[str, object]:
    """The columns of its estimate, ``name_p`` and ``name_detectable``."""
    row = estimate_numbers(name, found and found.difference)
    return row | {f"{name}_p": found and found.p, f"{name}_detectable": found and found.detectable}


def main_effects_table(findings: Findings) -> ReportTable:
    """Make the table of main effects: one row per measure and level."""
    cells = findings.cells
    body, numbers = [], []
    for measure in cells.measures:
        for effect in findings.effects[measure].main:
            keys = [measure, effect.factor, effect.level]
            cells_of_row = difference_and_detectable(effect.contrast)
            body.append([*keys, with_interval(effect.mean), *cells_of_row])
            numbers.append(
                dict(zip(("measure", "factor", "level"), keys, strict=True))
                | estimate_numbers("mean", effect.mean)
                | contrast_numbers("difference", effect.contrast)
            )
    caption = (
        "The mean of every level over all levels of the other factors, and its difference Δ from the baseline level. "
        f"In brackets {INTERVAL}. † p < .05: {TEST}, Holm-adjusted over all levels of all factors. "
        f"{detectable_note(cells)}"
    )
    header = ["Measure", "Factor", "Level", "Mean", "Δ", "detectable"]
    return ReportTable("Main effects", pd.DataFrame(numbers), header, body, 3, [caption])


def interactions_table(findings: Findings) -> ReportTable:
    """Make the table of interactions: one row per measure and pair of levels."""
    body, numbers = [], []
    for measure in findings.cells.measures:
        for one in findings.effects[measure].interactions:
            pair = [f"{factor}={level}" for factor, level in zip(one.factors, one.levels, strict=True)]
            body.append([measure, *pair, *difference_and_detectable(one.contrast)])
            numbers.append(
                {"measure": measure, "first": pair[0], "second": pair[1]} | contrast_numbers("beyond", one.contrast)
            )
    caption = (
        "The effect of two levels together beyond the sum of their separate effects, averaged over all other factors. "
        f"In brackets {INTERVAL}. † p < .05: {TEST}, Holm-adjusted over all pairs of levels. "
        f"{detectable_note(findings.cells)}"
    )
    header = ["Measure", "One", "With", "Beyond the sum", "detectable"]
    return ReportTable("Interactions", pd.DataFrame(numbers), header, body, 3, [caption])


def shares_table(findings: Findings) -> ReportTable:
    """Make the table of shares: one row per set of factors, one column per measure."""
    shares: Mapping[str, Mapping[tuple[str, ...], float]] = {
        measure: findings.effects[measure].shares for measure in findings.cells.measures
    }
    names = list(dict.fromkeys(factors for found in shares.values() for factors in found))
    numbers = pd.DataFrame({"effect": [" × ".join(factors) for factors in names]})
    for measure, found in shares.items():
        numbers[measure] = [found.get(factors, float("nan")) for factors in names]
    body = [[row[0], *(plain(100 * float(value), 1) for value in row[1:])] for row in numbers.itertuples(index=False)]
    caption = (
        "The share, in %, of the sum of squares between the cells' means that each effect accounts for, beyond its "
        "parts. Shares include the noise of the means, so a small share need not be an effect."
    )
    return ReportTable("Shares of the variation between cells", numbers, ["Effect", *shares], body, 1, [caption])


def seeds_table(findings: Findings) -> ReportTable:
    """Make the table of intervals over seeds: one row per measure and cell.

    The intervals are those of the difference from the baseline; for the baseline itself, those of its mean.
    """
    cells = findings.cells
    kinds = {"training": "training seeds", "kmeans": "k-means seeds", "combined": "queries and seeds"}
    body, numbers = [], []
    for measure in cells.measures:
        for cell in cells.complete:
            contrast = findings.comparisons[measure].get(cell.name)
            found = contrast.difference if contrast else findings.estimates[measure][cell.name]
            what = "difference" if contrast else "mean"
            body.append([measure, cell.name, what, signed(found.mean), bracket(found.queries)])
            body[-1] += [bracket(getattr(found, kind)) for kind in kinds]
            numbers.append({"measure": measure, "cell": cell.name, "of": what} | estimate_numbers("value", found))
    caption = (
        f"95 % intervals over other queries, other training seeds ({len(cells.training_seeds)} here), other k-means "
        f"seeds ({len(cells.kmeans_seeds)} here), and other queries and seeds together, of the difference from "
        f"{cells.baseline.name}. A single seed gives no interval."
    )
    header = ["Measure", "Cell", "Of", "Value", "queries", *kinds.values()]
    return ReportTable("Intervals over seeds", pd.DataFrame(numbers), header, body, 3, [caption])


def with_interval(found: Estimate) -> str:
    """Format a mean with its interval over queries, ``.712 [.690, .734]``; a dash if it is unknown."""
    return NOTHING if math.isnan(found.mean) else f"{signed(found.mean)} {bracket(found.queries)}"


def difference_and_detectable(contrast: Contrast | None) -> list[str]:
    """The cells of the two columns; dashes for the baseline, which has no difference."""
    if contrast is None:
        return [plain(float("nan"), 1)] * 2
    if contrast.few_seeds and not math.isnan(contrast.difference.mean):
        detectable = FEW_SEEDS
    else:
        detectable = plain(float("nan"), 1) if contrast.detectable is None else fraction(contrast.detectable)
    return [with_interval(contrast.difference) + mark(contrast), detectable]


def detectable_note(cells: Cells) -> str:
    """What the column ``detectable`` says for these seeds."""
    numbers = len(cells.training_seeds), len(cells.kmeans_seeds)
    if any(1 < number < FEWEST_SEEDS for number in numbers):
        return f"{FEW_SEEDS.capitalize()}: two seeds are too few to tell which true difference would be found."
    drawn = "queries and seeds" if max(numbers) > 1 else "queries"
    return f"Detectable: the smallest true difference that is found with probability .8 if {drawn} are drawn again."


def bracket(found: ConfidenceInterval | None) -> str:
    """Format an interval, ``[−.041, −.015]``; a dash if there is none."""
    return NOTHING if found is None or math.isnan(found.low) else f"[{signed(found.low)}, {signed(found.high)}]"


def mark(contrast: Contrast | None) -> str:
    """A dagger if the adjusted p is below .05, otherwise nothing."""
    return " †" if contrast and contrast.significant else ""


def queries_of(cells: Cells) -> str:
    """How many queries the means are over: ``50 queries``, or ``2 collections (a: 50 queries, b: 9 queries)``."""
    numbers = {name: f"{len(ids):,} queries" for name, ids in cells.queries.items()}
    if len(numbers) == 1:
        return next(iter(numbers.values()))
    return f"{len(numbers)} collections ({', '.join(f'{name}: {number}' for name, number in numbers.items())})"


def counted(number: int, what: str) -> str:
    """A number with its noun: ``1 training seed``, ``3 training seeds``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def one_line(text: str | None) -> str:
    """Make an error message part of a sentence: one line without a full stop."""
    return " ".join((text or "no values").split()).rstrip(".")


def sweep_report(
    findings: Findings, tables: Mapping[str, ReportTable], sentences: Sequence[str], pictures: Mapping[str, str]
) -> str:
    """The report as Markdown, with links to its figures.

    Args:
        findings: what the sweep shows.
        tables: the tables, by file name.
        sentences: the conclusions.
        pictures: titles of the figures, by file name (without suffix).
    """
    cells = findings.cells
    lines = [f"# {cells.title}", "", *(f"`{command}`  " for command in cells.commands)]
    if cells.warnings:
        lines += ["", *(f"> {warning}" for warning in cells.warnings)]
    lines += ["", *(f"- {sentence}" for sentence in sentences)]
    lines += [line for table in tables.values() for line in ("", table.markdown().rstrip())]
    lines += [line for name, title in pictures.items() for line in ("", f"![{title}]({name}.png)")]
    return "\n".join(lines) + "\n"
