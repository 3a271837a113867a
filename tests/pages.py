"""Find the commands and Python snippets in Markdown pages, and try commands without running them."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from colbertv2.commands import convert, publish
from colbertv2.commands.command_line import VERBS
from colbertv2.configuration.composition import CONF, EXPERIMENTS, compose
from colbertv2.reproduction.experiment import names

ROOT = CONF.parent
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
HELP = {"--help", "-h"}


class Block(NamedTuple):
    """A fenced block: the word after its opening fence, and its text."""

    language: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """The outermost fenced blocks of a page, in order."""
    for match in re.finditer(r"^(`{3,})([^\n]*)\n(.*?)^\1$", page, re.MULTILINE | re.DOTALL):
        yield Block(match[2].strip(), match[3])


def commands(page: str) -> list[str]:
    """The commands on a page: lines of blocks without a language, and inline ``python -m colbertv2 …``."""
    lines = [line for block in blocks(page) if block.language in ("", "bash", "sh") for line in block.text.splitlines()]
    inline = re.findall(r"`((?:python -m colbertv2|python -m experiments\.|make |colbertv2 )[^`…<]+)`", page)
    return [line.partition(" #")[0].strip() for line in [*lines, *inline] if line.strip() and line[0] != "#"]


def snippets(page: str) -> list[str]:
    """The Python blocks of a page."""
    return [block.text for block in blocks(page) if block.language == "python"]


def try_command(command: str) -> None:
    """Compose a command as far as possible without running it; an unknown command is an error of the page.

    Raises:
        AssertionError: the command is unknown, or names something that does not exist.
        InputError, HydraException, SystemExit: the error that the command itself would end with.
    """
    words = shlex.split(command)
    while "=" in words[0]:  # an environment variable
        words.pop(0)
    if words[0] in ("srun", "torchrun"):
        words = ["python", *words[words.index("-m", 1) :]]
    if words[0] == "make":
        named = [word for word in words[1:] if "=" not in word]
        assert set(named) <= TARGETS, f"no such target of the Makefile: {command}"
        try_make([word for word in words[1:] if "=" in word])
    elif words[:2] == ["python", "-m"] and words[2].startswith("experiments."):
        place = ROOT.joinpath(*words[2].split("."))
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), f"no such module: {command}"
    elif words[0] == "colbertv2" or words[:3] == ["python", "-m", "colbertv2"]:
        try_arguments(words[1:] if words[0] == "colbertv2" else words[3:])
    else:
        assert words[:2] == ["python", "make_folder.py"] or words[0] in ("git", "cd"), f"what is this? {command}"


def try_make(settings: list[str]) -> None:
    """Check that ``make reproduce T=…`` names an existing table."""
    asked = dict(word.split("=", 1) for word in settings)
    assert asked.get("T", "all") in ("all", *names())


def try_arguments(words: list[str]) -> None:
    """Try the words that follow ``colbertv2``."""
    verb = words[0] if words and words[0] in VERBS else "run"
    words = words[1:] if words and words[0] in VERBS else words
    if not words or HELP & {*words}:
        return
    if verb == "convert":
        assert convert.arguments(words).layout
    elif verb == "publish":
        assert publish.arguments(words).license
    elif verb == "verify":
        compose_words([word for word in words if "=" in word])
    elif verb == "reproduce":
        assert {word for word in words if "=" not in word} <= {"all", *names()}
    elif "--config-dir" not in words:  # with it, the configuration is the reader's own
        compose_words(words)


def compose_words(words: list[str]) -> None:
    """A configuration, or the first point of a sweep."""
    overrides = [word for word in words if not word.startswith("-")]
    if "-m" in words or any(word.startswith(("+ablation=", "hydra/launcher=")) for word in overrides):
        overrides = [re.sub(r"=([^,\[(]+),.*", r"=\1", word) for word in overrides]
        overrides = [word for word in overrides if not word.startswith("hydra")]
    assert compose(overrides).pipeline


def check_snippet(text: str) -> None:
    """Check that the snippet is valid Python, and that every name it imports exists."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            module = __import__(node.module or "", fromlist=[alias.name for alias in node.names])
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                __import__(alias.name)


def ablations() -> list[str]:
    """The names of all ablations."""
    return sorted(file.stem for file in (EXPERIMENTS / "ablation").glob("*.yaml"))


def site_pages() -> dict[str, str]:
    """Path below ``docs/`` → text, for every hand-written page."""
    docs = ROOT / "docs"
    generated = ("_build", "notebooks/", "reference/code/", "reference/configuration/", "benchmarks/results/")
    files = {file.relative_to(docs).as_posix(): file for file in sorted(docs.rglob("*.md"))}
    return {name: Path(file).read_text("utf-8") for name, file in files.items() if not name.startswith(generated)}
