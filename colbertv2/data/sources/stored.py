"""Documents that are kept in ``ir_datasets``' store on disk, under its home: what sources of documents share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import ir_datasets
from ir_datasets.formats import BaseDocs
from ir_datasets.indices import PickleLz4FullStore

from colbertv2.files import sha256


class StoredDocs(BaseDocs):
    """A handler that reads its documents once and keeps them; a subclass says what they are.

    It has ``docs_cls``, the named tuple that a document is, and the two methods below; ``source`` names the folder of
    its stores.
    """

    source: ClassVar[str]

    def fingerprint(self) -> str:
        """Moves with whatever decides the documents; each has a store of its own."""
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
    """Moves with the path, size or time of a file, and with the settings that it is read by.

    >>> file_fingerprint(Path(__file__)) == file_fingerprint(Path(__file__), "sentence")
    False
    """
    status = path.stat()
    content = "\n".join([str(path), *settings, str(status.st_size), str(status.st_mtime_ns)])
    return sha256(content.encode())[:16]
