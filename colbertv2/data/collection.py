"""``Collection``: the documents of an ``ir_datasets`` id."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from functools import cached_property
from itertools import islice
from typing import Any

from colbertv2.data.readers import is_id
from colbertv2.errors import InputError

HASHED_DOCUMENTS = 100_000
EMPTY = ("refuse", "keep")
IDENTITIES: dict[tuple[type, str, str, str], dict[str, str | int]] = {}  # by class, id, ``empty`` and fingerprint
logger = logging.getLogger(__name__)


class Collection:
    """The documents of an ``ir_datasets`` id, in corpus order, as ``(doc_id, text)`` with ``default_text()`` as text.

    Documents are read from ``ir_datasets``' store on disk, so a corpus is streamed and never held in memory. The
    store is built at the first use, under a lock.

    Released collections are taken as they are. A document without an id (a leading blank line in a benchmark's file
    makes one) can neither be judged nor stand in a run file: it is left out, with a warning. Of several documents under
    one id the last one is taken, in the place of the first, as BEIR's loader does, with a warning. Documents without
    text (38 of FiQA's) stay: they have no vectors, and no system finds them.

    Documents from elsewhere are a subclass that makes another ``dataset``, such as one of
    :class:`colbertv2.data.sources.stores.MemoryDocs`; a configuration names it as ``_target_``.

    Args:
        id: e.g. ``beir/scifact``, ``stdlib`` or ``folder:<path>``; ids with queries (``beir/scifact/test``) also do.
        empty: ``refuse`` or ``keep``: what to do with documents without text in a local folder.

    Raises:
        InputError: the id is unknown, has no documents, or its files can't be fetched; ``empty`` is neither; or it is
            ``refuse``, and a local folder has documents without text.

    >>> collection = Collection("stdlib")
    >>> doc_id, text = next(iter(collection))
    >>> collection.texts([doc_id]) == [text]
    True
    """

    def __init__(self, id: str, empty: str = "refuse") -> None:
        if empty not in EMPTY:
            raise InputError(f"empty is {empty!r}; expected {' or '.join(EMPTY)}.")
        self.id = id
        self.empty = empty
        self.opened: tuple[int, Any] | None = None
        self.left_out = 0
        if not self.dataset.has_docs():
            raise InputError(f"{id!r} has no documents; use an id that has them, such as its parent.")

    @cached_property
    def dataset(self) -> Any:
        """The ``ir_datasets`` data set that is read."""
        from colbertv2.data.opening import load

        return load(self.id)

    def __getstate__(self) -> dict[str, Any]:
        return {**without_cache(self), "opened": None}  # another process opens it anew

    def store(self) -> Any:
        """The built document store, opened once per process: a forked one would share the file position."""
        from colbertv2.data.opening import building, reading, unpack

        if self.opened is None or self.opened[0] != os.getpid():
            handler = self.dataset.docs_handler()
            with reading(self.id, handler), building():
                store = handler.docs_store()
                if hasattr(store, "build"):
                    if not store.built():
                        unpack(handler)
                    store.build()
                    if not store.built():
                        raise EOFError("no documents")
                if self.empty == "refuse" and hasattr(handler, "refuse_empty"):
                    handler.refuse_empty()
                nameless = len(store.get_many([""]))
                repeated = number_of_repetitions(store)
            if nameless and self.opened is None:
                logger.warning("%r has a document without an id, which is left out.", self.id)
            if repeated and self.opened is None:
                logger.warning("%r has %d documents under the id of another; the last is taken.", self.id, repeated)
            self.left_out = nameless + repeated
            self.opened = os.getpid(), store
        return self.opened[1]

    @cached_property
    def repeated(self) -> set[str]:
        """Ids under which there are several documents; they are looked for only where numbers show that there are."""
        seen: set[str] = set()
        number = number_of_repetitions(self.store())
        ids = (document.doc_id for document in self.dataset.docs_iter()) if number else ()
        return {doc_id for doc_id in ids if doc_id in seen or seen.add(doc_id)}

    def __len__(self) -> int:
        self.store()  # once it is built, ir_datasets counts the documents instead of quoting its metadata
        count = self.dataset.docs_count()
        return sum(1 for _ in self) if count is None else count - self.left_out

    def __iter__(self) -> Iterator[tuple[str, str]]:
        from colbertv2.data.opening import reading, text_of

        store, given = self.store(), set()
        with reading(self.id, self.dataset.docs_handler()):
            for document in self.dataset.docs_iter():
                if document.doc_id in self.repeated:
                    if document.doc_id in given:
                        continue
                    given.add(document.doc_id)
                    document = store.get(document.doc_id)
                if document.doc_id:
                    yield valid_id(document.doc_id, self.id), text_of(document)

    def texts(self, ids: Sequence[str]) -> list[str]:
        """The texts of ``ids``, in their order, repetitions included.

        Raises:
            InputError: an id is unknown.
        """
        from colbertv2.data.opening import text_of

        found = self.store().get_many(set(ids))
        if missing := [doc_id for doc_id in ids if doc_id not in found]:
            raise InputError(
                f"{self.id!r} has no document {', '.join(map(repr, missing[:5]))} ({len(missing)} unknown)."
            )
        return [text_of(found[doc_id]) for doc_id in ids]

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Those of ``ids`` that name no document."""
        found = self.store().get_many(set(ids))
        return [doc_id for doc_id in ids if doc_id not in found]

    def size(self) -> dict[str, Any]:
        """How many ``texts`` there are and how long they are in characters: for plans (``text_size``)."""
        return text_size(self.id, len(self), self)

    def identity(self) -> dict[str, str | int]:
        """What decides the content: SHA-256 of ids and texts, and their number.

        The hash covers all documents up to 100,000, else the first 100,000 (then the number stands for the rest).
        It is computed once per process, for a local folder once per fingerprint of its file.
        """
        from colbertv2.data.opening import content_digest

        handler = self.dataset.docs_handler()
        key = type(self), self.id, self.empty, handler.fingerprint() if hasattr(handler, "fingerprint") else ""
        if key not in IDENTITIES:
            digest = content_digest(islice(self, HASHED_DOCUMENTS))
            IDENTITIES[key] = {"documents": len(self), "sha256": digest}
        return dict(IDENTITIES[key])


def number_of_repetitions(store: Any) -> int:
    """How many of a store's documents have the id of one before them; 0 for a store without an index of ids."""
    lookup: Any = getattr(store, "lookup", None)
    return len(lookup) - len(lookup.idx()) if hasattr(lookup, "idx") else 0


def is_empty(text: str) -> bool:
    """Whether a document has no text: it gets no vectors, and no system finds it.

    >>> is_empty(" \\n"), is_empty(".")
    (True, False)
    """
    return not text.strip()


def without_cache(instance: object) -> dict[str, Any]:
    """The attributes of an object but for its cached properties, which another process computes anew."""
    cached = {
        name
        for one in type(instance).__mro__
        for name, value in vars(one).items()
        if isinstance(value, cached_property)
    }
    return {name: value for name, value in vars(instance).items() if name not in cached}


SAMPLED_TEXTS, READ_TEXTS = 300, 20_000  # texts whose length is looked at, evenly spread over the first ones
SIZES: dict[tuple[str, int], dict[str, Any]] = {}


def sampled(texts: Sized, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Some hundred of ``pairs`` (id, text), evenly spread over the first twenty thousand."""
    count = min(len(texts), READ_TEXTS)
    return list(islice(pairs, 0, count, max(1, count // SAMPLED_TEXTS)))


def text_size(id: str, number: int, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """``texts``, their number; ``characters``, their mean length; ``lengths``, nine deciles; estimated once."""
    if (id, number) not in SIZES:
        sample = sampled(range(number), pairs)
        lengths = sorted(len(text) for _, text in sample) or [0]
        deciles = [lengths[place * (len(lengths) - 1) // 10] for place in range(1, 10)]
        SIZES[id, number] = {
            "texts": number,
            "characters": round(sum(lengths) / len(lengths), 1),
            "lengths": deciles,
        }
    return SIZES[id, number]


def valid_id(value: str, dataset_id: str) -> str:
    """``value``, if it can stand in a TREC run file: not empty and without whitespace."""
    if not is_id(value):
        raise InputError(f"{dataset_id!r} has the id {value!r}; ids must not be empty or hold whitespace.")
    return value
