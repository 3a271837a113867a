"""Pages that are made at build time: the reference of the configuration and of the code, and the measured results.

They are written below ``docs/reference/`` and ``docs/benchmarks/`` as files that git ignores, and only where their text
has changed, so that a second build is quick.
"""

from pathlib import Path

import code_reference
import configuration_reference
import results_pages
from sphinx.application import Sphinx


def pages() -> dict[str, str]:
    """Path below ``docs/`` → text, of every generated page."""
    return {**configuration_reference.pages(), **code_reference.pages(), **results_pages.pages()}


def write(app: Sphinx) -> None:
    """Write what has changed, and remove what is no longer made."""
    source, made = Path(app.srcdir), pages()
    folders = {Path(name).parent for name in made}
    for old in (file for folder in folders for file in (source / folder).glob("*.md")):
        if str(old.relative_to(source)) not in made:
            old.unlink()
    for name, text in made.items():
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
