"""``ir_datasets`` handlers of the embedded collections ``stdlib`` and ``stdlib-small``.

``stdlib`` holds all pairs of ``colbertv2.data.sources.stdlib``, ``stdlib-small`` half of them (chosen by a hash of the
document id); both have the splits ``/train``, ``/dev`` and ``/test``, which share their collection's documents.
A query's id is ``q-`` + its document's id: tools that drop results whose id equals the query's lose nothing. Documents
and queries also have a ``pool_id``, their top-level module, and queries ``answers``, the function's own name: so that
what searches within pools, or judges by answers, has an embedded collection too.
"""

import sysconfig
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import ir_datasets
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseQrels, BaseQueries, TrecQrel

from colbertv2.data.sources import stdlib
from colbertv2.data.sources.memory import MemoryDocs
from colbertv2.data.sources.stdlib import Pair

NAMES = ("stdlib", "stdlib-small")


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
        """Moves with the library that is running."""
        return digest_of_running_library()


class PairQueries(BaseQueries):
    """The docstrings of ``select()`` as queries."""

    def __init__(self, select: Callable[[], list[Pair]]) -> None:
        self.select = select

    def queries_iter(self) -> Iterator[PairQuery]:
        return (PairQuery(f"q-{pair.doc_id}", pair.query, (pair.name,), pair.module) for pair in self.select())

    def queries_cls(self) -> type[PairQuery]:
        return PairQuery

    def queries_count(self) -> int:
        return len(self.select())


class PairQrels(BaseQrels):
    """Each docstring's own function is its one relevant document."""

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
    return stdlib.library_digest(Path(sysconfig.get_path("stdlib")))


@cache
def selection(name: str, split: str | None) -> list[Pair]:
    """The pairs of one collection (``stdlib``, ``stdlib-small``) and, if given, of one split."""
    split_of = stdlib.split_of_module()
    return [
        pair
        for pair in stdlib.pairs()
        if (name == "stdlib" or stdlib.is_small(pair)) and split in (None, split_of[pair.module])
    ]


def register() -> None:
    """Register both collections and their splits with ``ir_datasets``, once per process."""
    for name in NAMES:
        if name in ir_datasets.registry:
            continue
        documents = PairDocs(partial(selection, name, None))
        ir_datasets.registry.register(name, Dataset(documents))
        for split in stdlib.SPLITS:
            pairs = partial(selection, name, split)
            dataset = Dataset(documents, PairQueries(pairs), PairQrels(pairs))
            ir_datasets.registry.register(f"{name}/{split}", dataset)
