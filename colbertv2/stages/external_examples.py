"""Stage: training examples from outside, such as the released 64-way ones; checked against the collection."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.data.file import File
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.runtime import Runtime
from colbertv2.training.examples import EXAMPLES_FILE, Example, read_examples, write_examples

AT_ONCE = 1000


@stage(version=1)
def run(file: File, documents: Collection, queries: Queries, *, out: Path, runtime: Runtime) -> None:
    """Copy the examples of ``file`` (any layout of ``Examples``), streamed.

    Raises:
        InputError: a line is malformed, or names a query or document that is not there.
    """
    written = checked(read_examples(file.path), documents, queries)
    if not write_examples(out / EXAMPLES_FILE, runtime.bar(written, "examples", "examples")):
        raise InputError(f"{file.path} holds no example.")


def checked(examples: Iterable[Example], documents: Collection, queries: Queries) -> Iterator[Example]:
    """The examples; InputError where an id is unknown."""
    iterator, done = iter(examples), 0
    while block := list(islice(iterator, AT_ONCE)):
        unknown = set(documents.missing(list({doc for example in block for doc in example.documents})))
        for number, example in enumerate(block, start=done + 1):
            if example.query_id not in queries.by_id:
                raise InputError(f"Example {number} is of query {example.query_id!r}, which {queries.id} has not.")
            if wrong := [doc for doc in example.documents if doc in unknown]:
                raise InputError(f"Example {number} names document {wrong[0]!r}, which {documents.id} has not.")
            yield example
        done += len(block)
