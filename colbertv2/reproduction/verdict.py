"""Compare published with measured values: difference, tolerance and verdict."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from colbertv2.reporting.rendering import markdown_rows
from colbertv2.reproduction.experiment import Experiment, Row
from colbertv2.reproduction.measure import Measurement

WITHIN, OUTSIDE, NOT_RUN, FAILED = "within", "outside", "not run", "failed"
SMALL = "small: not comparable"
ROUNDING = 1e-9  # so that a difference of .01 is within a tolerance of .01
COLUMNS = ("row", "measure", "published", "measured", "difference", "tolerance", "verdict", "source")


def comparison(table: Experiment, measurements: Mapping[str, Measurement]) -> pd.DataFrame:
    """A line for each measure of each row in ``measurements``; the columns are ``COLUMNS``.

    Args:
        table: the published table.
        measurements: the measured values, by the name of the row.
    """
    lines = [
        {
            "row": row.row,
            "measure": measure,
            "published": published,
            "measured": (value := found.values.get(measure)),
            "difference": None if published is None or value is None or not found.comparable else value - published,
            "tolerance": row.allowed(measure) if isinstance(row.allowed(measure), int | float) else None,
            "verdict": verdict(row, measure, found),
            "source": row.source or table.source,
        }
        for row in table.rows
        if (found := measurements.get(row.row)) is not None
        for measure, published in row.published.items()
    ]
    numbers = ["published", "measured", "difference", "tolerance"]
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype(dict.fromkeys(numbers, float))


def verdict(row: Row, measure: str, found: Measurement) -> str:
    """The verdict on one value: within or outside the tolerance, or why it is not compared.

    >>> row = Row("SciFact", {"nDCG@10": 0.693}, tolerance=0.01)
    >>> [verdict(row, "nDCG@10", Measurement({"nDCG@10": value})) for value in (0.6835, 0.675)]
    ['within', 'outside']
    """
    published, value, allowed = row.published[measure], found.values.get(measure), row.allowed(measure)
    if found.reason:
        return f"{FAILED if found.failed else NOT_RUN}: {' '.join(found.reason.split())}"
    if value is None:
        return f"{FAILED}: {row.of} gives no {measure}, only {', '.join(found.values)}"
    if found.small:
        return SMALL
    if found.changed:
        return f"changed, not comparable: {' '.join(found.changed)}"
    if published is None:
        return "no published value"
    if not isinstance(allowed, int | float):
        return f"not compared: {allowed or 'no tolerance is given'}"
    return WITHIN if abs(value - published) <= allowed + ROUNDING else OUTSIDE


def summary(verdicts: Sequence[str]) -> str:
    """The number of verdicts of each kind, in one line.

    >>> summary(["within", "within", "not run: no weights"])
    '2 within, 1 not run'
    """
    kinds = [one.partition(":")[0] for one in verdicts]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def to_markdown(table: Experiment, compared: pd.DataFrame, command: str, scale: str) -> str:
    """The table as Markdown, with the published values of other systems, which are not run here, in a second table."""
    small = " Run small: this shows that everything runs; the values mean nothing." if scale == "small" else ""
    lines = [f"# {table.title}", "", f"{table.claim}{small}", "", f"`{command}`", ""]
    header = ["row", "measure", "published", "measured", "difference", "tolerance", "verdict"]
    reasons = list(dict.fromkeys(reason for one in compared["verdict"] if (reason := one.partition(": ")[2])))
    body = [
        [
            line["row"],
            line["measure"],
            *(number(line[column]) for column in ("published", "measured")),
            number(line["difference"], sign=True),
            number(line["tolerance"]),
            short(line["verdict"], reasons),
        ]
        for line in compared.to_dict("records")
    ]
    lines += [*markdown_rows(header, body, left=(0, 1, 6)), ""]
    lines += [f"({place}) {reason}  " for place, reason in enumerate(reasons, start=1) if reason not in SMALL]
    sources = ", ".join(dict.fromkeys(compared["source"]))
    lines += ["", f"Published: {sources}. Data: {table.data}"]
    lines += ["", *(f"- {note}" for note in table.notes)] if table.notes else []
    asked = set(compared["row"])
    if any(row.others for row in table.rows if row.row in asked):
        systems = list(dict.fromkeys(name for row in table.rows if row.row in asked for name in row.others))
        body = [
            [row.row, next(iter(row.published)), *(number(row.others.get(system)) for system in systems)]
            for row in table.rows
            if row.others and row.row in asked
        ]
        lines += ["", "## Published for other systems, not run here", ""]
        lines += markdown_rows(["row", "measure", *systems], body)
    return "\n".join(lines) + "\n"


def short(verdict: str, reasons: Sequence[str]) -> str:
    """A verdict with the number of its reason, its place in ``reasons`` counted from 1.

    >>> short("not run: no weights", ["no weights"]), short("within", []), short(SMALL, [])
    ('not run (1)', 'within', 'small: not comparable')
    """
    kind, _, reason = verdict.partition(": ")
    return f"{kind} ({reasons.index(reason) + 1})" if reason and verdict != SMALL else verdict


def number(value: float | None, sign: bool = False) -> str:
    """A number as text: three decimals for values below 2, at most one for larger ones; a dash for no value.

    >>> number(0.3971), number(-0.012, sign=True), number(36.0), number(None)
    ('.397', '−.012', '36', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    size = abs(value)
    shown = (
        f"{size:.3f}".removeprefix("0") if 0 < size < 2 else f"{size:,.0f}" if size == round(size) else f"{size:,.1f}"
    )
    return ("−" if value < 0 and float(shown.replace(",", "")) else "+" if sign and value > 0 else "") + shown
