"""The directive ``conclusions``: what a report under ``experiments/results/`` concludes, with a link to its page."""

from docutils.statemachine import StringList
from results_pages import FOLDER, sources
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def conclusions(report: str) -> list[str]:
    """The sentences of a report that stand above its tables.

    >>> conclusions("# Title\\n\\n`command`\\n\\n- One. [a](b.md)\\n- Two.\\n\\n## Table\\n\\n- no conclusion")
    ['- One. [a](b.md)', '- Two.']
    """
    return [line for line in report.partition("\n## ")[0].splitlines() if line.startswith("- ")]


class Conclusions(SphinxDirective):
    """Show the conclusions of the report named in the first argument, or only those that contain one of the lines of the body.

    The page that uses it types no number: a report that is measured again changes it.
    """

    required_arguments = 1
    has_content = True

    def run(self):
        (name,) = self.arguments
        file = sources()[name]
        self.env.note_dependency(str(file))
        wanted = [line for line in self.content if line.strip()]
        found = conclusions(file.read_text(encoding="utf-8"))
        shown = [line for line in found if not wanted or any(one in line for one in wanted)]
        missing = [one for one in wanted if not any(one in line for line in found)]
        if missing or not shown:
            raise self.error(f"The report {name} has no conclusion with {', '.join(missing) or 'anything'}.")
        lines = [*shown, "", f"[The report](/{FOLDER}/{name}.md)"]
        return self.parse_text_to_nodes(StringList(lines, str(file)))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("conclusions", Conclusions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
