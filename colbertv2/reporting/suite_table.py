"""The tables of a suite: systems × collections with the mean, what each costs, and what the differences say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from colbertv2.evaluation.across import MIXED
from colbertv2.evaluation.measurement import COSTS, IN_TABLES, known_costs
from colbertv2.evaluation.measures import NOTHING, fraction, plain, signed
from colbertv2.evaluation.statistics import Contrast, Estimate, contrasts, estimate
from colbertv2.reporting.rendering import ReportTable, largest
from colbertv2.reporting.system_table import System

MISSING = "—"
MEAN = "mean"


@dataclass(frozen=True)
class SuiteResult:
    """The evaluations of a suite.

    Args:
        systems: name of each row → collection → its data on that collection, for the collections that were evaluated.
        measures: collection → the measure that leads there, in the order of the columns.
        missing: collection → why it was not evaluated.
        baseline: the row that the others are compared with.
    """

    systems: Mapping[str, Mapping[str, System]]
    measures: Mapping[str, str]
    missing: Mapping[str, str] = field(default_factory=dict)
    baseline: str = ""

    @property
    def others(self) -> list[str]:
        """The rows but the baseline."""
        return [name for name in self.systems if name != self.baseline]

    @property
    def known(self) -> list[str]:
        """The collections whose leading measure is known for every row: those that the mean is over."""
        return [
            name for name, measure in self.measures.items() if all(self.is_known(one, name) for one in self.systems)
        ]

    def is_known(self, system: str, collection: str) -> bool:
        """Whether the leading measure of a collection is known for a row."""
        return bool(self.systems[system][collection].values[self.measures[collection]].notna().all())

    def values(self, system: str, collection: str) -> np.ndarray:
        """The values of the leading measure per query, ``[1, 1, queries]``, in the baseline's order of the queries."""
        order = self.systems[self.baseline][collection].values.index
        found = self.systems[system][collection].values.loc[order, self.measures[collection]]
        return found.to_numpy(float)[None, None]


@dataclass(frozen=True)
class SuiteFindings:
    """The statistics of a suite.

    Args:
        estimates: row → collection, or ``MEAN`` → the mean with its interval over queries.
        differences: row but the baseline → collection → its difference from the baseline; all of these tests are one
            family (Holm).
        of_means: row but the baseline → its difference from the baseline in the mean over the collections, one family.
    """

    estimates: Mapping[str, Mapping[str, Estimate]]
    differences: Mapping[str, Mapping[str, Contrast]]
    of_means: Mapping[str, Contrast]


def find(result: SuiteResult, seed: int) -> SuiteFindings:
    """Compute the statistics of a suite; ``seed`` is that of the resampling."""
    estimates: dict[str, dict[str, Estimate]] = {}
    for row in result.systems:
        known = [name for name in result.measures if result.is_known(row, name)]
        estimates[row] = {name: estimate([result.values(row, name)], seed) for name in known}
        if result.known:
            estimates[row][MEAN] = estimate([result.values(row, name) for name in result.known], seed)
    pairs = [(row, name) for row in result.others for name in result.known]
    gaps = {(row, name): result.values(row, name) - result.values(result.baseline, name) for row, name in pairs}
    tested = dict(zip(pairs, contrasts([[gaps[pair]] for pair in pairs], seed), strict=True)) if pairs else {}
    means = contrasts([[gaps[row, name] for name in result.known] for row in result.others], seed) if pairs else []
    return SuiteFindings(
        estimates,
        {row: {name: tested[row, name] for name in result.known} for row in result.others},
        dict(zip(result.others, means, strict=True)) if pairs else {},
    )


def quality_table(result: SuiteResult, findings: SuiteFindings, title: str, notes: Sequence[str]) -> ReportTable:
    """Make the main table: one row per system, one column per collection, and the mean; the best are in bold.

    Its numbers have one line per row and collection (and ``mean``): ``system``, ``collection``, ``measure``,
    ``value``, ``low`` and ``high`` (95 %, over queries), ``difference``, ``p`` (Holm-adjusted), ``queries``, the costs.
    """
    names = [*result.measures, *result.missing]
    shared = set(result.measures.values())
    header = ["System", *(column(name, result.measures) for name in names), mean_title(result.known, len(names))]
    body, numbers = [], []
    for row, systems in result.systems.items():
        cells = [cell(row, name, findings) if name in result.measures else MISSING for name in names]
        body.append([row, *cells, cell(row, MEAN, findings)])
        for name in [*result.measures, MEAN]:
            found = findings.estimates[row].get(name)
            contrast = contrast_of(row, name, findings)
            system = systems.get(name)
            numbers.append(
                {
                    "system": row,
                    "collection": name,
                    "measure": result.measures.get(name, ", ".join(sorted(shared))),
                    "value": found and found.mean,
                    "low": found and found.queries.low,
                    "high": found and found.queries.high,
                    "difference": contrast and contrast.difference.mean,
                    "p": contrast and contrast.p,
                    "queries": len(system.values) if system else None,
                    **({cost: costs_of(system).get(cost) for cost in IN_TABLES} if system else {}),
                }
            )
    means = [
        {name: found[name].mean if name in found else float("nan") for name in [*names, MEAN]}
        for found in findings.estimates.values()
    ]
    said = [caption(result), *reasons(result), *notes]
    return ReportTable(title, pd.DataFrame(numbers), header, body, 1, said, largest(means, 1))


def column(name: str, measures: Mapping[str, str]) -> str:
    """The head of a collection's column, with its measure if the collections differ in it.

    >>> column("one", {"one": "Success@5", "two": "nDCG@10"}), column("one", {"one": "nDCG@10", "two": "nDCG@10"})
    ('one (Success@5)', 'one')
    """
    return f"{name} ({measures[name]})" if len(set(measures.values())) > 1 and name in measures else name


def mean_title(known: Sequence[str], total: int) -> str:
    """The head of the column of means; marked if it is not over all collections.

    >>> mean_title(["one", "two"], 2), mean_title(["one", "two"], 3)
    ('mean', 'mean of 2*')
    """
    return MEAN if len(known) == total else f"{MEAN} of {len(known)}*"


def mean_notes(known: Sequence[str], total: int, measures: Mapping[str, str]) -> list[str]:
    """What a reader must know of the means, as a part of the caption.

    Args:
        known: the collections that they are over.
        total: the number of all collections.
        measures: collection → the measure that leads there; may be empty if it is the same everywhere.
    """
    over = ", ".join(known) or "nothing"
    marked = f"* The mean is over {over}; don't compare it with a mean over all {total} collections."
    mixed = len({measures.get(name) for name in known}) > 1
    return [*([marked] if len(known) < total else []), *([MIXED] if mixed else [])]


def missing_notes(missing: Mapping[str, str]) -> list[str]:
    """One sentence for each collection that is missing, from name → reason."""
    return [f"{MISSING} {name} is missing: {reason.rstrip('.')}." for name, reason in missing.items()]


def cell(row: str, name: str, findings: SuiteFindings) -> str:
    """A value with the mark of its test; the mean has its interval too."""
    found, contrast = findings.estimates[row].get(name), contrast_of(row, name, findings)
    if found is None:
        return NOTHING
    interval = f" [{signed(found.queries.low)}, {signed(found.queries.high)}]" if name == MEAN else ""
    return f"{fraction(found.mean)}{interval}{' †' if contrast and contrast.significant else ''}"


def contrast_of(row: str, name: str, findings: SuiteFindings) -> Contrast | None:
    """The difference of a row from the baseline on a collection or in the mean; None for the baseline."""
    return findings.of_means.get(row) if name == MEAN else findings.differences.get(row, {}).get(name)


def caption(result: SuiteResult) -> str:
    """What the table shows, and its tests."""
    measures = ", ".join(dict.fromkeys(result.measures.values()))
    sizes = ", ".join(f"{name} {len(result.systems[result.baseline][name].values):,}" for name in result.measures)
    text = f"{measures}; queries: {sizes}. The mean is over collections, each with the same weight."
    if result.known:
        text += " In brackets its 95 % bootstrap interval: queries drawn again within each collection."
    if result.others:
        pairs = len(result.others) * len(result.known)
        text += (
            f" † differs from {result.baseline} with p < .05: two-sided paired randomisation test over queries, "
            f"Holm-adjusted over the {pairs} comparisons on collections, and over the {len(result.others)} of means. "
            "It is about other queries with these models, not about other trainings."
        )
    return " ".join([text, *mean_notes(result.known, len(result.measures) + len(result.missing), result.measures)])


def reasons(result: SuiteResult) -> list[str]:
    """One sentence per collection that is missing or left out of the mean."""
    found = missing_notes(result.missing)
    for name, measure in result.measures.items():
        if name not in result.known:
            lacking = {
                reason.rstrip("."): row
                for row, systems in result.systems.items()
                if (reason := systems[name].unknown.get(measure))
            }
            found += [f"{NOTHING} {measure} on {name} is not known ({row}): {why}." for why, row in lacking.items()]
    return found


def costs_of(system: System) -> dict[str, float]:
    """The costs of a row on a collection, by name, as far as they are known."""
    return known_costs({**system.statistics, "ms_per_query": system.ms_per_query})


def costs_table(result: SuiteResult) -> ReportTable:
    """Make the table of costs: one row per system and kind of cost, one column per collection."""
    body, numbers = [], []
    for row, systems in result.systems.items():
        for cost in IN_TABLES:
            found = {name: costs_of(system).get(cost, float("nan")) for name, system in systems.items()}
            if any(value == value for value in found.values()):
                body.append([row, COSTS[cost].column, *(plain(found[name], 1) for name in result.measures)])
                numbers.append({"system": row, "cost": cost, **found})
    header = ["System", "Cost", *result.measures]
    note = "B/token: one encoded vector; B/document: everything on disk; ms/query: one at a time, without encoding it."
    return ReportTable("Costs", pd.DataFrame(numbers), header, body, 2, [note])
