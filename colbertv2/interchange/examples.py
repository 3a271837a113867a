"""Converting training examples between our layout, triples, colbert-ai's directory and PyLate's tables."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.files import atomic_path
from colbertv2.interchange.pylate_training import read_pylate, write_pylate
from colbertv2.interchange.training_files import EXAMPLES, read_official, write_official, write_triples
from colbertv2.training.examples import Example, read_examples, write_examples

FILES: dict[str, Callable[[Path, Iterable[Example]], int]] = {"colbertv2": write_examples, "triples": write_triples}
DIRECTORIES = {"official": write_official, "pylate": write_pylate}


def convert_examples(source: Path, destination: Path, layout: str, documents: str | None, queries: str | None) -> str:
    """Write the examples of ``source`` as ``layout``; streamed, so that 26 GB of them need no memory.

    Args:
        layout: ``colbertv2`` or ``triples``, a file (triples as TSV if its name ends in ``.tsv``); ``official`` or
            ``pylate``, a directory with the texts in it.
        documents, queries: ids of ``ir_datasets`` (or ``folder:<path>``), which have the texts for a directory.

    Returns:
        What was written, for the user.

    Raises:
        InputError: the source is none of these, a line of it is wrong, or it names texts that are not there.
    """
    if layout in FILES:
        if documents or queries:
            raise InputError(f"--documents and --queries are for a directory with texts; {layout} holds only ids.")
        with atomic_path(destination, directory=False) as out:
            count = FILES[layout](out, nonempty(source))
    else:
        if not documents or not queries:
            raise InputError(f"--to {layout} writes the texts, too: name them by --documents <id> and --queries <id>.")
        with atomic_path(destination) as out:
            count = DIRECTORIES[layout](out, nonempty(source), Queries(queries, unlabelled=True), Collection(documents))
    return f"{count:,} {'triples' if layout == 'triples' else 'examples'} written to {destination} ({layout})"


def nonempty(source: Path) -> Iterator[Example]:
    """The examples of ``source``; InputError if there are none."""
    count = 0
    for example in read(source):
        count += 1
        yield example
    if not count:
        raise InputError(f"{source} holds no example.")


def read(source: Path) -> Iterator[Example]:
    """The examples of a file, or of a directory of colbert-ai's or PyLate's layout."""
    if not source.exists():
        raise InputError(f"{source} does not exist; expected a file of examples, or a directory.")
    if source.is_file():
        return read_examples(source)
    return read_official(source) if (source / EXAMPLES).is_file() else read_pylate(source)
