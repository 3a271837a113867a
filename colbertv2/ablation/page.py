"""A report as one HTML page that needs nothing else: tables that sort, pictures whose points tell what they are."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from colbertv2.ablation.rendering import Table


@dataclass(frozen=True)
class Section:
    """A heading with what is below it.

    Args:
        title: the heading. text: a sentence or two.
        figure: an SVG file, drawn into the page.
        table: a table.
    """

    title: str
    text: str = ""
    figure: Path | None = None
    table: Table | None = None


def write_page(
    path: Path,
    *,
    title: str,
    sentences: Sequence[str],
    sections: Sequence[Section],
    warnings: Sequence[str] = (),
    commands: Sequence[str] = (),
    hovers: Mapping[str, str] | None = None,
) -> None:
    """Write the page; it loads nothing, and opens from disk.

    Args:
        hovers: id of a point in the figures (``set_gid`` in matplotlib) → what is shown over it.

    >>> import tempfile
    >>> page = Path(tempfile.mkdtemp()) / "page.html"
    >>> write_page(page, title="1 < 2", sentences=["So it is."], sections=[Section("Nothing")])
    >>> "<h1>1 &lt; 2</h1>" in page.read_text()
    True
    """
    environment = Environment(
        loader=PackageLoader("colbertv2.ablation", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    content = [
        {
            "title": section.title,
            "text": section.text,
            "svg": inline(section.figure, number) if section.figure else "",
            "table": section.table,
        }
        for number, section in enumerate(sections)
    ]
    html = environment.get_template("page.html.jinja").render(
        title=title,
        sentences=sentences,
        sections=content,
        warnings=warnings,
        commands=commands,
        hovers=dict(hovers or {}),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html + "\n", encoding="utf-8")


def inline(figure: Path, number: int) -> str:
    """An SVG as part of a page: without its preamble, its ids told apart from those of other pictures."""
    svg = figure.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="s{number}-', svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>s{number}-", svg)
