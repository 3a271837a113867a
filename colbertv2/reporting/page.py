"""A report as one HTML page that needs nothing else: tables that sort, pictures whose points tell what they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from jinja2 import Environment, PackageLoader, StrictUndefined

from colbertv2.reporting.rendering import ReportTable

NAMESPACES = {"": "http://www.w3.org/2000/svg", "xlink": "http://www.w3.org/1999/xlink"}  # those of matplotlib's SVG
LARGEST = 1.2  # times the size that a picture was drawn at


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
    table: ReportTable | None = None


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
        loader=PackageLoader("colbertv2.reporting", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    content = [
        {
            "title": section.title,
            "text": section.text,
            "svg": inline(section.figure, number, section.title) if section.figure else "",
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


def inline(figure: Path, number: int, title: str) -> str:
    """An SVG as part of a page: without its preamble, its ids told apart from those of other pictures.

    Args:
        number: of the picture; ``s<number>-`` is put before every id.
        title: what a screen reader calls it.
    """
    for prefix, namespace in NAMESPACES.items():
        ElementTree.register_namespace(prefix, namespace)
    svg = ElementTree.parse(figure).getroot()
    for metadata in svg.findall(f"{{{NAMESPACES['']}}}metadata"):
        svg.remove(metadata)
    width = svg.attrib.pop("width")  # in points; the viewBox stays, so that it shrinks with the page
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
