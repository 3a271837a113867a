"""Where sources keep their documents: in memory, or in ``ir_datasets``' store on disk, under its home."""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import ir_datasets
from ir_datasets.formats import BaseDocs
from ir_datasets.indices import Docstore, PickleLz4FullStore

from colbertv2.files import sha256


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
    """A handler of documents in memory, made on first use; for sources that are small or made by a program.

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


class StoredDocs(BaseDocs):
    """A handler that reads its documents once and keeps them on disk.

    A subclass defines ``docs_cls`` (the named tuple of a document), ``fingerprint``, ``read``, and ``source``, the name
    of the folder that holds its stores.
    """

    source: ClassVar[str]

    def fingerprint(self) -> str:
        """A text that changes with whatever determines the documents; each value has a store of its own."""
        raise NotImplementedError

    def read(self) -> Iterator[Any]:
        """All documents, in the order of the corpus."""
        raise NotImplementedError

    def docs_store(self) -> PickleLz4FullStore:
        return PickleLz4FullStore(
            path=str(ir_datasets.util.home_path() / self.source / self.fingerprint()),
            init_iter_fn=self.read,
            data_cls=self.docs_cls(),
            lookup_field="doc_id",
            index_fields=["doc_id"],
        )

    def docs_iter(self) -> Any:
        return iter(self.docs_store())

    def docs_count(self) -> int:
        return self.docs_store().count()


def file_fingerprint(path: Path, *settings: str) -> str:
    """16 hexadecimal digits that change with a file's path, size or time, and with the settings for reading it.

    >>> file_fingerprint(Path(__file__)) == file_fingerprint(Path(__file__), "sentence")
    False
    """
    status = path.stat()
    content = "\n".join([str(path), *settings, str(status.st_size), str(status.st_mtime_ns)])
    return sha256(content.encode())[:16]
