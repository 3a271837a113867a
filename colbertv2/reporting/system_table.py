"""The table of an experiment: one row per system, with intervals, significance and costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from colbertv2.artifacts.artifact import Artifact
from colbertv2.errors import InputError
from colbertv2.evaluation.intervals import RESAMPLES, bootstrap_intervals
from colbertv2.evaluation.measurement import (
    COSTS,
    IN_TABLES,
    index_statistics,
    not_known,
    per_query,
    timing,
    unknown_of,
)
from colbertv2.evaluation.measures import NOTHING, fraction, plain
from colbertv2.evaluation.statistics import compare
from colbertv2.evaluation.variance import LEVEL
from colbertv2.reporting.rendering import ReportTable


@dataclass(frozen=True)
class System:
    """The data of one row.

    Args:
        name: the name that is printed.
        values: per-query values, index query id, one column per measure (``colbertv2.evaluation.measures.evaluate``).
        engine: the name of the search engine that is printed.
        ms_per_query: search latency in milliseconds; None if it was not measured.
        statistics: of the index, if there is one: ``codec``, ``bytes_per_token``, ``bytes_per_document``,
            ``num_documents``, ``num_vectors``; any of them may be missing.
        unknown: the unknown measures (NaN in ``values``): name → reason.
    """

    name: str
    values: pd.DataFrame
    engine: str
    ms_per_query: float | None = None
    statistics: Mapping[str, str | float] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)


def read_system(name: str, evaluation: Artifact) -> System:
    """Read the data of the row ``name`` from an evaluation, its ranking and the index that was searched, if any."""
    ranking = evaluation.parents["ranking"]
    return System(
        name=name,
        values=per_query(evaluation),
        engine=engine(ranking),
        ms_per_query=timing(ranking).get("ms_per_query"),
        statistics=index_statistics(ranking),
        unknown=unknown_of(evaluation),
    )


def engine(ranking: Artifact) -> str:
    """The name of the class of a ranking's search engine; without an engine, the name of its stage."""
    target = ranking.arguments.get("engine", {}).get("_target_", ranking.stage)
    return target.rpartition(".")[2]


def make_table(systems: Sequence[System], baseline: str, measures: Sequence[str], seed: int) -> pd.DataFrame:
    """Make the table: one row per system, with means, costs, intervals and adjusted p-values.

    Args:
        systems: the systems, in the order of the rows.
        baseline: the name of the system that the others are tested against.
        measures: the measures to show.
        seed: the seed of the resamples.

    Returns:
        columns ``system``, ``codec``, the measures, ``bytes_per_token``, ``ms_per_query``, ``bytes_per_document``,
        ``<measure>_low`` and ``<measure>_high`` (95 % bootstrap), ``p_<measure>`` (against the baseline,
        Holm-adjusted over the systems), ``engine``, ``queries``. A value that does not apply is missing (NaN).

    Raises:
        InputError: the baseline or a measure is missing, or the systems were evaluated on different queries.
    """
    check_systems(systems, baseline, measures)
    queries = systems[0].values.index
    values = {system.name: system.values.loc[queries, list(measures)] for system in systems}
    rows = [
        {
            "system": system.name,
            "codec": system.statistics.get("codec", NOTHING),
            **values[system.name].mean().to_dict(),
            "bytes_per_token": system.statistics.get("bytes_per_token"),
            "ms_per_query": system.ms_per_query,
            "bytes_per_document": system.statistics.get("bytes_per_document"),
        }
        for system in systems
    ]
    table = pd.DataFrame(rows)
    numbers = [name for name in table.columns if name not in ("system", "codec")]
    table[numbers] = table[numbers].astype(float)
    intervals = {system.name: bootstrap_intervals(values[system.name].to_numpy(), seed) for system in systems}
    for column, measure in enumerate(measures):
        table[f"{measure}_low"] = [intervals[system.name][column, 0] for system in systems]
        table[f"{measure}_high"] = [intervals[system.name][column, 1] for system in systems]
    others = [system.name for system in systems if system.name != baseline]
    for measure in measures:
        samples = [values[name][measure].to_numpy() for name in others]
        p_values = compare(samples, values[baseline][measure].to_numpy(), seed)
        table[f"p_{measure}"] = table["system"].map(dict(zip(others, p_values.tolist(), strict=True))).astype(float)
    table["engine"] = [system.engine for system in systems]
    table["queries"] = len(queries)
    return table


def unknown_notes(systems: Sequence[System], measures: Sequence[str]) -> list[str]:
    """One sentence for each reason why measures are unknown, with the systems it concerns.

    >>> unknown_notes([System("BM25", pd.DataFrame(), "bm25", unknown={"R@50": "the ranking is short"})], ["R@50"])
    ['R@50 –: the ranking is short (BM25).']
    """
    reasons: dict[tuple[str, ...], list[str]] = {}
    for system in systems:
        for reason in dict.fromkeys(system.unknown.values()):
            of = [measure for measure in measures if system.unknown.get(measure) == reason]
            if of:
                reasons.setdefault((reason, *of), []).append(system.name)
    return [not_known(of, f"{reason} ({', '.join(names)})") for (reason, *of), names in reasons.items()]


def check_systems(systems: Sequence[System], baseline: str, measures: Sequence[str]) -> None:
    """Check the arguments of ``make_table``.

    Raises:
        InputError: as for ``make_table``.
    """
    names = [system.name for system in systems]
    if baseline not in names:
        raise InputError(f"The baseline {baseline!r} is not a row of the table; expected one of {', '.join(names)}.")
    for system in systems:
        if lacking := [measure for measure in measures if measure not in system.values]:
            raise InputError(
                f"{system.name!r} was not evaluated with {', '.join(lacking)}, only with {', '.join(system.values)}; "
                "add the missing measures to `measures`."
            )
        if set(system.values.index) != set(systems[0].values.index):
            raise InputError(
                f"{system.name!r} was evaluated on {len(system.values)} queries, {names[0]!r} on "
                f"{len(systems[0].values)}, or on different ones; all systems need the same queries."
            )


def to_markdown(
    table: pd.DataFrame,
    title: str,
    baseline: str,
    measures: Sequence[str],
    sizes: Mapping[str, float],
    notes: Sequence[str],
) -> str:
    """Format the table as Markdown: values with intervals and marks, and a caption that explains them.

    Args:
        table: the result of ``make_table``.
        title: the title of the table.
        baseline: the name of the system that the others are tested against.
        measures: the measures to show.
        sizes: what the collection contains, for example ``{"documents": 5301}``.
        notes: sentences below the table.
    """
    header = ["System", "Codec", *measures, *(COSTS[cost].column for cost in IN_TABLES)]
    body = []
    for row in table.to_dict("records"):
        cells = [plain(row[name], 1) for name in IN_TABLES]
        body.append([row["system"], row["codec"], *(value_with_interval(row, measure) for measure in measures), *cells])
    held = ", ".join(f"{size:,.0f} {name}" for name, size in sizes.items())
    caption = (
        f"Means over {table['queries'].iloc[0]:,} queries{f'; the collection holds {held}' if held else ''}. "
        f"In brackets 95 % percentile bootstrap intervals over queries ({RESAMPLES:,} resamples). "
        f"† differs from {baseline} with p < .05: two-sided paired randomisation test ({RESAMPLES:,} resamples), "
        f"p-values Holm-adjusted over the {len(table) - 1} comparisons of each measure. It is about "
        "other queries with these models, not about other trainings."
    )
    return ReportTable(title, table, header, body, 2, [caption, *notes]).markdown(level=1)


def value_with_interval(row: Mapping[str, float], measure: str) -> str:
    """Format a value, ``.712 [.690, .734] †``, with the mark if the adjusted p is below .05; a dash if unknown."""
    if pd.isna(row[measure]):
        return NOTHING
    interval = f"[{fraction(row[f'{measure}_low'])}, {fraction(row[f'{measure}_high'])}]"
    return f"{fraction(row[measure])} {interval}{' †' if row[f'p_{measure}'] < LEVEL else ''}"
