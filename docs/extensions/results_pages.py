"""Pages of measured results: the files of ``experiments/results/`` and the log as they are, with links that work here.

No number is typed by hand anywhere on the site: what was measured is read from the files that measuring wrote.
"""

import re
from pathlib import Path

from colbertv2.configuration.composition import EXPERIMENTS

FOLDER = "benchmarks/results"
ORDER = [  # what a reader wants first; what is not named follows by name
    "demo", "quality_scifact", "scifact", "speed_search", "codecs", "growth", "speed_distillation", "speed_encoding",
    "agree", "supervision_scifact",
]  # fmt: skip


def sources() -> dict[str, Path]:
    """Name of a page → the file it shows."""
    results = EXPERIMENTS / "results"
    found = {file.stem: file for file in results.glob("*.md")}
    found |= {file.parent.name: file for file in results.glob("*/report.md")}
    found |= {f"paper_{file.stem}": file for file in results.glob("paper/*.md")}
    return found | {"log": EXPERIMENTS / "LOG.md"}


def groups() -> dict[str, list[str]]:
    """Caption of a table of contents → its pages."""
    names = sources()
    reports = sorted(name for name, file in names.items() if file.name == "report.md")
    papers = sorted(name for name in names if name.startswith("paper_"))
    rest = sorted(set(names) - {*reports, *papers, *ORDER, "log"})
    return {
        "Quality, speed and agreement": [*(name for name in ORDER if name in names), *rest],
        "Reports of ablations": reports,
        "The papers' tables": papers,
        "What was tried": ["log"],
    }


def page(name: str, file: Path) -> str:
    """The text of a file, its images and links as seen from the page."""
    shown = file.relative_to(EXPERIMENTS.parent).as_posix()
    text = file.read_text(encoding="utf-8")
    measured = " ".join(re.findall(r"<!-- (make .*?|Measured.*?) -->", text))
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    heading, _, body = text.strip().partition("\n")
    if not heading.startswith("# "):
        heading, body = f"# {name.removeprefix('paper_').replace('_', ' ')}", text
    body = re.sub(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)", lambda match: link(match, file), body)
    note = f"From `{shown}`." + (f" {measured}." if measured else "")
    return f"{heading}\n\n```{{admonition}} Measured, not typed\n:class: note\n\n{note}\n```\n\n{body.strip()}\n"


def link(match: re.Match[str], file: Path) -> str:
    """An image or a link of a result file: to the page that shows its target, else to nothing but its words."""
    image, text, target = match[1], match[2], match[3]
    if "://" in target:
        return match[0]
    there = (file.parent / target).resolve()
    root = EXPERIMENTS.parent
    if image and there.is_file():
        return f"![{text}](/../{there.relative_to(root).as_posix()})"
    for name, source in sources().items():
        if source.resolve() == there:
            return f"[{text}]({name}.md)"
    return f"{text} (`{there.relative_to(root).as_posix()}`)" if there.is_relative_to(root) else text


def conclusions(report: str, wanted: list[str]) -> list[str]:
    """The sentences above the tables of a report: all, or those that begin with one of ``wanted``.

    Raises:
        ValueError: there is none, or none with a beginning that is wanted.

    >>> conclusions("# Title\n\n- a=1: x\n- a=2: y\n\n## Table\n\n- b", ["a=2"])
    ['- a=2: y']
    """
    found = [line for line in report.partition("\n## ")[0].splitlines() if line.startswith("- ")]
    if missing := [one for one in wanted if not any(line.startswith(f"- {one}") for line in found)]:
        raise ValueError(f"no conclusion begins with {missing[0]!r}; found: {found}")
    if not found:
        raise ValueError("the report has no conclusions")
    return [line for line in found if not wanted or any(line.startswith(f"- {one}") for one in wanted)]


def index_page() -> str:
    """The table of contents, by what was asked."""
    parts = [
        "# Results as measured",
        "",
        "Every page shows a file as the experiment wrote it, with its date, machine and command.",
        "",
    ]
    for caption, names in groups().items():
        parts += [f"## {caption}", "", "```{toctree}", ":maxdepth: 1", "", *names, "```", ""]
    return "\n".join(parts)


def pages() -> dict[str, str]:
    """Path → text."""
    return {f"{FOLDER}/index.md": index_page()} | {
        f"{FOLDER}/{name}.md": page(name, file) for name, file in sources().items()
    }
