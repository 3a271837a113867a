"""``Collection``: the documents of an ``ir_datasets`` id."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from functools import cached_property
from itertools import islice
from typing import Any

from colbertv2.data.readers import is_id
from colbertv2.errors import InputError
from colbertv2.schema import MaxLength

HASHED_DOCUMENTS = 100_000
EMPTY = ("refuse", "keep")
IDENTITIES: dict[tuple[type, str, str, str], dict[str, Any]] = {}  # key: class, id, ``empty``, fingerprint
logger = logging.getLogger(__name__)


class Collection:
    """The documents of an ``ir_datasets`` id, in corpus order, as pairs ``(doc_id, text)``.

    The text is the record's ``default_text()``, or its ``text`` if it has no such method. Documents are streamed from
    ``ir_datasets``' store on disk, so the corpus is never held in memory. The store is built at first use, under a
    lock.

    Released collections are used as they are, with three rules. A document without an id (a leading blank line in a
    benchmark's file creates one) can't appear in judgements or in a run file, so it is left out, with a warning. If
    several documents share an id, the last one is used, in the position of the first, as in BEIR's loader, with a
    warning. Documents without text (FiQA has 38) are kept: they have no vectors, and no system finds them.

    To use documents from another source, write a subclass that overrides ``dataset``, for example with one of
    :class:`colbertv2.data.sources.stores.MemoryDocs`, and name it as ``_target_`` in the configuration.

    Args:
        id: e.g. ``beir/scifact``, ``stdlib`` or ``folder:<path>``; an id with queries (``beir/scifact/test``) works
            too.
        empty: what to do with documents without text in a local folder: ``refuse`` or ``keep`` them.
        prompt: text that ColBERT models put before every document, such as ``"passage: "``; ``None`` leaves the
            model's own ``document_prompt``. No other system sees it.
        maxlen: tokens at which ColBERT models cut the documents; ``None`` leaves the model's own ``document_maxlen``.

    Raises:
        InputError: the id is unknown or has no documents, its files can't be fetched, or ``empty`` is not one of the
            two values. With ``refuse``, opening the documents (not this constructor) raises it for a local folder that
            has documents without text.

    >>> collection = Collection("stdlib")
    >>> doc_id, text = next(iter(collection))
    >>> collection.texts([doc_id]) == [text]
    True
    """

    prompt: str | None = None
    maxlen: int | None = None

    def __init__(
        self, id: str, empty: str = "refuse", prompt: str | None = None, maxlen: MaxLength | None = None
    ) -> None:
        if empty not in EMPTY:
            raise InputError(f"empty is {empty!r}; expected {' or '.join(EMPTY)}.")
        self.id = id
        self.empty = empty
        self.prompt = prompt
        self.maxlen = maxlen
        self.opened: tuple[int, Any] | None = None
        self.left_out = 0
        if not self.dataset.has_docs():
            raise InputError(f"{id!r} has no documents; use an id that has them, such as its parent.")

    @cached_property
    def dataset(self) -> Any:
        """The ``ir_datasets`` dataset that the documents are read from."""
        from colbertv2.data.opening import load

        return load(self.id)

    def __getstate__(self) -> dict[str, Any]:
        return {**without_cache(self), "opened": None}  # another process must open its own store

    def store(self) -> Any:
        """Return the built document store; each process opens its own, as forked ones would share a file position."""
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
                logger.warning("%r has %d documents with the id of another; the last is used.", self.id, repeated)
            self.left_out = nameless + repeated
            self.opened = os.getpid(), store
        return self.opened[1]

    @cached_property
    def repeated(self) -> set[str]:
        """Ids that several documents share; the documents are scanned only if the store's counts show repetitions."""
        seen: set[str] = set()
        number = number_of_repetitions(self.store())
        ids = (document.doc_id for document in self.dataset.docs_iter()) if number else ()
        return {doc_id for doc_id in ids if doc_id in seen or seen.add(doc_id)}

    def __len__(self) -> int:
        self.store()  # once the store is built, ir_datasets counts its documents instead of quoting the metadata
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
        """Return the texts of ``ids``, in that order, repetitions included.

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
        """Return those of ``ids`` that are not ids of a document, in the given order."""
        found = self.store().get_many(set(ids))
        return [doc_id for doc_id in ids if doc_id not in found]

    def size(self) -> dict[str, Any]:
        """Return the number of texts and estimates of their length in characters, as ``text_size`` does, for plans."""
        return text_size(self.id, len(self), self)

    def identity(self) -> dict[str, Any]:
        """Return what identifies the content: the number of ``documents``, a ``sha256`` of ids and texts.

        A prompt and a length are included if they are set.

        The hash covers the first 100,000 documents. For a larger collection the identity of its ``source`` is added if
        its handler has a method ``identity``, as that of Hugging Face's tables; otherwise only the number covers the
        other documents. It is computed once per process, or once per fingerprint of the file for a local folder.
        """
        from colbertv2.data.opening import content_digest

        handler = self.dataset.docs_handler()
        key = type(self), self.id, self.empty, handler.fingerprint() if hasattr(handler, "fingerprint") else ""
        if key not in IDENTITIES:
            digest = content_digest(islice(self, HASHED_DOCUMENTS))
            beyond = len(self) > HASHED_DOCUMENTS and hasattr(handler, "identity")
            source = handler.identity() if beyond else None
            IDENTITIES[key] = {
                "documents": len(self),
                "sha256": digest,
                **({} if source is None else {"source": source}),
            }
        return {**IDENTITIES[key], **text_settings(self)}


def text_settings(texts: Any) -> dict[str, Any]:
    """The ``prompt`` and the ``maxlen`` of a collection or of queries, as far as they are set."""
    given = {"prompt": texts.prompt, "maxlen": texts.maxlen}
    return {name: value for name, value in given.items() if value is not None}


def number_of_repetitions(store: Any) -> int:
    """Count the documents of a store that repeat the id of an earlier one; 0 if the store has no index of ids."""
    lookup: Any = getattr(store, "lookup", None)
    return len(lookup) - len(lookup.idx()) if hasattr(lookup, "idx") else 0


def is_empty(text: str) -> bool:
    """Whether a document has no text but whitespace. Such a document has no vectors, and no system finds it.

    >>> is_empty(" \\n"), is_empty(".")
    (True, False)
    """
    return not text.strip()


def without_cache(instance: object) -> dict[str, Any]:
    """The attributes of an object without its cached properties, which another process computes again."""
    cached = {
        name
        for one in type(instance).__mro__
        for name, value in vars(one).items()
        if isinstance(value, cached_property)
    }
    return {name: value for name, value in vars(instance).items() if name not in cached}


SAMPLED_TEXTS, READ_TEXTS = 300, 20_000  # lengths are estimated from some 300 of the first 20,000 texts
SIZES: dict[tuple[str, int], dict[str, Any]] = {}


def sampled(texts: Sized, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """A few hundred of ``pairs`` (id, text), evenly spread over the first 20,000; all of them if there are fewer."""
    count = min(len(texts), READ_TEXTS)
    return list(islice(pairs, 0, count, max(1, count // SAMPLED_TEXTS)))


def text_size(id: str, number: int, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Estimate, once per process, the lengths of texts in characters.

    Args:
        id: the name under which the result is remembered, together with ``number``.
        number: how many texts there are.
        pairs: the texts as ``(id, text)``; at most the first 20,000 are read.

    Returns:
        ``texts``, their number; ``characters``, their mean length; ``lengths``, the nine deciles of the lengths.
    """
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
    """Return ``value`` if it can be an id in a TREC run file.

    Raises:
        InputError: it is empty or contains whitespace.
    """
    if not is_id(value):
        raise InputError(f"{dataset_id!r} has the id {value!r}; ids must not be empty or contain whitespace.")
    return value
