"""The rows of the comparisons, and their table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

import pandas

from colbertv2.reporting.rendering import markdown_rows
from experiments.speed.machine import described

HEADING = (
    "# Agreement with the other implementations\n\n"
    "Measured by `make agree`, each row on its date. {machine} Each difference is the largest of all that was "
    "compared; a tolerance of 0 means that both must be identical."
)


@dataclass(frozen=True)
class Row:
    """One measured difference.

    Args:
        part: what was compared (``codec``, …).
        peer: the other system, with its version.
        what: the quantity, its unit, and the amount of data.
        difference: the largest difference that was measured.
        tolerance: the largest difference that passes; 0 means identical.
        note: what a reader must know, such as a known deviation.
        measured: the date.
    """

    part: str
    peer: str
    what: str
    difference: float
    tolerance: float
    note: str = ""
    measured: str = field(default_factory=lambda: date.today().isoformat())

    @property
    def agrees(self) -> bool:
        return self.difference <= self.tolerance  # false for NaN


def read(out: Path) -> list[Row]:
    """The rows of ``agree.csv`` in ``out``; none if there is no such file."""
    file = out / "agree.csv"
    if not file.is_file():
        return []
    return [
        Row(**row) for row in pandas.read_csv(file, keep_default_na=False).drop(columns="agrees").to_dict("records")
    ]


def write(rows: Sequence[Row], out: Path) -> None:
    """Write ``agree.csv`` and ``agree.md`` to ``out``."""
    frame = pandas.DataFrame([{**asdict(row), "agrees": row.agrees} for row in rows])
    frame.to_csv(out / "agree.csv", index=False)
    header = ["part", "with", "what", "largest difference", "tolerance", "agrees", "measured", "note"]
    body = [
        [row.part, row.peer, row.what, f"{row.difference:.3g}", f"{row.tolerance:g}",
         "yes" if row.agrees else "**no**", row.measured, row.note]
        for row in rows
    ]  # fmt: skip
    lines = [HEADING.format(machine=described()), "", *markdown_rows(header, body, (0, 1, 2, 5, 6, 7), padded=False)]
    (out / "agree.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
