"""The tables of a report on several collections: cells × collections, what they say together, and single queries."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from colbertv2.ablation.cells import Cell, Cells
from colbertv2.ablation.findings import Findings
from colbertv2.ablation.wording import collection_words, leading_words, seed_words
from colbertv2.evaluation.across import FEW_COLLECTIONS, Tally
from colbertv2.evaluation.measures import NOTHING, fraction, signed
from colbertv2.evaluation.statistics import Contrast
from colbertv2.reporting.rendering import ReportTable, largest
from colbertv2.reporting.suite_table import MEAN, column, mean_notes, mean_title, missing_notes
from colbertv2.reporting.sweep_tables import FAILED, adjusted, bracket, mark, marks_note

SHOWN_QUERIES = 30  # the most rows of a table of queries
TEXT_CHARACTERS = 90  # of a query, in a table


def collection_tables(findings: Findings) -> dict[str, ReportTable]:
    """The tables of several collections: file name → table; empty for one collection."""
    if len(findings.cells.collections) < 2:
        return {}
    tables = {"collections": values_table(findings), "collection_differences": differences_table(findings)}
    if findings.summaries.get(findings.cells.measures[0]):
        tables["across_collections"] = summaries_table(findings)
    return tables


def values_table(findings: Findings) -> ReportTable:
    """Make the table of values: one row per cell, one column per collection and the mean; the best are in bold."""
    cells, measure = findings.cells, findings.cells.measures[0]
    values = [row_of(cell, cells, measure) for cell in cells.cells]
    compared = on_each(findings)
    body = [
        [*cell.factors.values(), *(shown(value, compared.get(name, {}).get(cell.name)) for name, value in row.items())]
        for cell, row in zip(cells.cells, values, strict=True)
    ]
    left = len(cells.factors)
    numbers = pd.DataFrame([{**cell.factors, **row} for cell, row in zip(cells.cells, values, strict=True)])
    tested = [one for by_cell in compared.values() for one in by_cell.values()]
    caption = (
        f"{measure}, means over {seed_words(cells)}. The mean is over collections, each with the same "
        f"weight. Marks: differs from {cells.baseline.name}. {marks_note(tested)} "
        f"{adjusted('all cells and collections, and over the cells for the mean')}"
    )
    names = [*cells.collections, *cells.missing]
    notes = mean_notes(cells.collections, len(names), cells.leading)
    return ReportTable(
        "Cell by collection",
        numbers,
        [*cells.factors, *(title_of(name, cells) for name in (*names, MEAN))],
        body,
        left,
        [" ".join([caption, *notes]), *missing_notes(cells.missing)],
        largest(values, left),
    )


def title_of(name: str, cells: Cells) -> str:
    """The head of the column of a collection, or of ``MEAN``, as in the table of a run."""
    if name == MEAN:
        return mean_title(cells.collections, len(cells.collections) + len(cells.missing))
    return column(name, cells.leading)


def row_of(cell: Cell, cells: Cells, measure: str) -> dict[str, float]:
    """The means of a cell on each collection and over all; NaN where it has no values."""
    found = {name: cell.values.get(measure, {}).get(name) for name in cells.collections}
    row = {name: float("nan") if values is None else float(values.mean()) for name, values in found.items()}
    row |= dict.fromkeys(cells.missing, float("nan"))
    return row | {MEAN: cell.mean(measure) if cell.covers(cells.collections) else float("nan")}


def on_each(findings: Findings) -> Mapping[str, Mapping[str, Contrast]]:
    """The differences from the baseline: collection or ``MEAN`` → cell → contrast."""
    measure = findings.cells.measures[0]
    found = {name: by_measure[measure] for name, by_measure in findings.by_collection.items()}
    return {**found, MEAN: findings.comparisons[measure]}


def shown(value: float, contrast: Contrast | None) -> str:
    """A mean with the marks of its difference from the baseline; a dash where the cell has no values."""
    return FAILED if np.isnan(value) else fraction(value) + mark(contrast)


def differences_table(findings: Findings) -> ReportTable:
    """Make the table of differences from the baseline: one row per cell and collection, with the interval and p."""
    cells, measure = findings.cells, findings.cells.measures[0]
    body, numbers = [], []
    for cell in cells.cells:
        for name, by_cell in on_each(findings).items():
            if (contrast := by_cell.get(cell.name)) is None:
                continue
            found = contrast.difference
            setting = [cell.factors[factor] for factor in cells.factors]
            p, recipes = contrast.p, contrast.p_recipes
            value = signed(found.mean) + mark(contrast)
            row = [value, bracket(found.queries), bracket(found.combined), fraction(p)]
            body.append([*setting, title_of(name, cells), *row, NOTHING if recipes is None else fraction(recipes)])
            numbers.append(
                {
                    **cell.factors, "collection": name, "measure": cells.leading.get(name, measure),
                    "difference": found.mean,
                    "low": found.queries.low, "high": found.queries.high, "p": p, "p_recipes": recipes,
                }
            )  # fmt: skip
    header = [*cells.factors, "Collection", f"Δ {measure}", "queries", "queries and seeds", "p †", "p ‡"]
    caption = (
        f"Differences from {cells.baseline.name} with 95 % intervals. {adjusted('all rows but those of the mean')}"
    )
    notes = mean_notes(cells.collections, len(cells.collections) + len(cells.missing), cells.leading)
    return ReportTable(
        "Differences by collection",
        pd.DataFrame(numbers),
        header,
        body,
        len(cells.factors) + 1,
        [" ".join([caption, *notes])],
    )


def summaries_table(findings: Findings) -> ReportTable:
    """Make the table of summaries over collections: one row per cell."""
    cells, measure = findings.cells, findings.cells.measures[0]
    body, numbers = [], []
    for cell in cells.others:
        if (found := findings.summaries[measure].get(cell.name)) is None:
            continue
        setting = [cell.factors[factor] for factor in cells.factors]
        effects, contrast = found.random_effects, findings.comparisons[measure][cell.name]
        row = [signed(contrast.difference.mean) + mark(contrast), tally(found.shown), tally(found.signs)]
        if effects is None:
            body.append([*setting, *row, *[NOTHING] * 5])
        else:
            drawn = f"{signed(effects.mean)} {bracket(effects.interval)}"
            body.append(
                [
                    *setting, *row, drawn, bracket(effects.prediction), fraction(effects.tau),
                    f"{effects.heterogeneity:.0%}", fraction(effects.p),
                ]
            )  # fmt: skip
        numbers.append(
            {
                **cell.factors, "difference": contrast.difference.mean,
                "wins": found.shown.wins, "ties": found.shown.ties, "losses": found.shown.losses,
                "random_effects": effects and effects.mean, "low": effects and effects.interval.low,
                "high": effects and effects.interval.high, "tau": effects and effects.tau,
                "heterogeneity": effects and effects.heterogeneity, "p_heterogeneity": effects and effects.p,
            }
        )  # fmt: skip
    header = [
        *cells.factors, "Δ of the mean", "shown: wins–ties–losses", "by sign", "random effects", "a further collection",
        "τ", "I²", "p of Q",
    ]  # fmt: skip
    few = len(cells.collections) < FEW_COLLECTIONS
    caption = (
        f"{measure}, difference from {cells.baseline.name} over {collection_words(cells)}. Δ of the mean is "
        "about these collections. Random effects regards them as drawn from many; τ is the standard deviation of the "
        "true differences between collections, I² the share of their variation that queries do not explain, and p of Q "
        f"that of no variation.{f' {len(cells.collections)} collections tell very little about others.' if few else ''}"
    )
    caption = " ".join([caption, *leading_words(cells)])
    return ReportTable("Over the collections", pd.DataFrame(numbers), header, body, len(cells.factors), [caption])


def tally(found: Tally) -> str:
    """Wins, ties and losses, ``3–1–0``."""
    return "–".join(map(str, found))


def queries_table(cells: Cells, collection: str, texts: Mapping[str, str]) -> ReportTable:
    """Make the table of the queries of a collection whose values differ most between the cells.

    Its numbers have all queries: ``query_id``, ``text``, and one column per cell (the mean over seeds).

    Args:
        cells: the sweep.
        collection: one of its collections.
        texts: query id → text, as far as they are known.
    """
    measure = cells.measures[0]
    covered = [cell for cell in cells.cells if cell.covers([collection])]
    values = np.stack([cell.per_query(measure, collection) for cell in covered], axis=1)
    ids = list(cells.queries[collection])
    numbers = pd.DataFrame(values, columns=[cell.name for cell in covered])
    numbers.insert(0, "text", [texts.get(one, "") for one in ids])
    numbers.insert(0, "query_id", ids)
    apart = values.max(axis=1) - values.min(axis=1)
    chosen = [place for place in np.argsort(-apart, kind="stable")[:SHOWN_QUERIES] if apart[place] > 0]
    header = ["Query", "Text", *(", ".join(cell.factors.values()) for cell in covered)]
    body = [
        [ids[place], clipped(texts.get(ids[place], "")), *(fraction(value) for value in values[place])]
        for place in chosen
    ]
    note = f"{measure}, means over seeds: the {len(chosen)} of {len(ids):,} queries whose values differ most."
    return ReportTable(f"Queries of {collection}", numbers, header, body, 2, [note])


def clipped(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_CHARACTERS else f"{line[: TEXT_CHARACTERS - 1]}…"
