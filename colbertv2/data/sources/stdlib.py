"""The embedded collections ``stdlib``, ``stdlib-small`` and four by topic: code search over the standard library.

Nothing is downloaded. Documents, queries and judgements are those of ``code_search``. Queries are split into train, dev
and test by top-level module, so that no module is in two splits; all splits search the same documents. The library's
source files determine the collection completely: about 5,300 pairs on Python 3.11. Functions that share a qualified
name (a property's getter and setter, variants per platform) would share an id, so only the first of them is kept.

``stdlib`` has all pairs, ``stdlib-small`` half of them, chosen by a hash of the document id. ``stdlib-network``,
``stdlib-language``, ``stdlib-data`` and ``stdlib-system`` have those of the modules of one topic. All have the splits
``/train``, ``/dev`` and ``/test``, and a query is in the same split everywhere.

>>> import ir_datasets
>>> from colbertv2.data.opening import register_sources
>>> register_sources()
>>> next(ir_datasets.load("stdlib/test").queries_iter()).query_id.count(":")
1
"""

import os
import re
import sysconfig
from functools import cache, partial
from itertools import chain
from pathlib import Path

import ir_datasets

from colbertv2.data.sources import code_search
from colbertv2.data.sources.code_search import Pair, cached, read_functions, register_pairs, without_repetitions
from colbertv2.files import sha256

SHARES = {"train": 0.70, "dev": 0.10, "test": 0.20}
LEFT_OUT = re.compile(r"test|tests|idle_test|turtledemo|site-packages|dist-packages|__pycache__|config-.*")
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
    return without_repetitions(pair for path in library_files(root) for pair in read_functions(root, path))


def library_digest(root: Path) -> str:
    """A digest that changes with any file of the library (path, size, mtime) and with the code that reads it."""
    files = ((path, (root / path).stat()) for path in library_files(root))
    lines = (f"{path}\t{status.st_size}\t{status.st_mtime_ns}\n".encode() for path, status in files)
    code = (Path(file).read_bytes() for file in (__file__, code_search.__file__))
    return sha256(chain(code, lines))[:16]


@cache
def pairs() -> tuple[Pair, ...]:
    """Return all pairs of the running Python's library, cached in ``ir_datasets``' home, as parsing takes seconds."""
    root = Path(sysconfig.get_path("stdlib"))
    path = ir_datasets.util.home_path() / "stdlib" / f"{library_digest(root)}.jsonl"
    return cached(path, lambda: extract(root))


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
    filled = dict.fromkeys(SHARES, 0)
    for module in sorted(sizes, key=lambda name: sha256(name.encode())):
        split = min(SHARES, key=lambda name: (filled[name] + sizes[module] / 2) / SHARES[name])
        assigned[module] = split
        filled[split] += sizes[module]
    return assigned


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
    """Register the collections and their splits with ``ir_datasets``."""
    for name in NAMES:
        register_pairs(name, partial(selection, name), digest_of_running_library)
