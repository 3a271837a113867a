"""Converting indexes between our layout, the official one and fast-plaid's."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from colbertv2.errors import InputError
from colbertv2.files import atomic_path
from colbertv2.indexing.index import Index, layout_of
from colbertv2.interchange.fast_plaid_index import open_fast_plaid, write_fast_plaid
from colbertv2.interchange.foreign_index import DOC_IDS, ForeignIndex, import_index, read_doc_ids
from colbertv2.interchange.official_index import open_official, write_official

OPEN: dict[str, Callable[[Path], ForeignIndex]] = {"official": open_official, "fast-plaid": open_fast_plaid}
WRITE: dict[str, Callable[[Index, Path, str | None], None]] = {
    "official": write_official,
    "fast-plaid": write_fast_plaid,
}


def convert_index(source: Path, destination: Path, layout: str, doc_ids: Path | None, checkpoint: str | None) -> str:
    """Write the index ``source`` as ``layout``; codes and residuals byte for byte.

    Args:
        layout: ``colbertv2``, ``official`` or ``fast-plaid``.
        doc_ids: one id a line, for a source that has only numbers; else its ``doc_ids.txt``, else the numbers.
        checkpoint: what official metadata should name.

    Returns:
        What was read and written, for the user.

    Raises:
        InputError: the source is no whole index, the layout can't hold it, or the destination exists.
    """
    found = layout_of(source)
    if found is None:
        raise InputError(f"{source} is no index; expected ours (index.json), colbert-ai's or fast-plaid's.")
    if found == layout:
        raise InputError(f"{source} is in the layout {layout} already; copy it.")
    if found == "colbertv2":
        if doc_ids is not None:
            raise InputError(f"{source} has ids of its own; --doc-ids is for an index that has only numbers.")
        index = Index.open(source)
        with atomic_path(destination) as out:
            WRITE[layout](index, out, checkpoint)
        return f"{describe(index)}\nwritten to {destination} ({layout})"
    if layout != "colbertv2":
        with tempfile.TemporaryDirectory(dir=destination.parent) as between:
            first = convert_index(source, Path(between) / "index", "colbertv2", doc_ids, None)
            convert_index(Path(between) / "index", destination, layout, None, checkpoint)
        return f"{first.splitlines()[0]}\nwritten to {destination} ({layout})"
    foreign = OPEN[found](source)
    if doc_ids is None and (source / DOC_IDS).is_file():
        doc_ids = source / DOC_IDS
    ids = None if doc_ids is None else read_doc_ids(doc_ids, len(foreign.lengths))
    import_index(foreign, destination, ids)
    return f"{describe(Index.open(destination))}\nwritten to {destination} (colbertv2)"


def describe(index: Index) -> str:
    """Its size and codec in one line."""
    return (
        f"{index.num_documents:,} documents, {index.num_vectors:,} vectors of {index.dim} dimensions, {index.codec!r}"
    )
