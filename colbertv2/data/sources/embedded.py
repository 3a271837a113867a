"""``ir_datasets`` handlers of the embedded collections ``stdlib`` and ``stdlib-small``.

``stdlib`` holds all pairs of ``colbertv2.data.sources.stdlib``, ``stdlib-small`` half of them (chosen by a hash of the
document id); both have the splits ``/train``, ``/dev`` and ``/test``, which share their collection's documents.
A query's id is ``q-`` + its document's id: tools that drop results whose id equals the query's lose nothing. Documents
and queries also have a ``pool_id``, their top-level module, and queries ``answers``, the function's own name: so that
what searches within pools, or judges by answers, has an embedded collection too.
"""

import sysconfig
from collections.abc import Callable, Iterable, Iterator
from functools import cache, cached_property, partial
from pathlib import Path
from typing import NamedTuple

import ir_datasets
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, TrecQrel
from ir_datasets.indices import Docstore

from colbertv2.data.sources import stdlib
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


class PairDocIterator(Iterator[PairDoc]):
    """An iterator over documents in memory that can be sliced, as ``ir_datasets`` iterators can.

    >>> [document.doc_id for document in PairDocIterator([PairDoc("a", "", ""), PairDoc("b", "", "")])[1:]]
    ['b']
    """

    def __init__(self, documents: list[PairDoc]) -> None:
        self.documents = documents
        self.remaining = iter(documents)

    def __next__(self) -> PairDoc:
        return next(self.remaining)

    def __getitem__(self, key: int | slice) -> "PairDoc | PairDocIterator":
        return PairDocIterator(self.documents[key]) if isinstance(key, slice) else self.documents[key]


class MemoryStore(Docstore):
    """Random access to documents in memory."""

    def __init__(self, documents: list[PairDoc]) -> None:
        super().__init__(PairDoc)
        self.by_id = {document.doc_id: document for document in documents}

    def get_many_iter(self, doc_ids: Iterable[str]) -> Iterator[PairDoc]:
        return (self.by_id[doc_id] for doc_id in doc_ids if doc_id in self.by_id)


class PairDocs(BaseDocs):
    """The functions of ``select()`` as documents; nothing is read before the first use."""

    def __init__(self, name: str, select: Callable[[], list[Pair]]) -> None:
        self.name = name
        self.select = select

    def fingerprint(self) -> str:
        """Moves with the library that is running."""
        return digest_of_running_library()

    @cached_property
    def documents(self) -> list[PairDoc]:
        return [PairDoc(pair.doc_id, pair.source, pair.module) for pair in self.select()]

    @cached_property
    def store(self) -> MemoryStore:
        return MemoryStore(self.documents)

    def docs_iter(self) -> PairDocIterator:
        return PairDocIterator(self.documents)

    def docs_count(self) -> int:
        return len(self.documents)

    def docs_store(self) -> MemoryStore:
        return self.store

    def docs_cls(self) -> type[PairDoc]:
        return PairDoc

    def docs_namespace(self) -> str:
        return self.name


class PairQueries(BaseQueries):
    """The docstrings of ``select()`` as queries."""

    def __init__(self, name: str, select: Callable[[], list[Pair]]) -> None:
        self.name = name
        self.select = select

    def queries_iter(self) -> Iterator[PairQuery]:
        return (PairQuery(f"q-{pair.doc_id}", pair.query, (pair.name,), pair.module) for pair in self.select())

    def queries_cls(self) -> type[PairQuery]:
        return PairQuery

    def queries_count(self) -> int:
        return len(self.select())

    def queries_namespace(self) -> str:
        return self.name

    def queries_lang(self) -> str:
        return "en"


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
        documents = PairDocs(name, partial(selection, name, None))
        ir_datasets.registry.register(name, Dataset(documents))
        for split in stdlib.SPLITS:
            pairs = partial(selection, name, split)
            dataset = Dataset(documents, PairQueries(f"{name}/{split}", pairs), PairQrels(pairs))
            ir_datasets.registry.register(f"{name}/{split}", dataset)
