"""Code search from Python source files: what the sources ``stdlib`` and ``packages`` share.

A document is the source of a function or method without its docstring; a query is the docstring's first sentence; the
only relevant document of a query is the function it was taken from. So relevance is known by construction and the text
is real. A query's id is ``q-`` + its document's id, so tools that drop results whose id equals the query's lose
nothing. Documents and queries also have a ``pool_id``, their top-level module, and queries have ``answers``, the
function's own name, to try search within pools and evaluation by answers.
"""

import ast
import json
import re
import textwrap
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import ir_datasets
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseQrels, BaseQueries, TrecQrel

from colbertv2.data.leakage import normalised
from colbertv2.data.sources.stores import MemoryDocs
from colbertv2.files import write_atomically

SPLITS = ("train", "dev", "test")
MINIMUM_QUERY_WORDS = 5
SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bcf\.)(?<!\bvs\.)(?<!\betc\.)\s")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Pair(NamedTuple):
    """A function (``doc_id`` = ``module:qualified.name``), its source, and its docstring's first sentence."""

    doc_id: str
    source: str
    query: str

    @property
    def module(self) -> str:
        """The top-level module."""
        return re.split(r"[.:]", self.doc_id)[0]

    @property
    def name(self) -> str:
        """The function's own name.

        >>> Pair("os.path:Walker.walk", "", "").name
        'walk'
        """
        return re.split(r"[.:]", self.doc_id)[-1]


def first_sentence(docstring: str) -> str:
    """Return the first sentence of a docstring's first paragraph, on one line.

    >>> first_sentence("Return a name, e.g. 'ls'.  See also os.\\n\\nMore.")
    "Return a name, e.g. 'ls'."
    """
    paragraph = re.split(r"\n\s*\n", docstring.strip())[0]
    return SENTENCE_END.split(" ".join(paragraph.split()))[0]


def definitions(node: ast.AST, path: str = "") -> Iterator[tuple[str, Definition]]:
    """Yield all classes and functions below ``node`` with their qualified names, in source order."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            qualified = f"{path}.{child.name}".lstrip(".")
            yield qualified, child
            yield from definitions(child, qualified)
        elif not isinstance(child, ast.expr):  # expressions contain no definitions, and most nodes are expressions
            yield from definitions(child, path)


def docstring_lines(node: Definition, lines: list[str]) -> range:
    """Return the lines (from 1) of a docstring; none if it shares a line with code, which would be lost with it."""
    literal = node.body[0]
    if ast.get_docstring(node, clean=False) is None or lines[literal.lineno - 1][: literal.col_offset].strip():
        return range(0)
    return range(literal.lineno, (literal.end_lineno or literal.lineno) + 1)


def functions(source: str, module: str) -> Iterator[Pair]:
    """Yield a pair for each documented function and method of a module that has a body, in source order.

    Nested functions are included. A document also lacks the docstrings of the functions and classes nested in it, as
    these are the queries of other documents.

    Raises:
        SyntaxError: ``source`` is not valid in the running version of Python.
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


def read_functions(root: Path, path: str) -> list[Pair]:
    """Return the pairs of a file that make good queries; none if the running version of Python can't parse it.

    A query has at least ``MINIMUM_QUERY_WORDS`` words, and its document does not repeat it word for word.

    Args:
        root: the directory from which modules are imported.
        path: the file below it, as a posix path, which determines the module's name.
    """
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    try:
        with tokenize.open(root / path) as file:
            found = list(functions(file.read(), module))
    except (SyntaxError, ValueError):  # another version's syntax, another encoding, a null byte
        return []
    return [
        pair
        for pair in found
        if len(pair.query.split()) >= MINIMUM_QUERY_WORDS and normalised(pair.query) not in normalised(pair.source)
    ]


def without_repetitions(pairs: Iterable[Pair]) -> list[Pair]:
    """Keep only the first of the pairs that share an id, a document or a query, apart from case and white space.

    >>> kept = [Pair("a:f", "one", "Return it."), Pair("a:g", "two", "return  it."), Pair("b:f", "three", "Other.")]
    >>> [pair.doc_id for pair in without_repetitions(kept)]
    ['a:f', 'b:f']
    """
    seen: set[str] = set()
    kept: list[Pair] = []
    for pair in pairs:
        keys = {f"id {pair.doc_id}", f"document {normalised(pair.source)}", f"query {normalised(pair.query)}"}
        if not keys & seen:
            seen |= keys
            kept.append(pair)
    return kept


def cached(path: Path, extract: Callable[[], list[Pair]]) -> tuple[Pair, ...]:
    """Return the pairs of a file, which is first written with what ``extract`` returns if it does not exist."""
    if path.exists():
        with path.open(encoding="utf-8", newline="\n") as file:
            return tuple(Pair(*json.loads(line)) for line in file)
    found = extract()
    write_atomically(path, "".join(json.dumps(pair) + "\n" for pair in found))
    return tuple(found)


class PairDoc(NamedTuple):
    """A function's source."""

    doc_id: str
    text: str
    pool_id: str

    def default_text(self) -> str:
        return self.text


class PairQuery(NamedTuple):
    """A docstring's first sentence."""

    query_id: str
    text: str
    answers: tuple[str, ...]
    pool_id: str

    def default_text(self) -> str:
        return self.text


class PairDocs(MemoryDocs):
    """The functions of ``select()`` as documents; ``digest()`` changes with the files they are read from."""

    def __init__(self, select: Callable[[], list[Pair]], digest: Callable[[], str]) -> None:
        super().__init__(PairDoc, lambda: (PairDoc(pair.doc_id, pair.source, pair.module) for pair in select()))
        self.digest = digest

    def fingerprint(self) -> str:
        """A digest of the source files."""
        return self.digest()


class PairQueries(BaseQueries):
    """The first sentences of the docstrings of ``select()`` as queries."""

    def __init__(self, select: Callable[[], list[Pair]]) -> None:
        self.select = select

    def queries_iter(self) -> Iterator[PairQuery]:
        return (PairQuery(f"q-{pair.doc_id}", pair.query, (pair.name,), pair.module) for pair in self.select())

    def queries_cls(self) -> type[PairQuery]:
        return PairQuery

    def queries_count(self) -> int:
        return len(self.select())


class PairQrels(BaseQrels):
    """Judgements: the only relevant document of a query is the function that its docstring belongs to."""

    def __init__(self, select: Callable[[], list[Pair]]) -> None:
        self.select = select

    def qrels_iter(self) -> Iterator[TrecQrel]:
        return (TrecQrel(f"q-{pair.doc_id}", pair.doc_id, 1, "0") for pair in self.select())

    def qrels_count(self) -> int:
        return len(self.select())

    def qrels_defs(self) -> dict[int, str]:
        return {1: "the function whose docstring begins with the query"}

    def qrels_cls(self) -> type[TrecQrel]:
        return TrecQrel


def register_pairs(name: str, select: Callable[[str | None], list[Pair]], digest: Callable[[], str]) -> None:
    """Register a collection and its splits with ``ir_datasets``; registering it again changes nothing.

    Args:
        name: the id of the documents; ``<name>/train``, ``/dev`` and ``/test`` also have queries.
        select: returns the pairs of a split, or all of them for ``None``.
        digest: returns a string that changes with the files that the documents are read from.
    """
    if name in ir_datasets.registry:
        return
    documents = PairDocs(partial(select, None), digest)
    ir_datasets.registry.register(name, Dataset(documents))
    for split in SPLITS:
        chosen = partial(select, split)
        ir_datasets.registry.register(f"{name}/{split}", Dataset(documents, PairQueries(chosen), PairQrels(chosen)))
