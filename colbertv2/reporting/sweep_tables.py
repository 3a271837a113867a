"""The tables of an ablation's report: cells, main effects, interactions, shares, and intervals over seeds."""

import math
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from colbertv2.ablation.cells import Cell, Cells
from colbertv2.ablation.findings import Findings
from colbertv2.ablation.wording import collection_words, counted, leading_words, seed_words, training_words
from colbertv2.evaluation.intervals import RESAMPLES, ConfidenceInterval
from colbertv2.evaluation.measurement import COSTS, IN_TABLES
from colbertv2.evaluation.measures import NOTHING, plain, signed
from colbertv2.evaluation.statistics import FEW_DIFFERING, Contrast, Estimate
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
    tested = findings.comparisons[first].values()
    recipes = any(contrast.p_recipes is not None for contrast in tested)
    comparisons = counted(len(cells.others), "comparison")
    header = [
        *cells.factors,
        *cells.measures,
        f"Δ {first}",
        *detectable_header(recipes),
        *(COSTS[cost].column for cost in costs),
    ]
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
            + difference_and_detectable(contrasts[first], recipes)
            + [plain(cell.costs.get(cost, float("nan")), 1) for cost in costs]
        )
    caption = (
        f"Means over {queries_of(cells)}, {seed_words(cells)}. In brackets {INTERVAL}. "
        f"Δ: difference from {cells.baseline.name}. {marks_note(tested)} "
        f"{adjusted(f'the {comparisons} of each measure')} {detectable_note(recipes)}"
    )
    caption = " ".join([caption, *leading_words(cells)])
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
    """The columns of its estimate, ``name_p`` and ``name_detectable`` (†), those of recipes (‡), ``name_differing``."""
    row = estimate_numbers(name, found and found.difference)
    fields = ("p", "detectable", "p_recipes", "detectable_recipes", "differing")
    return row | {f"{name}_{field}": found and getattr(found, field) for field in fields}


def main_effects_table(findings: Findings) -> ReportTable:
    """Make the table of main effects: one row per measure and level."""
    cells = findings.cells
    body, numbers = [], []
    tested = [one.contrast for found in findings.effects.values() for one in found.main if one.contrast]
    recipes = any(contrast.p_recipes is not None for contrast in tested)
    for measure in cells.measures:
        for effect in findings.effects[measure].main:
            keys = [measure, effect.factor, effect.level]
            cells_of_row = difference_and_detectable(effect.contrast, recipes)
            body.append([*keys, with_interval(effect.mean), *cells_of_row])
            numbers.append(
                dict(zip(("measure", "factor", "level"), keys, strict=True))
                | estimate_numbers("mean", effect.mean)
                | contrast_numbers("difference", effect.contrast)
            )
    caption = (
        "The mean of every level over all levels of the other factors, and its difference Δ from the baseline level. "
        f"In brackets {INTERVAL}. {marks_note(tested)} {adjusted('all levels of all factors')} "
        f"{detectable_note(recipes)}"
    )
    header = ["Measure", "Factor", "Level", "Mean", "Δ", *detectable_header(recipes)]
    return ReportTable("Main effects", pd.DataFrame(numbers), header, body, 3, [caption])


def interactions_table(findings: Findings) -> ReportTable:
    """Make the table of interactions: one row per measure and pair of levels."""
    body, numbers = [], []
    tested = [one.contrast for found in findings.effects.values() for one in found.interactions]
    recipes = any(contrast.p_recipes is not None for contrast in tested)
    for measure in findings.cells.measures:
        for one in findings.effects[measure].interactions:
            pair = [f"{factor}={level}" for factor, level in zip(one.factors, one.levels, strict=True)]
            body.append([measure, *pair, *difference_and_detectable(one.contrast, recipes)])
            numbers.append(
                {"measure": measure, "first": pair[0], "second": pair[1]} | contrast_numbers("beyond", one.contrast)
            )
    caption = (
        "The effect of two levels together beyond the sum of their separate effects, averaged over all other factors. "
        f"In brackets {INTERVAL}. {marks_note(tested)} {adjusted('all pairs of levels')} {detectable_note(recipes)}"
    )
    header = ["Measure", "One", "With", "Beyond the sum", *detectable_header(recipes)]
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
        f"95 % intervals over other queries, other training seeds ({training_words(cells)} here), other k-means seeds "
        f"({'not told apart' if cells.kmeans_follows else f'{len(cells.kmeans_seeds)} here'}), and other queries and "
        f"seeds together, of the difference from {cells.baseline.name}. The last contains the others. A single seed "
        "gives no interval."
    )
    header = ["Measure", "Cell", "Of", "Value", "queries", *kinds.values()]
    return ReportTable("Intervals over seeds", pd.DataFrame(numbers), header, body, 3, [caption])


def with_interval(found: Estimate) -> str:
    """Format a mean with its interval over queries, ``.712 [.690, .734]``; a dash if it is unknown."""
    return NOTHING if math.isnan(found.mean) else f"{signed(found.mean)} {bracket(found.queries)}"


def detectable_header(recipes: bool) -> list[str]:
    """The names of the columns with the smallest difference that † detects and, if there is that test, ‡."""
    return ["detectable", "detectable ‡"] if recipes else ["detectable"]


def difference_and_detectable(contrast: Contrast | None, recipes: bool) -> list[str]:
    """The cells of the difference and of ``detectable_header``; dashes for the baseline, which has no difference."""
    nothing = plain(float("nan"), 1)
    if contrast is None:
        return [nothing] * (3 if recipes else 2)
    narrow = " §" if contrast.narrow else ""
    shown = [with_interval(contrast.difference) + narrow + mark(contrast)]
    shown.append(nothing if contrast.detectable is None else signed(contrast.detectable))
    if not recipes:
        return shown
    if contrast.p_recipes is not None and contrast.few_seeds:
        return [*shown, FEW_SEEDS]
    return [*shown, nothing if contrast.detectable_recipes is None else signed(contrast.detectable_recipes)]


def marks_note(tested: Collection[Contrast]) -> str:
    """What the marks say of the differences in a table: of these models, or of their recipes."""
    notes = [f"† p < .05: {TEST}."]
    if any(contrast.p_recipes is not None for contrast in tested):
        notes.append(
            "† is about these models and other queries. ‡ p < .05 for other training seeds too, so it is about the "
            "recipes: the largest p of †, of a t-test of the means of each training seed, and of a t-test with the "
            "error over queries and seeds."
        )
    elif any(contrast.trained_apart for contrast in tested):
        notes.append(
            "† is about these models and other queries: with one training seed nothing is known of other trainings by "
            "the same recipes."
        )
    if any(contrast.narrow for contrast in tested):
        notes.append(f"§ Fewer than {FEW_DIFFERING} queries differ: the interval over queries is too narrow.")
    return " ".join(notes)


def adjusted(family: str) -> str:
    """The sentence on the family of tests."""
    return f"All p are Holm-adjusted over {family}."


def detectable_note(recipes: bool) -> str:
    """What the columns of ``detectable_header`` say."""
    note = (
        "Detectable: the smallest true difference that † finds with probability .8 if queries are drawn again; a dash "
        "if too few queries differ for any †."
    )
    if not recipes:
        return note
    return (
        f"{note} Detectable ‡: the same for ‡, if queries and training seeds are drawn again; {FEW_SEEDS}: two are too "
        "few to tell."
    )


def bracket(found: ConfidenceInterval | None) -> str:
    """Format an interval, ``[−.041, −.015]``; a dash if there is none."""
    return NOTHING if found is None or math.isnan(found.low) else f"[{signed(found.low)}, {signed(found.high)}]"


def mark(contrast: Contrast | None) -> str:
    """† if the adjusted p over queries is below .05, with ‡ if that over queries and training seeds is too."""
    if contrast is None or not contrast.significant:
        return ""
    return " †‡" if contrast.significant_recipes else " †"


def queries_of(cells: Cells) -> str:
    """How many queries the means are over: ``50 queries``, or ``2 collections (a: 50 queries, b: 9 queries)``."""
    numbers = {name: f"{len(ids):,} queries" for name, ids in cells.queries.items()}
    if len(numbers) == 1 and not cells.missing:
        return next(iter(numbers.values()))
    return f"{collection_words(cells)} ({', '.join(f'{name}: {number}' for name, number in numbers.items())})"


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
