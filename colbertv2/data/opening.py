"""Opening ``ir_datasets`` ids: unknown ids, failed downloads and races become clear errors or waits."""

import difflib
import errno
import gzip
import json
import logging
import shutil
import tarfile
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

from filelock import FileLock

from colbertv2.errors import InputError
from colbertv2.files import sha256

try:
    import ir_datasets
    from ir_datasets.util.fileio import TarExtractAll, ZipExtractCache
except OSError as error:  # it makes folders in its home when it is imported
    raise InputError(
        f"ir_datasets can't make its folders in IR_DATASETS_HOME ({error}). Load it once as one who may write there "
        "(python -c 'import ir_datasets'), or set IR_DATASETS_HOME to a directory of your own."
    ) from None

# What ir_datasets says per opened file and per failed attempt to fetch one (our error says it once); licences stay.
NOISE = ("Opening ", "[starting]", "[finished]", "[error]", "download error", "Download failed")

# What reading a file that was cut short, or is another one, raises.
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
ARCHIVES = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError)
DAMAGED = (*ARCHIVES, json.JSONDecodeError, UnicodeDecodeError)


def load(dataset_id: str | None) -> Any:
    """The ``ir_datasets`` data set of an id.

    Raises:
        InputError: the id is missing or unknown (the message lists close matches), or a folder lacks its files.
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
            f"No data set is called {dataset_id!r}. {hint} A local folder is written folder:<path>."
        ) from None


@cache
def register_sources() -> None:
    """Make the ids of every module in ``data/sources`` known to ``ir_datasets``; a new source needs no list."""
    from colbertv2.data import sources

    for module in iter_modules(sources.__path__):
        if register := getattr(import_module(f"{sources.__name__}.{module.name}"), "register", None):
            register()


def quiet(record: logging.LogRecord) -> bool:
    """Whether a log record of ``ir_datasets`` is worth showing."""
    return not record.getMessage().startswith(NOISE)


@contextmanager
def reading(dataset_id: str, handler: Any) -> Iterator[None]:
    """Around reads of ``handler``: what can't be downloaded, is damaged or needs a manual step is an ``InputError``."""
    try:
        if not hasattr(handler, "docs_store"):  # documents that are in their store need no archive any more
            unpack(handler)
        yield
    except InputError:
        raise
    except (*DAMAGED, ImportError, OSError, RuntimeError, ValueError) as error:
        raise InputError(complaint(dataset_id, places(handler), error)) from error


def complaint(dataset_id: str, files: "list[Place]", error: Exception) -> str:
    """What is wrong with a data set that can't be read, and what to do."""
    told = f"{type(error).__name__}: {shorten(str(error), 160)}"
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return (
            f"{dataset_id!r} is not ready in IR_DATASETS_HOME ({ir_datasets.util.home_path()}), where nothing can be "
            f"written or not everything read ({told}). Open it once as someone who may write there, or set "
            "IR_DATASETS_HOME to a directory of your own."
        )
    all_here = bool(files) and all(file.path.exists() for file in files)
    if isinstance(error, DAMAGED) or (isinstance(error, RuntimeError) and all_here):  # ir_datasets' of a wrong line
        here = [f"{file}, of which {file.path.stat().st_size:,} are there" for file in files if file.path.exists()]
        return (
            f"A file of {dataset_id!r} is cut short or damaged ({told}). Delete it and fetch it again: "
            f"{'; '.join(here) or 'see the message above'}."
        )
    if isinstance(error, ImportError | ValueError) or all_here:  # a package that few data sets need; a full disk
        return f"{dataset_id!r} can't be read ({told})."
    return (  # requests' exceptions are OSErrors; a wrong checksum is a RuntimeError
        f"The files of {dataset_id!r} are not here and could not be fetched ({told}). "
        f"Set IR_DATASETS_HOME (now {ir_datasets.util.home_path()}) to a directory that holds them, or place them by "
        f"hand: {'; '.join(map(str, files)) or 'see the message above'}."
    )


class Place(NamedTuple):
    """A file that ``ir_datasets`` downloads: from where (empty for a manual step), to where, and its size if known."""

    url: str
    path: Path
    num_bytes: int | None

    def __str__(self) -> str:
        size = f" ({self.num_bytes:,} bytes)" if self.num_bytes else ""
        return f"{self.url} as {self.path}{size}" if self.url else f"{self.path}{size}"


def places(handler: Any) -> list[Place]:
    """The files of a handler, each once, in the order in which they are met."""
    found: dict[Path, Place] = {}
    for part in parts(handler, ir_datasets.util.Download):
        urls = [mirror.url for mirror in part.mirrors if hasattr(mirror, "url")]
        local = [mirror.path(force=False) for mirror in part.mirrors if hasattr(mirror, "path")]
        if target := part._cache_path or next(iter(local), None):
            place = Place(urls[0] if urls else "", Path(target), part._size_hint)
            found.setdefault(place.path, place)
    return list(found.values())


def parts(handler: Any, kind: type | tuple[type, ...]) -> list[Any]:
    """What ``handler`` is made of, as far as it is of that kind, in the order in which it is met."""
    seen: dict[int, Any] = {}

    def visit(value: Any) -> None:
        if id(value) in seen or not type(value).__module__.startswith(("ir_datasets", "colbertv2.data")):
            return
        seen[id(value)] = value
        for field in getattr(value, "__dict__", {}).values():
            for item in field if isinstance(field, list | tuple) else [field]:
                visit(item)

    visit(handler)
    return [part for part in seen.values() if isinstance(part, kind)]


def unpack(handler: Any) -> None:
    """Unpack the archives of ``handler`` that ``ir_datasets`` unpacks as a whole, each into a directory.

    Left to itself it takes a directory for unpacked that exists: one of a process that was killed over it, or LoTTE's
    where a document store was made in it first.
    """
    for archive in parts(handler, (TarExtractAll, ZipExtractCache)):
        field = "_extract_path" if isinstance(archive, TarExtractAll) else "extract_path"
        target = Path(getattr(archive, field))
        if target.exists():
            continue
        with building():
            if target.exists():  # another process was faster
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
    """Held while a document store is built: two processes that build one store at once would spoil it.

    One process may enter it again while it is in it: a sample's store is built from another one. Where no lock can be
    taken, since the home of ``ir_datasets`` is read-only or another user's, nothing can be built either: what is there
    is read without.
    """
    with ExitStack() as held:
        try:
            held.enter_context(FileLock(ir_datasets.util.home_path() / "colbertv2.lock", is_singleton=True))
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
        yield


def text_of(record: Any) -> str:
    """The text of a document or query: ``default_text()`` where its class has one, else its ``text``.

    Raises:
        InputError: it has neither.
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
    """SHA-256 over records (ids, texts, grades) in order, unambiguous about where one ends.

    >>> content_digest([("a", "b c")]) == content_digest([("a b", "c")])
    False
    """
    return sha256(json.dumps(record).encode() + b"\n" for record in records)
