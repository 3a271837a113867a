"""The embedded collections ``stdlib``, ``stdlib-small`` and four by topic: code search over the standard library.

A document is the source of a function or method without its docstring; a query is the docstring's first sentence; the
only relevant document of a query is the function it was taken from. So relevance is known by construction, nothing is
downloaded, and the text is real. Queries are split into train, dev and test by top-level module, so that no module is
in two splits; all splits search the same documents. The library's source files determine the collection completely:
about 5,300 pairs on Python 3.11. Functions that share a qualified name (a property's getter and setter, variants per
platform) would share an id, so only the first of them is kept.

``stdlib`` has all pairs, ``stdlib-small`` half of them, chosen by a hash of the document id. ``stdlib-network``,
``stdlib-language``, ``stdlib-data`` and ``stdlib-system`` have those of the modules of one topic. All have the splits
``/train``, ``/dev`` and ``/test``, and a query is in the same split everywhere. A query's id is ``q-`` + its document's
id, so tools that drop results whose id equals the query's lose nothing. Documents and queries also have a ``pool_id``,
their top-level module, and queries have ``answers``, the function's own name, to try search within pools and evaluation
by answers.

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
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import ir_datasets
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseQrels, BaseQueries, TrecQrel

from colbertv2.data.leakage import normalised
from colbertv2.data.sources.stores import MemoryDocs
from colbertv2.files import sha256, write_atomically

SPLITS = {"train": 0.70, "dev": 0.10, "test": 0.20}
MINIMUM_QUERY_WORDS = 5
LEFT_OUT = re.compile(r"test|tests|idle_test|turtledemo|site-packages|dist-packages|__pycache__|config-.*")
SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bcf\.)(?<!\bvs\.)(?<!\betc\.)\s")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
TOPICS = {  # top-level modules by topic; all others are of the topic "system"
    "network": """
        asynchat asyncio asyncore base64 cgi cgitb email ftplib hashlib hmac html http imaplib ipaddress
        mailbox mailcap mimetypes netrc nntplib nturl2path poplib quopri secrets selectors smtpd smtplib
        socket socketserver ssl telnetlib urllib uuid webbrowser wsgiref xmlrpc
    """,
    "language": """
        __future__ _py_abc abc ast bdb cmd code codeop compileall contextlib dataclasses dis distutils doctest
        ensurepip enum functools idlelib imp importlib inspect lib2to3 linecache modulefinder pdb pickletools
        pkgutil profile pstats py_compile pyclbr pydoc rlcompleter runpy site symtable sysconfig timeit token
        tokenize trace traceback tracemalloc types typing unittest venv warnings weakref zipapp zipimport
    """,
    "data": """
        _collections_abc _pydecimal _strptime bisect calendar codecs collections configparser copy copyreg csv
        datetime dbm decimal difflib encodings fractions gettext graphlib heapq json locale numbers operator
        pickle plistlib pprint random re sqlite3 statistics string stringprep textwrap tomllib xml zoneinfo
    """,
}
TOPIC_OF = {module: topic for topic, modules in TOPICS.items() for module in modules.split()}
NAMES = ("stdlib", "stdlib-small", *(f"stdlib-{topic}" for topic in (*TOPICS, "system")))


class Pair(NamedTuple):
    """A function (``doc_id`` = ``module:qualified.name``), its source, and its docstring's first sentence."""

    doc_id: str
    source: str
    query: str

    @property
    def module(self) -> str:
        """The top-level module, which decides the split."""
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


def library_files(root: Path) -> list[str]:
    """Return the library's Python files below ``root``, as sorted posix paths, without tests and installed packages."""
    found = []
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if not LEFT_OUT.fullmatch(name)]
        below = Path(directory).relative_to(root)
        found += [(below / name).as_posix() for name in files if name.endswith(".py")]
    return sorted(path for path in found if not path.startswith("test_"))


def extract(root: Path) -> list[Pair]:
    """Return all pairs below ``root``; of duplicate ids, documents or queries, only the first in path order is kept."""
    found: list[Pair] = []
    seen: set[str] = set()
    for path in library_files(root):
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        try:
            with tokenize.open(root / path) as file:
                candidates = list(functions(file.read(), module))
        except (SyntaxError, UnicodeDecodeError):  # lib2to3's fixtures are Python 2 on purpose
            continue
        for pair in candidates:
            query = normalised(pair.query)
            keys = {f"id {pair.doc_id}", f"document {normalised(pair.source)}", f"query {query}"}
            quoted = query in normalised(pair.source)  # the source repeats the docstring: found by exact match
            if len(query.split()) >= MINIMUM_QUERY_WORDS and not quoted and not keys & seen:
                seen |= keys
                found.append(pair)
    return found


def library_digest(root: Path) -> str:
    """A digest that changes with any file of the library (path, size, mtime) and with the code of this module."""
    files = ((path, (root / path).stat()) for path in library_files(root))
    lines = (f"{path}\t{status.st_size}\t{status.st_mtime_ns}\n".encode() for path, status in files)
    return sha256(chain([Path(__file__).read_bytes()], lines))[:16]


@cache
def pairs() -> tuple[Pair, ...]:
    """Return all pairs of the running Python's library, cached in ``ir_datasets``' home, as parsing takes seconds."""
    root = Path(sysconfig.get_path("stdlib"))
    path = ir_datasets.util.home_path() / "stdlib" / f"{library_digest(root)}.jsonl"
    if path.exists():
        with path.open(encoding="utf-8", newline="\n") as file:
            return tuple(Pair(*json.loads(line)) for line in file)
    found = extract(root)
    write_atomically(path, "".join(json.dumps(pair) + "\n" for pair in found))
    return tuple(found)


def is_small(pair: Pair) -> bool:
    """Whether ``stdlib-small`` has the pair: about every second one, by a hash of the id."""
    return int(sha256(pair.doc_id.encode())[:2], 16) % 2 == 0


@cache
def split_of_module() -> dict[str, str]:
    """Return top-level module → split; modules in hash order fill the splits up to their shares of the pairs."""
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
    """The functions of ``select()`` as documents."""

    def __init__(self, select: Callable[[], list[Pair]]) -> None:
        super().__init__(PairDoc, lambda: (PairDoc(pair.doc_id, pair.source, pair.module) for pair in select()))

    def fingerprint(self) -> str:
        """A digest of the running library's source files."""
        return digest_of_running_library()


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


@cache
def digest_of_running_library() -> str:
    """Return the ``library_digest`` of the running Python's standard library, computed once per process."""
    return library_digest(Path(sysconfig.get_path("stdlib")))


def belongs(pair: Pair, name: str) -> bool:
    """Whether the collection ``name``, one of ``NAMES``, has the pair."""
    if name == "stdlib-small":
        return is_small(pair)
    return name in ("stdlib", f"stdlib-{TOPIC_OF.get(pair.module, 'system')}")


@cache
def selection(name: str, split: str | None) -> list[Pair]:
    """Return the pairs of a collection, or only those of ``split``."""
    split_of = split_of_module()
    return [pair for pair in pairs() if belongs(pair, name) and split in (None, split_of[pair.module])]


def register() -> None:
    """Register the collections and their splits with ``ir_datasets``, once per process."""
    for name in NAMES:
        if name in ir_datasets.registry:
            continue
        documents = PairDocs(partial(selection, name, None))
        ir_datasets.registry.register(name, Dataset(documents))
        for split in SPLITS:
            select = partial(selection, name, split)
            dataset = Dataset(documents, PairQueries(select), PairQrels(select))
            ir_datasets.registry.register(f"{name}/{split}", dataset)
