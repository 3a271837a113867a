"""A table of a report, as numbers for programs (CSV) and as text for readers (Markdown, LaTeX)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pandas as pd

LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "[": "{[}",  # after a line's end, LaTeX would take it for the length of a gap
        "]": "{]}",
        "−": "$-$",
        "–": "--",
        "—": "---",
        "Δ": r"$\Delta$",
        "×": r"$\times$",
        "†": r"\textdagger{}",
        "…": r"\dots{}",
    }
)


def markdown_rows(header: Sequence[str], body: Sequence[Sequence[str]], left: int | Collection[int] = 2) -> list[str]:
    """A Markdown table whose columns line up as text too; all but the first ``left`` columns, or those, stand right."""
    left = range(left) if isinstance(left, int) else left
    rows = [list(header), *([cell.replace("|", "\\|") for cell in row] for row in body)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * width if i in left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return [line(rows[0]), line(rule), *(line(row) for row in rows[1:])]


@dataclass(frozen=True)
class ReportTable:
    """One table.

    Args:
        title: of the table.
        numbers: one row a line, unrounded.
        header, body: the same for reading, as strings.
        left: how many columns stand left; the others, which are numbers, right.
        notes: sentences for below it; the first is its caption.
    """

    title: str
    numbers: pd.DataFrame
    header: Sequence[str]
    body: Sequence[Sequence[str]]
    left: int
    notes: Sequence[str] = field(default_factory=list)

    def csv(self) -> str:
        """The numbers, with all digits."""
        return self.numbers.to_csv(index=False)

    def markdown(self) -> str:
        """Title, table, caption, and the further notes as a list."""
        lines = [f"## {self.title}", "", *markdown_rows(self.header, self.body, self.left)]
        if self.notes:
            lines += ["", self.notes[0]]
        if self.notes[1:]:
            lines += ["", *(f"- {note}" for note in self.notes[1:])]
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        """A ``table`` environment with rules of the package booktabs; all text is escaped.

        The caption is the title and the first note; further notes stay out, since a paper has no place for commands.
        """
        caption = " ".join([f"{self.title}.", *self.notes[:1]])
        frame = pd.DataFrame([list(map(escape, row)) for row in self.body], columns=list(map(escape, self.header)))
        columns = "l" * self.left + "r" * (len(self.header) - self.left)
        return frame.to_latex(index=False, escape=False, column_format=columns, caption=escape(caption), position="t")


def escape(text: str) -> str:
    r"""For LaTeX's text mode.

    >>> escape("codec.nbits=1 & 50 %, n_way [−.02]")
    'codec.nbits=1 \\& 50 \\%, n\\_way {[}$-$.02{]}'
    """
    return text.translate(LATEX)
