"""Open ``ir_datasets`` ids; unknown ids and failed downloads become clear errors, and parallel builds wait."""

import difflib
import errno
import gzip
import json
import logging
import shutil
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from textwrap import shorten
from typing import Any, NamedTuple

from colbertv2.errors import InputError, Unavailable
from colbertv2.files import sha256
from colbertv2.lease import held

try:
    import ir_datasets
    from ir_datasets.util.fileio import TarExtractAll, ZipExtractCache
except OSError as error:  # importing it creates folders in its home
    raise InputError(
        f"ir_datasets can't create its folders in IR_DATASETS_HOME ({error}). Import it once as a user who may write "
        "there (python -c 'import ir_datasets'), or set IR_DATASETS_HOME to a directory of your own."
    ) from None

# What ir_datasets logs for each opened file and failed download: our error says it once. Licences are still shown.
NOISE = ("Opening ", "[starting]", "[finished]", "[error]", "download error", "Download failed")

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
LEASE = "colbertv2.lease"
_one_thread = threading.RLock()  # a lease is between processes
_building: list[bool] = []  # one for each context of :func:`building` that the thread is in
# What reading raises if the file is cut short or is a different file.
ARCHIVES = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError)
DAMAGED = (*ARCHIVES, json.JSONDecodeError, UnicodeDecodeError)


def load(dataset_id: str | None) -> Any:
    """Return the ``ir_datasets`` dataset of an id.

    Raises:
        InputError: the id is missing or unknown (the message lists close matches), or a local folder lacks files.
    """
    if not dataset_id:
        raise InputError(
            f"Expected an ir_datasets id, found {dataset_id!r}. Set it in the collection, "
            "e.g. collection=ir_datasets collection.train_id=beir/nfcorpus/train."
        )
    logging.getLogger("ir_datasets").addFilter(quiet)
    register_sources()
    try:
        return ir_datasets.load(dataset_id)
    except KeyError:
        known = list(ir_datasets.registry)
        close = difflib.get_close_matches(dataset_id, known, n=5, cutoff=0.5)
        close += [name for name in known if name.startswith(f"{dataset_id}/")][: 5 - len(close)]
        hint = f"Close matches: {', '.join(close)}." if close else "See https://ir-datasets.com for the ids."
        raise InputError(
            f"No dataset is called {dataset_id!r}. {hint} A local folder is written folder:<path>."
        ) from None


@cache
def register_sources() -> None:
    """Register the ids of every module in ``data/sources`` with ``ir_datasets``; new modules need no list."""
    from colbertv2.data import sources

    for module in iter_modules(sources.__path__):
        if register := getattr(import_module(f"{sources.__name__}.{module.name}"), "register", None):
            register()


def quiet(record: logging.LogRecord) -> bool:
    """Whether a log record of ``ir_datasets`` is worth showing."""
    return not record.getMessage().startswith(NOISE)


@contextmanager
def reading(dataset_id: str, handler: Any) -> Iterator[None]:
    """Turn failures to read ``handler`` (failed downloads, damaged files, manual steps) into ``InputError``.

    Args:
        dataset_id: the id, for the message.
        handler: the handler of documents, queries or judgements that is read inside.

    Raises:
        InputError: the data can't be read; the message says why and what to do.
    """
    try:
        if not hasattr(handler, "docs_store"):  # documents in a built store no longer need the archive
            unpack(handler)
        yield
    except InputError:
        raise
    except (*DAMAGED, ImportError, OSError, RuntimeError, ValueError) as error:
        raise complaint(dataset_id, places(handler), error) from error


def complaint(dataset_id: str, files: "list[Place]", error: Exception) -> InputError:
    """The error for a dataset that can't be read: what is wrong and what to do; ``Unavailable`` if its files lack."""
    reason = f"{type(error).__name__}: {shorten(str(error), 160)}"
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return InputError(
            f"{dataset_id!r} is not ready in IR_DATASETS_HOME ({ir_datasets.util.home_path()}), and you may not write "
            f"there or read its files ({reason}). Open it once as a user who may write there, or set IR_DATASETS_HOME "
            "to a directory of your own."
        )
    all_here = bool(files) and all(file.path.exists() for file in files)
    # ir_datasets raises a RuntimeError for a malformed line.
    if isinstance(error, DAMAGED) or (isinstance(error, RuntimeError) and all_here):
        here = [f"{file}, {file.path.stat().st_size:,} of them present" for file in files if file.path.exists()]
        return InputError(
            f"A file of {dataset_id!r} is cut short or damaged ({reason}). Delete it and fetch it again: "
            f"{'; '.join(here) or 'see the message above'}."
        )
    if isinstance(error, ImportError | ValueError) or all_here:  # a package that few datasets need; a full disk
        return InputError(f"{dataset_id!r} can't be read ({reason}).")
    return Unavailable(  # requests' exceptions are OSErrors; a wrong checksum is a RuntimeError
        f"The files of {dataset_id!r} are missing and could not be downloaded ({reason}). "
        f"Set IR_DATASETS_HOME (now {ir_datasets.util.home_path()}) to a directory that has them, or place them by "
        f"hand: {'; '.join(map(str, files)) or 'see the message above'}."
    )


class Place(NamedTuple):
    """A file that ``ir_datasets`` downloads: its URL (empty for a manual step), local path and size, if known."""

    url: str
    path: Path
    num_bytes: int | None

    def __str__(self) -> str:
        size = f" ({self.num_bytes:,} bytes)" if self.num_bytes else ""
        return f"{self.url} as {self.path}{size}" if self.url else f"{self.path}{size}"


def places(handler: Any) -> list[Place]:
    """The files that a handler downloads, without repetitions, in the order in which they are found."""
    found: dict[Path, Place] = {}
    for part in parts(handler, ir_datasets.util.Download):
        urls = [mirror.url for mirror in part.mirrors if hasattr(mirror, "url")]
        local = [mirror.path(force=False) for mirror in part.mirrors if hasattr(mirror, "path")]
        if target := part._cache_path or next(iter(local), None):
            place = Place(urls[0] if urls else "", Path(target), part._size_hint)
            found.setdefault(place.path, place)
    return list(found.values())


def parts(handler: Any, kind: type | tuple[type, ...]) -> list[Any]:
    """The objects of type ``kind`` that ``handler`` is made of, in the order in which they are found."""
    seen: dict[int, Any] = {}

    def visit(value: Any) -> None:
        if id(value) in seen or not type(value).__module__.startswith(("ir_datasets", "colbertv2.data")):
            return
        seen[id(value)] = value
        for field in getattr(value, "__dict__", {}).values():
            several = field.values() if isinstance(field, dict) else field
            for item in several if isinstance(field, dict | list | tuple) else [field]:
                visit(item)

    visit(handler)
    return [part for part in seen.values() if isinstance(part, kind)]


def unpack(handler: Any) -> None:
    """Unpack the archives of ``handler`` that ``ir_datasets`` unpacks completely, each into its own directory.

    ``ir_datasets`` itself assumes that an archive is unpacked if its directory exists. That is wrong if a process was
    killed while unpacking, or, for LoTTE, if a document store was created in the directory first.
    """
    for archive in parts(handler, (TarExtractAll, ZipExtractCache)):
        field = "_extract_path" if isinstance(archive, TarExtractAll) else "extract_path"
        target = Path(getattr(archive, field))
        if target.exists():
            continue
        with building():
            if target.exists():  # another process has unpacked it
                continue
            partial = target.with_name(f".{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            setattr(archive, field, partial)
            try:
                archive.path()
            finally:
                setattr(archive, field, target)
            partial.rename(target)


@contextmanager
def building() -> Iterator[None]:
    """Hold a lease while a document store is built: two processes that build the same store would damage it.

    A thread that holds it may do so again, as a sample's store is built from another store. If there can be no lease
    because the home of ``ir_datasets`` is read-only or belongs to another user, nothing can be built there either, so
    existing stores are read without it.
    """
    with _one_thread, ExitStack() as context:
        if not _building:
            try:
                context.enter_context(held(ir_datasets.util.home_path() / LEASE, "The store of documents"))
            except OSError as error:
                if error.errno not in UNWRITABLE:
                    raise
        _building.append(True)
        try:
            yield
        finally:
            _building.pop()


def text_of(record: Any) -> str:
    """Return the text of a document or query: its ``default_text()`` if it has that method, else its ``text``.

    Raises:
        InputError: the record has neither.
    """
    if hasattr(record, "default_text"):
        return record.default_text()
    if hasattr(record, "text"):
        return record.text
    raise InputError(
        f"{type(record).__name__} has neither default_text() nor a text field, only {', '.join(record._fields)}; "
        "write its texts to a local folder and use folder:<path>."
    )


def content_digest(records: Iterable[Any]) -> str:
    """Return the SHA-256 of records (ids, texts, grades) in order; where a record ends is unambiguous.

    >>> content_digest([("a", "b c")]) == content_digest([("a b", "c")])
    False
    """
    return sha256(json.dumps(record).encode() + b"\n" for record in records)
