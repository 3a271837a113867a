"""A report as one self-contained HTML page, with sortable tables and figures whose points have tooltips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from jinja2 import Environment, PackageLoader, StrictUndefined

from colbertv2.reporting.rendering import ReportTable

NAMESPACES = {"": "http://www.w3.org/2000/svg", "xlink": "http://www.w3.org/1999/xlink"}  # that matplotlib's SVG uses
LARGEST = 1.2  # the largest scale at which a figure is shown


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Args:
        title: the heading.
        text: a sentence or two below it.
        figure: an SVG file, copied into the page.
        table: a table.
        view: the choice at the top of the page with which it is shown; empty for a section that is always shown.
        sentences: listed below the heading.
    """

    title: str
    text: str = ""
    figure: Path | None = None
    table: ReportTable | None = None
    view: str = ""
    sentences: Sequence[str] = ()


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
    """Write the page. It loads no other files, so it can be opened from disk.

    Args:
        path: the file to write; missing folders are made.
        title: the title of the page.
        sentences: the conclusions, at the top.
        sections: the tables and figures, in order. If some belong to a view, the reader chooses one; first is that of
            the first such section. They stand together.
        warnings: sentences to read first.
        commands: the commands that made the results, at the end.
        hovers: id of a point in the figures (``set_gid`` in matplotlib) → the text of its tooltip.

    >>> import tempfile
    >>> page = Path(tempfile.mkdtemp()) / "page.html"
    >>> write_page(page, title="1 < 2", sentences=["So it is."], sections=[Section("Nothing")])
    >>> "<h1>1 &lt; 2</h1>" in page.read_text()
    True
    """
    environment = Environment(
        loader=PackageLoader("colbertv2.reporting", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    content = [
        {
            "title": section.title,
            "text": section.text,
            "svg": inline(section.figure, number, section.title) if section.figure else "",
            "table": section.table,
            "view": section.view,
            "sentences": section.sentences,
        }
        for number, section in enumerate(sections)
    ]
    html = environment.get_template("page.html.jinja").render(
        title=title,
        sentences=sentences,
        sections=content,
        views=list(dict.fromkeys(section.view for section in sections if section.view)),
        warnings=warnings,
        commands=commands,
        hovers=dict(hovers or {}),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html + "\n", encoding="utf-8")


def inline(figure: Path, number: int, title: str) -> str:
    """Read an SVG file as part of a page: without its preamble, and with ids that no other figure has.

    Args:
        figure: the file.
        number: the number of the figure; ``s<number>-`` is put before every id.
        title: the name that a screen reader gives it.
    """
    for prefix, namespace in NAMESPACES.items():
        ElementTree.register_namespace(prefix, namespace)
    svg = ElementTree.parse(figure).getroot()
    for metadata in svg.findall(f"{{{NAMESPACES['']}}}metadata"):
        svg.remove(metadata)
    width = svg.attrib.pop("width")  # in points; the viewBox stays, so the figure shrinks with the page
    svg.attrib.pop("height")
    svg.set("style", f"max-width: {LARGEST * float(width.removesuffix('pt')):.0f}pt")
    for element in svg.iter():
        for name, value in element.items():
            if name == "id":
                element.set(name, f"s{number}-{value}")
            elif name.endswith("href") and value.startswith("#"):
                element.set(name, f"#s{number}-{value[1:]}")
            elif "url(#" in value:
                element.set(name, value.replace("url(#", f"url(#s{number}-"))
    svg.set("role", "group")
    svg.set("aria-label", title)
    return ElementTree.tostring(svg, encoding="unicode")
