"""The rows of the comparisons, and their table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas

from colbertv2.reporting.rendering import markdown_rows


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
    """

    part: str
    peer: str
    what: str
    difference: float
    tolerance: float
    note: str = ""

    @property
    def agrees(self) -> bool:
        return self.difference <= self.tolerance  # false for NaN


def write(rows: Sequence[Row], out: Path, heading: str) -> None:
    """Write ``agree.csv`` and ``agree.md`` to ``out``."""
    frame = pandas.DataFrame([{**asdict(row), "agrees": row.agrees} for row in rows])
    frame.to_csv(out / "agree.csv", index=False)
    header = ["part", "with", "what", "largest difference", "tolerance", "agrees", "note"]
    body = [
        [row.part, row.peer, row.what, f"{row.difference:.3g}", f"{row.tolerance:g}",
         "yes" if row.agrees else "**no**", row.note]
        for row in rows
    ]  # fmt: skip
    lines = [heading, "", *markdown_rows(header, body, left=(0, 1, 2, 5, 6), padded=False)]
    (out / "agree.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
