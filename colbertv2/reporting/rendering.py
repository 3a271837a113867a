"""Tables as Markdown and plain text, and the tables of reports, which are also written as CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from colbertv2.evaluation.measures import NOTHING, fraction

if TYPE_CHECKING:
    import pandas as pd

BOLD = "Bold: the largest of a column."
LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "[": "{[}",  # at the start of a row, LaTeX would read it as the optional argument of \\
        "]": "{]}",
        "−": "$-$",
        "–": "--",
        "—": "---",
        "Δ": r"$\Delta$",
        "×": r"$\times$",
        "†": r"\textdagger{}",
        "‡": r"\textdaggerdbl{}",
        "τ": r"$\tau$",
        "²": r"\textsuperscript{2}",
        "→": r"$\rightarrow$",
        "§": r"\S{}",
        "…": r"\dots{}",
    }
)


def markdown_rows(
    header: Sequence[str], body: Sequence[Sequence[str]], left: int | Collection[int] = 2, *, padded: bool = True
) -> list[str]:
    """Make the lines of a Markdown table.

    Args:
        header: the cells of the header.
        body: the cells of every row; as many as in the header.
        left: the number of left-aligned columns from the first on, or their indices; the others are right-aligned.
        padded: whether to pad the cells so that columns line up in plain text too.

    >>> markdown_rows(["system", "RR@10"], [["BM25", ".184"]], left=1)
    ['| system | RR@10 |', '| ------ | ----: |', '| BM25   |  .184 |']
    """
    left = range(left) if isinstance(left, int) else left
    rows = [list(header), *([cell.replace("|", "\\|") for cell in row] for row in body)]
    widths = [max(len(row[column]) for row in rows) if padded else 3 for column in range(len(header))]
    rule = ["-" * width if i in left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    if padded:
        rows = [
            [
                cell.ljust(width) if i in left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            for row in rows
        ]
    return [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])]


def text_rows(rows: Sequence[Mapping[str, str]]) -> str:
    """Make a plain-text table for a terminal; the keys of the rows are its header.

    >>> print(text_rows([{"nbits": "1", "RR@10": "0.5"}, {"nbits": "2", "RR@10": "0.6"}]))
    nbits  RR@10
    1      0.5
    2      0.6
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([row.get(name, "") for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


@dataclass(frozen=True)
class ReportTable:
    """A table of a report.

    Args:
        title: the title of the table.
        numbers: the unrounded numbers, one row per line.
        header: the names of the columns, for readers.
        body: the cells of every row, formatted for readers.
        left: the number of left-aligned columns; the others are right-aligned.
        notes: sentences below the table; the first is its caption.
        best: the places (row, column) of the cells that are printed in bold, where that is possible.
    """

    title: str
    numbers: pd.DataFrame
    header: Sequence[str]
    body: Sequence[Sequence[str]]
    left: int
    notes: Sequence[str] = field(default_factory=list)
    best: Collection[tuple[int, int]] = ()

    @property
    def notes_on_bold(self) -> list[str]:
        """The notes where cells are printed in bold: the caption says what that means."""
        return [" ".join([*self.notes[:1], BOLD]), *self.notes[1:]] if self.best else [*self.notes]

    def csv(self) -> str:
        """The numbers, with all digits."""
        return self.numbers.to_csv(index=False)

    def markdown(self, level: int = 2) -> str:
        """The title as a heading of ``level``, the table, the caption, and the further notes as a list."""
        lines = [f"{'#' * level} {self.title}", "", *markdown_rows(self.header, self.body, self.left)]
        if self.notes:
            lines += ["", self.notes[0]]
        if self.notes[1:]:
            lines += ["", *(f"- {note}" for note in self.notes[1:])]
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        """A ``table`` environment with the rules of the package booktabs; all text is escaped.

        The caption is the title and the first note. Further notes are left out: a paper has no room for commands.
        """
        import pandas as pd

        caption = " ".join([f"{self.title}.", *self.notes_on_bold[:1]])
        escaped = [
            [
                f"\\textbf{{{escape(cell)}}}" if (place, column) in self.best else escape(cell)
                for column, cell in enumerate(row)
            ]
            for place, row in enumerate(self.body)
        ]
        frame = pd.DataFrame(escaped, columns=list(map(escape, self.header)))
        columns = "l" * self.left + "r" * (len(self.header) - self.left)
        return frame.to_latex(index=False, escape=False, column_format=columns, caption=escape(caption), position="t")


def largest(rows: Sequence[Mapping[str, float]], left: int) -> frozenset[tuple[int, int]]:
    """The places (row, column) of the largest value in each column, as it is printed; ``left`` columns come first.

    >>> sorted(largest([{"a": 0.5001, "b": float("nan")}, {"a": 0.5, "b": 0.2}, {"a": 0.4, "b": 0.1}], left=1))
    [(0, 1), (1, 1), (1, 2)]
    """
    found: set[tuple[int, int]] = set()
    for column, name in enumerate(rows[0]) if len(rows) > 1 else ():
        printed = [fraction(row[name]) for row in rows]
        known = [text for text in printed if text != NOTHING]
        found |= {(place, left + column) for place, text in enumerate(printed) if known and text == max(known)}
    return frozenset(found)


def escape(text: str) -> str:
    r"""Escape a text for LaTeX's text mode.

    >>> escape("codec.nbits=1 & 50 %, n_way [−.02]")
    'codec.nbits=1 \\& 50 \\%, n\\_way {[}$-$.02{]}'
    """
    return text.translate(LATEX)
