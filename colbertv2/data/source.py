"""Opening ``ir_datasets`` ids: unknown ids, failed downloads and races become clear errors or waits."""

import difflib
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

import ir_datasets
from filelock import FileLock

from colbertv2.errors import InputError

# What ir_datasets says per opened file and per failed attempt to fetch one (our error says it once); licences stay.
NOISE = ("Opening ", "[starting]", "[finished]", "[error]", "download error", "Download failed")


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


def quiet(record: logging.LogRecord) -> bool:
    """Whether a log record of ``ir_datasets`` is worth showing."""
    return not record.getMessage().startswith(NOISE)


@contextmanager
def reading(dataset_id: str, handler: Any) -> Iterator[None]:
    """Around reads of ``handler``: what can't be downloaded, or needs a manual step, becomes an ``InputError``."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # requests' exceptions are OSErrors; a wrong checksum is a RuntimeError
        files = "; ".join(places(handler)) or "see the message above"
        raise InputError(
            f"The files of {dataset_id!r} are not here and could not be fetched "
            f"({type(error).__name__}: {shorten(str(error), 160)}). "
            f"Set IR_DATASETS_HOME (now {ir_datasets.util.home_path()}) to a directory that holds them, or place "
            f"them by hand: {files}."
        ) from error


def places(handler: Any) -> list[str]:
    """Where ``ir_datasets`` expects the files of a handler, and where they come from, one phrase a file."""
    found: list[str] = []
    seen: set[int] = set()

    def visit(value: Any) -> None:
        if id(value) in seen or not type(value).__module__.startswith("ir_datasets"):
            return
        seen.add(id(value))
        fields = getattr(value, "__dict__", {})
        if isinstance(value, ir_datasets.util.Download):
            sources = [mirror for mirror in fields["mirrors"] if hasattr(mirror, "url")]
            local = [mirror.path(force=False) for mirror in fields["mirrors"] if hasattr(mirror, "path")]
            target = fields["_cache_path"] or next(iter(local), None)
            if target:
                found.append(f"{sources[0].url} as {target}" if sources else f"{target}")
        for field in fields.values():
            for item in field if isinstance(field, list | tuple) else [field]:
                visit(item)

    visit(handler)
    return found


@contextmanager
def building() -> Iterator[None]:
    """Held while a document store is built: two processes that build one store at once would spoil it."""
    with FileLock(ir_datasets.util.home_path() / "colbertv2.lock"):
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
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps(record).encode() + b"\n")
    return digest.hexdigest()
