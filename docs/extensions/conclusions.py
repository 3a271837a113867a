"""The directive ``conclusions``: what a report under ``experiments/results/`` concludes, with a link to its page."""

from docutils import nodes
from results_pages import FOLDER, conclusions, sources
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Conclusions(SphinxDirective):
    """Show the conclusions of the report in the argument; with a body, those that begin with one of its lines.

    So a page that quotes a report types no number, and shows new ones when the report is measured again.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        (name,) = self.arguments
        file = sources()[name]
        self.env.note_dependency(str(file))
        lines = conclusions(file.read_text(encoding="utf-8"), [line for line in self.content if line.strip()])
        lines += ["", f"From [the report](/{FOLDER}/{name}.md)."]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("conclusions", Conclusions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
