"""The embedded collection ``stdlib``: code search over the running Python's own standard library.

A document is the source of a function or method without its docstring; a query is the docstring's
first sentence; the one relevant document of a query is the function it was taken from. So relevance
is known by construction, nothing is downloaded, and the text is real. Queries are split into train,
dev and test by top-level module, so that no module straddles two splits; all splits search the same
documents. The collection is a deterministic function of the library's source files: about 5,300
pairs on Python 3.11. Functions that share one qualified name (a property's getter and setter,
variants per platform) would share one id, so only the first of them stays.

``colbertv2.data.sources.embedded`` registers it with ``ir_datasets`` as ``stdlib`` and ``stdlib/{train,dev,test}``:

>>> import ir_datasets
>>> from colbertv2.data.opening import register_sources
>>> register_sources()
>>> next(ir_datasets.load("stdlib/test").queries_iter()).query_id.count(":")
1
"""

import ast
import json
import os
import re
import sysconfig
import textwrap
import tokenize
import warnings
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import ir_datasets

from colbertv2.files import sha256, write_atomically

SPLITS = {"train": 0.70, "dev": 0.10, "test": 0.20}
MINIMUM_QUERY_WORDS = 5
LEFT_OUT = re.compile(r"test|tests|idle_test|turtledemo|site-packages|dist-packages|__pycache__|config-.*")
SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bcf\.)(?<!\bvs\.)(?<!\betc\.)\s")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Pair(NamedTuple):
    """A function (``doc_id`` = ``module:qualified.name``), its source, and its docstring's first sentence."""

    doc_id: str
    source: str
    query: str

    @property
    def module(self) -> str:
        """The top-level module, by which the splits are cut."""
        return re.split(r"[.:]", self.doc_id)[0]

    @property
    def name(self) -> str:
        """The function's own name.

        >>> Pair("os.path:Walker.walk", "", "").name
        'walk'
        """
        return re.split(r"[.:]", self.doc_id)[-1]


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring's first paragraph, on one line.

    >>> first_sentence("Return a name, e.g. 'ls'.  See also os.\\n\\nMore.")
    "Return a name, e.g. 'ls'."
    """
    paragraph = re.split(r"\n\s*\n", docstring.strip())[0]
    return SENTENCE_END.split(" ".join(paragraph.split()))[0]


def definitions(node: ast.AST, path: str = "") -> Iterator[tuple[str, Definition]]:
    """All classes and functions below ``node`` with their qualified names, in source order."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            qualified = f"{path}.{child.name}".lstrip(".")
            yield qualified, child
            yield from definitions(child, qualified)
        elif not isinstance(child, ast.expr):  # an expression holds none, and most nodes are expressions
            yield from definitions(child, path)


def docstring_lines(node: Definition, lines: list[str]) -> range:
    """The (1-based) lines of a docstring; none where it shares a line with code, which would be lost with it."""
    literal = node.body[0]
    if ast.get_docstring(node, clean=False) is None or lines[literal.lineno - 1][: literal.col_offset].strip():
        return range(0)
    return range(literal.lineno, (literal.end_lineno or literal.lineno) + 1)


def functions(source: str, module: str) -> Iterator[Pair]:
    """Every documented function and method of one module that has a body, in source order, nested ones included.

    A document lacks the docstrings of what it encloses too: they are the queries of other documents.

    Raises:
        SyntaxError: ``source`` is not Python of the running version.
    """
    lines = source.split("\n")  # not splitlines(), which also breaks at the library's form feeds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in the library's own strings
        found = list(definitions(ast.parse(source)))
    left_out = {number for _, node in found for number in docstring_lines(node, lines)}
    for qualified, node in found:
        if isinstance(node, ast.ClassDef) or len(node.body) == 1 or node.body[0].lineno not in left_out:
            continue
        span = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        kept = "\n".join(lines[number - 1] for number in span if number not in left_out)
        yield Pair(
            f"{module}:{qualified}", textwrap.dedent(kept).strip(), first_sentence(ast.get_docstring(node) or "")
        )


def library_files(root: Path) -> list[str]:
    """The library's Python files below ``root``, as sorted posix paths; tests and installed packages left out."""
    found = []
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if not LEFT_OUT.fullmatch(name)]
        below = Path(directory).relative_to(root)
        found += [(below / name).as_posix() for name in files if name.endswith(".py")]
    return sorted(path for path in found if not path.startswith("test_"))


def extract(root: Path) -> list[Pair]:
    """All pairs below ``root``, duplicates removed on both sides (the first in path order stays)."""
    found: list[Pair] = []
    seen: set[str] = set()
    for path in library_files(root):
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        try:
            with tokenize.open(root / path) as file:
                candidates = list(functions(file.read(), module))
        except (SyntaxError, UnicodeDecodeError):  # lib2to3's fixtures hold Python 2 on purpose
            continue
        for pair in candidates:
            query = normalised(pair.query)
            keys = {f"id {pair.doc_id}", f"document {normalised(pair.source)}", f"query {query}"}
            quoted = query in normalised(pair.source)  # the docstring again as a comment: found by copying
            if len(query.split()) >= MINIMUM_QUERY_WORDS and not quoted and not keys & seen:
                seen |= keys
                found.append(pair)
    return found


def normalised(text: str) -> str:
    """``text`` as duplicates are compared: lower case, single spaces."""
    return " ".join(text.lower().split())


def library_digest(root: Path) -> str:
    """A digest that moves with any file of the library (path, size, mtime) and with the extraction's own code."""
    files = ((path, (root / path).stat()) for path in library_files(root))
    lines = (f"{path}\t{status.st_size}\t{status.st_mtime_ns}\n".encode() for path, status in files)
    return sha256(chain([Path(__file__).read_bytes()], lines))[:16]


@cache
def pairs() -> tuple[Pair, ...]:
    """All pairs of the running Python's library; kept under ``ir_datasets``' home, since parsing takes seconds."""
    root = Path(sysconfig.get_path("stdlib"))
    path = ir_datasets.util.home_path() / "stdlib" / f"{library_digest(root)}.jsonl"
    if path.exists():
        with path.open(encoding="utf-8", newline="\n") as file:
            return tuple(Pair(*json.loads(line)) for line in file)
    found = extract(root)
    write_atomically(path, "".join(json.dumps(pair) + "\n" for pair in found))
    return tuple(found)


def is_small(pair: Pair) -> bool:
    """Whether ``stdlib-small`` keeps the pair: one of two, by a hash of the id."""
    return int(sha256(pair.doc_id.encode())[:2], 16) % 2 == 0


@cache
def split_of_module() -> dict[str, str]:
    """Top-level module → split: modules in hash order fill the splits up to their shares of the pairs."""
    sizes: dict[str, int] = {}
    for pair in pairs():
        sizes[pair.module] = sizes.get(pair.module, 0) + 1
    assigned: dict[str, str] = {}
    filled = dict.fromkeys(SPLITS, 0)
    for module in sorted(sizes, key=lambda name: sha256(name.encode())):
        split = min(SPLITS, key=lambda name: (filled[name] + sizes[module] / 2) / SPLITS[name])
        assigned[module] = split
        filled[split] += sizes[module]
    return assigned
