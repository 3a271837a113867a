"""What a comparison found, and the table of all of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas

from colbertv2.reporting.rendering import markdown_rows


@dataclass(frozen=True)
class Row:
    """One measured agreement.

    Args:
        part: what was compared (``codec``, …). peer: with whom, version included.
        what: the quantity and its unit, and over how much of what.
        difference: the largest found, measured in this run. tolerance: the largest that passes; 0 means identical.
        note: what a reader has to know, such as a known deviation.
    """

    part: str
    peer: str
    what: str
    difference: float
    tolerance: float
    note: str = ""

    @property
    def agrees(self) -> bool:
        return self.difference <= self.tolerance  # NaN does not


def write(rows: Sequence[Row], out: Path, heading: str) -> None:
    """``agree.csv`` and ``agree.md`` under ``out``."""
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
