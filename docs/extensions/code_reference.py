"""One page for each room of the package, from its docstrings, and one for the public names."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

import colbertv2

FOLDER = "reference/code"


def modules_of(package: ModuleType) -> list[str]:
    """Dotted names of a package's modules, those of its packages too."""
    found = []
    for one in iter_modules(package.__path__, f"{package.__name__}."):
        found.append(one.name)
        if one.ispkg:
            found += modules_of(import_module(one.name))
    return found


def rooms() -> dict[str, list[str]]:
    """Room → its modules: the packages below ``colbertv2``, and each module that is directly in it."""
    names = [one for one in modules_of(colbertv2) if not one.endswith(".__main__")]
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.split(".")[1], []).append(name)
    return found


def directive(kind: str, name: str, *options: str) -> str:
    """An autodoc directive inside Markdown."""
    lines = [f".. {kind}:: {name}", *(f"   :{option}" for option in options)]
    return "\n".join(["```{eval-rst}", *lines, "```", ""])


def public_page() -> str:
    """The names of ``colbertv2`` itself, in their order there."""
    parts = ["# Public names", "", "Each is imported from `colbertv2`: `from colbertv2 import ColBERT, compose`.", ""]
    for name, module in colbertv2.PUBLIC.items():
        kind, members = ("autoclass", ["members:"]) if name[0].isupper() else ("autofunction", [])
        parts += [f"## {name}", "", directive(kind, f"{module}.{name}", *members)]
    return "\n".join(parts)


def room_page(room: str, names: list[str]) -> str:
    """All modules of a room; what the page of public names has is left to it."""
    parts = [f"# {room}", ""]
    for name in names:
        public = [one for one, module in colbertv2.PUBLIC.items() if module == name]
        options = ["members:", *([f"exclude-members: {', '.join(public)}"] if public else [])]
        if name != f"colbertv2.{room}":
            parts += [f"## {name.removeprefix(f'colbertv2.{room}.')}", ""]
        parts.append(directive("automodule", name, *options))
        if public:
            parts += [f"{', '.join(f'`{one}`' for one in public)}: see [public names](public.md).", ""]
    return "\n".join(parts)


def index_page(found: dict[str, list[str]]) -> str:
    """The table of contents of the code."""
    lines = ["# Code", "", "From the docstrings. Start with the public names; the rooms follow.", ""]
    entries = ["public", *found]
    return "\n".join([*lines, "```{toctree}", ":maxdepth: 1", "", *entries, "```", ""])


def pages() -> dict[str, str]:
    """Path → text."""
    found = rooms()
    made = {f"{FOLDER}/index.md": index_page(found), f"{FOLDER}/public.md": public_page()}
    return made | {f"{FOLDER}/{room}.md": room_page(room, names) for room, names in found.items()}
