"""Training examples from a table of tuples that Hugging Face ``datasets`` reads (:mod:`colbertv2.data.tuples`)."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from colbertv2.data.sources.huggingface import tuple_table
from colbertv2.data.tables import Address, Tables
from colbertv2.data.tuples import Columns, read_tuples, text_id
from colbertv2.training.examples import Example


class TupleTable:
    """Training examples in a table of a data set, of the hub or of local files; they are streamed.

    Tuples of ids belong to documents and queries with these ids. Tuples of texts belong to the collection
    ``hf:<path>``, whose ids are hashes of the texts.

    Args:
        path: a local path or ``owner/name[@revision]``, then perhaps ``+table`` and ``/split``. Without a table it is
            ``train``, or the only one.

    Raises:
        InputError: the data set or the split does not exist, ``datasets`` is not installed, or the columns are not
            those of tuples.

    >>> TupleTable("lightonai/ms-marco-en-bge@main+train/train")  # doctest: +SKIP
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.tables = Tables(Address.parse(path))
        self.table = tuple_table(self.tables)
        self.columns = Columns.of(self.table)

    def identity(self) -> dict[str, Any]:
        """Return what identifies the content: a hash of local files, or the commit and names of a table of the hub."""
        return dict(self.content)

    @cached_property
    def content(self) -> dict[str, str]:
        """The value of ``identity()``, computed once per instance."""
        return self.tables.identity(self.table)

    def __iter__(self) -> Iterator[Example]:
        """Yield the examples, the positive first.

        Raises:
            InputError: the table can't be read, or a row is malformed; the message has its number.
        """
        for row in read_tuples(self.table, self.columns):
            if self.columns.by_id:
                yield Example(*row)
            else:
                yield Example(text_id(row.query), [text_id(text) for text in row.documents], row.scores)
