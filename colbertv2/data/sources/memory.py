"""Documents in memory, for sources that are small or made by a program."""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

from ir_datasets.formats import BaseDocs
from ir_datasets.indices import Docstore


class Documents(Iterator[Any]):
    """An iterator over documents in memory that can be sliced, as ``ir_datasets`` iterators can.

    >>> list(Documents(["a", "b"])[1:])
    ['b']
    """

    def __init__(self, documents: list[Any]) -> None:
        self.documents = documents
        self.remaining = iter(documents)

    def __next__(self) -> Any:
        return next(self.remaining)

    def __getitem__(self, key: int | slice) -> Any:
        return Documents(self.documents[key]) if isinstance(key, slice) else self.documents[key]


class MemoryStore(Docstore):
    """Random access to documents in memory."""

    def __init__(self, record: type, documents: list[Any]) -> None:
        super().__init__(record)
        self.by_id = {document.doc_id: document for document in documents}

    def get_many_iter(self, doc_ids: Iterable[str]) -> Iterator[Any]:
        return (self.by_id[doc_id] for doc_id in doc_ids if doc_id in self.by_id)


class MemoryDocs(BaseDocs):
    """A handler of documents that are made at the first use and then held in memory.

    Args:
        record: the named tuple that a document is, with ``doc_id`` and ``text``.
        make: makes all of them, in the order of the corpus.

    >>> from ir_datasets.formats import GenericDoc
    >>> docs = MemoryDocs(GenericDoc, lambda: [GenericDoc("a", "one"), GenericDoc("b", "two")])
    >>> docs.docs_count(), docs.docs_store().get("b").text
    (2, 'two')
    """

    def __init__(self, record: type, make: Callable[[], Iterable[Any]]) -> None:
        self.record = record
        self.make = make

    @cached_property
    def documents(self) -> list[Any]:
        return list(self.make())

    @cached_property
    def store(self) -> MemoryStore:
        return MemoryStore(self.record, self.documents)

    def docs_iter(self) -> Documents:
        return Documents(self.documents)

    def docs_count(self) -> int:
        return len(self.documents)

    def docs_store(self) -> MemoryStore:
        return self.store

    def docs_cls(self) -> type:
        return self.record
