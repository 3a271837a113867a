"""``Queries``: the queries of an ``ir_datasets`` id, with their relevance judgements (``Qrels``) and pools.

A pool is the part of a collection that a query is searched in, if that is not the complete collection. Documents and
queries of such an id have the field ``pool_id``; in PeerQA it is the paper. The content hash of ``identity()`` does not
cover pools, so documents of different pools must differ in their ids, as PeerQA's do.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from colbertv2.data.collection import Collection, text_settings, text_size, valid_id, without_cache
from colbertv2.data.readers import Faults, lines
from colbertv2.errors import InputError
from colbertv2.files import sha256
from colbertv2.schema import MaxLength

LOOKED_UP = 1000  # at most this many relevant documents are looked up in a collection
logger = logging.getLogger(__name__)
PARTS = ("train", "dev")
PROTOCOLS = ("trec", "beir", "bright", "peerqa", "dpr", "dpr_regex", "dpr_title")  # see colbertv2.evaluation.protocols


class Qrels(Mapping[str, Mapping[str, int]]):
    """Relevance judgements: query id → {document id: grade}. A grade above 0 means relevant.

    >>> qrels = Qrels({"q": {"a": 1, "b": 2, "c": 0}})
    >>> qrels.relevant("q")
    ['b', 'a']
    """

    def __init__(self, judgements: Mapping[str, Mapping[str, int]]) -> None:
        self.judgements = judgements

    def __getitem__(self, query_id: str) -> Mapping[str, int]:
        return self.judgements[query_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.judgements)

    def __len__(self) -> int:
        return len(self.judgements)

    def __repr__(self) -> str:
        return f"Qrels({len(self)} queries, {sum(map(len, self.judgements.values()))} judgements)"

    def relevant(self, query_id: str) -> list[str]:
        """Return the relevant documents of a query, highest grade first, then by id; ``[]`` for an unknown query."""
        grades = self.judgements.get(query_id, {})
        return sorted((doc_id for doc_id in grades if grades[doc_id] > 0), key=lambda doc_id: (-grades[doc_id], doc_id))

    def mismatch(self, collection: Collection) -> list[str]:
        """Return one sentence if ``collection`` lacks more than half of the relevant documents, else ``[]``.

        At most ``LOOKED_UP`` of them, evenly spread, are looked up. If some but at most half are missing, a warning is
        logged instead, as released benchmarks do lack some.
        """
        relevant = sorted({doc_id for query_id in self for doc_id in self.relevant(query_id)})
        looked_up = relevant[:: len(relevant) // LOOKED_UP + 1]
        missing = collection.missing(looked_up)
        if 2 * len(missing) > len(looked_up):
            return [
                f"{collection.id!r} lacks {len(missing)} of {len(looked_up)} documents that are judged relevant, such "
                f"as {missing[0]!r}: the judgements are for other documents, or for another version of these. Use "
                "documents and queries that belong together."
            ]
        if missing:
            logger.warning(
                "%r lacks %d of %d relevant documents; no ranking can contain them.",
                collection.id,
                len(missing),
                len(looked_up),
            )
        return []

    def unknown(self, collection: Collection) -> list[str]:
        """Return the sorted ids of judged documents that ``collection`` lacks, and log a warning with their number.

        Local folders never have any, as reading their judgements raises an error; released benchmarks have some.
        """
        judged = sorted({doc_id for grades in self.judgements.values() for doc_id in grades})
        missing = collection.missing(judged)
        if missing:
            logger.warning("%d of %d judged documents are not in %r.", len(missing), len(judged), collection.id)
        return missing


class Queries:
    """The queries of an ``ir_datasets`` id as pairs ``(query_id, text)``, in the order of the source.

    If the id has judgements, only queries with at least one relevant document are kept, unless ``unlabelled`` is true
    or the protocol judges passages by the answers they contain. To use queries from another source, write a subclass
    that overrides ``dataset``.

    Args:
        id: e.g. ``beir/scifact/train``, ``stdlib/dev`` or ``folder:<path>/<split>``.
        part: ``dev`` selects the share ``dev_fraction`` of the queries, by a hash of the query id; ``train`` selects
            the others; ``None`` selects all.
        dev_fraction: between 0 and 1, exclusive; 0 if ``part`` is ``None``.
        unlabelled: also keep queries without a relevant document. In training, their positive is the passage with the
            highest teacher score (ColBERTv2 §3.2).
        protocol: how the benchmark evaluates a ranking of these queries, one of ``PROTOCOLS``
            (:mod:`colbertv2.evaluation.protocols`).
        ids: a file with the ids of the queries to keep, one per line; ``None`` keeps all.
        prompt: text that ColBERT models put before every query, such as ``"query: "``; ``None`` leaves the model's own
            ``query_prompt``. No other system sees it.
        maxlen: tokens at which ColBERT models cut the queries; ``None`` leaves the model's own ``query_maxlen``.

    Raises:
        InputError: the id is unknown or has no queries; ``part`` and ``dev_fraction`` do not fit together; or the
            protocol is unknown. Later, when the queries are read: their files can't be fetched, ``ids`` names an
            unknown query, or no query is left.

    >>> train = Queries("stdlib/train", part="train", dev_fraction=0.2)
    >>> dev = Queries("stdlib/train", part="dev", dev_fraction=0.2)
    >>> len(train) + len(dev) == len(Queries("stdlib/train"))
    True
    """

    prompt: str | None = None
    maxlen: int | None = None

    def __init__(
        self,
        id: str | None,
        part: str | None = None,
        dev_fraction: float = 0.0,
        unlabelled: bool = False,
        protocol: str = "trec",
        ids: str | None = None,
        prompt: str | None = None,
        maxlen: MaxLength | None = None,
    ) -> None:
        if part is not None and part not in PARTS:
            raise InputError(f"part is {part!r}; expected train, dev or null.")
        if not (0 < dev_fraction < 1 if part else dev_fraction == 0):
            raise InputError(
                f"dev_fraction is {dev_fraction} with part {part!r}; expected a number between 0 and 1 with part "
                "train or dev, and 0 without."
            )
        if protocol not in PROTOCOLS:
            raise InputError(f"protocol is {protocol!r}; expected one of {', '.join(PROTOCOLS)}.")
        self.id = id or ""
        self.part = part
        self.dev_fraction = dev_fraction
        self.unlabelled = unlabelled
        self.protocol = protocol
        self.ids = ids
        self.prompt = prompt
        self.maxlen = maxlen
        if not self.dataset.has_queries():
            raise InputError(f"{id!r} has no queries; use one of its splits, such as {id}/test.")

    @cached_property
    def dataset(self) -> Any:
        """The ``ir_datasets`` dataset that the queries are read from."""
        from colbertv2.data.opening import load

        return load(self.id or None)

    def __getstate__(self) -> dict[str, Any]:
        return without_cache(self)  # another process reads the queries again

    @property
    def by_answers(self) -> bool:
        """Whether a passage is relevant if it contains an answer, regardless of judgements (DPR's protocols)."""
        return self.protocol.startswith("dpr")

    @cached_property
    def judgements(self) -> dict[str, dict[str, int]]:
        """All judgements of the id, query id → {document id: grade}; empty if it has none."""
        from colbertv2.data.opening import reading

        if not self.dataset.has_qrels():
            return {}
        found: dict[str, dict[str, int]] = {}
        with reading(self.id, self.dataset.qrels_handler()):
            # Not dataset.qrels_iter(): bright's queries also have that method, with other judgements for its long sets.
            for judgement in self.dataset.qrels_handler().qrels_iter():
                found.setdefault(judgement.query_id, {})[judgement.doc_id] = judgement.relevance
        return found

    def records(self) -> dict[str, Any]:
        """Read the kept queries again and return query id → record of ``ir_datasets``.

        Raises:
            InputError: no query is left, or ``ids`` names an unknown query.
        """
        from colbertv2.data.opening import reading

        with reading(self.id, self.dataset.queries_handler()):
            found = {record.query_id: record for record in self.dataset.queries_iter()}
        wanted = found if self.ids is None else read_ids(Path(self.ids).expanduser(), found, self.id)
        everything = self.unlabelled or self.by_answers or not self.dataset.has_qrels()
        kept = {
            query_id: record
            for query_id, record in found.items()
            if query_id in wanted
            and self.in_part(query_id)
            and (everything or any(grade > 0 for grade in self.judgements.get(query_id, {}).values()))
        }
        if not kept:
            part = f" in part {self.part!r} of dev_fraction {self.dev_fraction}" if self.part else ""
            listed = f" among those of {self.ids}" if self.ids else ""
            raise InputError(
                f"{self.id!r} has no query with a relevant document{part}{listed}, of {len(found)} queries."
            )
        return kept

    @cached_property
    def by_id(self) -> dict[str, str]:
        """Query id → text, for the kept queries."""
        from colbertv2.data.opening import text_of

        return {valid_id(query_id, self.id): text_of(record) for query_id, record in self.records().items()}

    @cached_property
    def answers(self) -> dict[str, tuple[str, ...]]:
        """Query id → the strings that answer it, for the kept queries.

        Raises:
            InputError: the queries of the id have no answers.
        """
        records = self.records()
        if without := next((record for record in records.values() if not hasattr(record, "answers")), None):
            raise InputError(
                f"protocol is {self.protocol!r}, but the queries of {self.id!r} have no answers, only "
                f"{', '.join(without._fields)}; expected an id such as dpr-w100/natural-questions/dev or "
                "dpr-qas:<file>."
            )
        return {query_id: tuple(record.answers) for query_id, record in records.items()}

    def in_part(self, query_id: str) -> bool:
        """Whether a query belongs to this part."""
        if self.part is None:
            return True
        share = int(sha256(query_id.encode())[:16], 16) / 2**64
        return (share < self.dev_fraction) == (self.part == "dev")

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.by_id.items())

    def texts(self, ids: Sequence[str]) -> list[str]:
        """Return the texts of ``ids``, in that order.

        Raises:
            InputError: an id is unknown.
        """
        if missing := [query_id for query_id in ids if query_id not in self.by_id]:
            raise InputError(f"{self.id!r} has no query {', '.join(map(repr, missing[:5]))} ({len(missing)} unknown).")
        return [self.by_id[query_id] for query_id in ids]

    @cached_property
    def qrels(self) -> Qrels:
        """The judgements of the kept queries.

        Raises:
            InputError: the id has no judgements, and ``unlabelled`` is false.
        """
        if not self.dataset.has_qrels() and not self.unlabelled:
            raise InputError(
                f"{self.id!r} has no relevance judgements. To evaluate, use an id that has them; to train, use such an "
                "id, or unlabelled=true and a teacher."
            )
        return Qrels({query_id: self.judgements.get(query_id, {}) for query_id in self.by_id})

    def size(self) -> dict[str, Any]:
        """Return the number of texts and estimates of their length in characters, as ``text_size`` does, for plans."""
        return text_size(self.id, len(self), self)

    def identity(self) -> dict[str, str | int]:
        """Return what identifies the content: the number of ``queries`` and a ``sha256`` of ids, texts and judgements.

        With DPR's protocols the hash also covers the answers. A protocol other than ``trec`` is included by name, and
        so are a prompt and a length if they are set.
        """
        return {**self.content, **text_settings(self)}

    @cached_property
    def content(self) -> dict[str, str | int]:
        """The value of ``identity()``, computed once per instance."""
        from colbertv2.data.opening import content_digest

        judgements = self.judgements if self.dataset.has_qrels() else {}
        rows = [[query_id, text, sorted(judgements.get(query_id, {}).items())] for query_id, text in self]
        if self.by_answers:
            rows = [[*row, self.answers[row[0]]] for row in rows]
        named = {} if self.protocol == "trec" else {"protocol": self.protocol}
        return {"queries": len(self), "sha256": content_digest(rows), **named}


def read_ids(path: Path, known: Container[str], dataset_id: str) -> set[str]:
    """Read the query ids of a file, one per line.

    Raises:
        InputError: the file can't be read, or it has ids that are not in ``known`` or are repeated (with their lines).
    """
    faults = Faults(path)
    found: set[str] = set()
    for number, line in lines(path, faults):
        query_id = line.strip()
        if query_id not in known:
            faults.add(number, f"{dataset_id!r} has no query {query_id!r}")
        elif query_id in found:
            faults.add(number, f"the query {query_id!r} is listed twice")
        found.add(query_id)
    faults.finish()
    return found


def differ(first: Collection | Queries, second: Collection | Queries) -> bool:
    """Whether two collections or sets of queries differ in content; the same object is not read to find out."""
    return first is not second and first.identity() != second.identity()


def query_pools(queries: Queries) -> dict[str, str]:
    """Return query id → pool (``pool_id``), in the order of ``queries``.

    Raises:
        InputError: the queries have no ``pool_id``.
    """
    from colbertv2.data.opening import reading

    dataset = queries.dataset
    require_pools(queries.id, "queries", dataset.queries_cls())
    with reading(queries.id, dataset.queries_handler()):
        pools = {query.query_id: query.pool_id for query in dataset.queries_iter()}
    return {query_id: pools[query_id] for query_id, _ in queries}


def document_pools(queries: Queries) -> dict[str, str]:
    """Return document id → pool (``pool_id``), in corpus order, for the documents of the id of ``queries``.

    Raises:
        InputError: the id has no documents, or they have no ``pool_id``.
    """
    from colbertv2.data.opening import reading

    dataset = queries.dataset
    require_pools(queries.id, "documents", dataset.docs_cls() if dataset.has_docs() else None)
    with reading(queries.id, dataset.docs_handler()):
        return {document.doc_id: document.pool_id for document in dataset.docs_iter()}


def require_pools(dataset_id: str, kind: str, record: type | None) -> None:
    """Raise an error if records have no pool.

    Args:
        kind: ``queries`` or ``documents``, for the message.
        record: the named tuple type of the records; None if there are no records.

    Raises:
        InputError: ``record`` has no ``pool_id``.
    """
    if "pool_id" not in getattr(record, "_fields", ()):
        raise InputError(
            f"The {kind} of {dataset_id!r} have no pool_id, which says which documents belong to which query; "
            "use collection=peerqa, or another pipeline."
        )
