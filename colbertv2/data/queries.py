"""``Queries``: the queries of an ``ir_datasets`` id, with their judgements (``Qrels``) and pools.

A pool says which documents a query is searched among, where that is not the whole collection. Documents and queries of
such an id have the field ``pool_id``; in PeerQA it is the paper. A pool has no address of its own: ids must tell pools
apart, as those of PeerQA do.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from colbertv2.data.collection import Collection, text_size, valid_id, without_cache
from colbertv2.data.readers import Faults, lines
from colbertv2.errors import InputError
from colbertv2.files import sha256

LOOKED_UP = 1000  # relevant documents that are looked up in a collection
logger = logging.getLogger(__name__)
PARTS = ("train", "dev")
PROTOCOLS = ("trec", "beir", "peerqa", "dpr", "dpr_regex", "dpr_title")  # as colbertv2.evaluation.protocols has them


class Qrels(Mapping[str, Mapping[str, int]]):
    """Judgements: query id → {document id: grade}; a grade above 0 is relevant.

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
        """The relevant documents of a query, highest grade first, then by id; none for an unknown query."""
        grades = self.judgements.get(query_id, {})
        return sorted((doc_id for doc_id in grades if grades[doc_id] > 0), key=lambda doc_id: (-grades[doc_id], doc_id))

    def mismatch(self, collection: Collection) -> list[str]:
        """One sentence if these judgements can't be of ``collection``, since it lacks most of the relevant documents.

        At most ``LOOKED_UP`` of them are looked up. If half or fewer are missing, a warning is logged and the list is
        empty: released benchmarks do lack some.
        """
        relevant = sorted({doc_id for query_id in self for doc_id in self.relevant(query_id)})
        looked_up = relevant[:: len(relevant) // LOOKED_UP + 1]
        missing = collection.missing(looked_up)
        if 2 * len(missing) > len(looked_up):
            return [
                f"{collection.id!r} lacks {len(missing)} of {len(looked_up)} documents that are judged relevant, such "
                f"as {missing[0]!r}: the judgements are of other documents, or of another version of these. Give "
                "documents and queries that belong together."
            ]
        if missing:
            logger.warning("%r lacks %d of %d relevant documents.", collection.id, len(missing), len(looked_up))
        return []

    def unknown(self, collection: Collection) -> list[str]:
        """The judged documents that ``collection`` lacks; a warning gives their number.

        A local folder has none, as reading it refuses them; released benchmarks do have some.
        """
        judged = sorted({doc_id for grades in self.judgements.values() for doc_id in grades})
        missing = collection.missing(judged)
        if missing:
            logger.warning("%d of %d judged documents are not in %r.", len(missing), len(judged), collection.id)
        return missing


class Queries:
    """The queries of an ``ir_datasets`` id as ``(query_id, text)``, in the order of the source.

    Where the id has judgements, only queries with at least one relevant document are kept, unless ``unlabelled`` or
    judged by their answers. Queries from elsewhere are a subclass that makes another ``dataset``.

    Args:
        id: e.g. ``beir/scifact/train``, ``stdlib/dev`` or ``folder:<path>/<split>``.
        part: ``dev`` takes the share ``dev_fraction`` of the queries, chosen by a hash of the query id; ``train`` takes
            the others; ``None`` takes all.
        dev_fraction: between 0 and 1; 0 where ``part`` is ``None``.
        unlabelled: keep queries without a relevant document, too: in training, the passage that the teacher scores
            best is then their positive (ColBERTv2 §3.2).
        protocol: how the benchmark judges a ranking of these queries, one of ``PROTOCOLS``
            (:mod:`colbertv2.evaluation.protocols`).
        ids: a file that names, one a line, the queries to keep; ``None`` keeps all.

    Raises:
        InputError: the id is unknown, has no queries, or its files can't be fetched; ``part`` and ``dev_fraction`` do
            not fit together; the protocol is unknown; ``ids`` names an unknown query; no query is left.

    >>> train = Queries("stdlib/train", part="train", dev_fraction=0.2)
    >>> dev = Queries("stdlib/train", part="dev", dev_fraction=0.2)
    >>> len(train) + len(dev) == len(Queries("stdlib/train"))
    True
    """

    def __init__(
        self,
        id: str | None,
        part: str | None = None,
        dev_fraction: float = 0.0,
        unlabelled: bool = False,
        protocol: str = "trec",
        ids: str | None = None,
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
        if not self.dataset.has_queries():
            raise InputError(f"{id!r} has no queries; use one of its splits, such as {id}/test.")

    @cached_property
    def dataset(self) -> Any:
        """The ``ir_datasets`` data set that is read."""
        from colbertv2.data.opening import load

        return load(self.id or None)

    def __getstate__(self) -> dict[str, Any]:
        return without_cache(self)  # another process opens them anew

    @property
    def by_answers(self) -> bool:
        """Whether a passage is relevant if it holds an answer, whatever was labelled."""
        return self.protocol.startswith("dpr")

    @cached_property
    def judgements(self) -> dict[str, dict[str, int]]:
        """All judgements of the id; empty where it has none."""
        from colbertv2.data.opening import reading

        if not self.dataset.has_qrels():
            return {}
        found: dict[str, dict[str, int]] = {}
        with reading(self.id, self.dataset.qrels_handler()):
            for judgement in self.dataset.qrels_iter():
                found.setdefault(judgement.query_id, {})[judgement.doc_id] = judgement.relevance
        return found

    def records(self) -> dict[str, Any]:
        """Query id → record of ``ir_datasets``, of the queries that are kept; read anew at each call."""
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
        """Query id → text of the queries that are kept."""
        from colbertv2.data.opening import text_of

        return {valid_id(query_id, self.id): text_of(record) for query_id, record in self.records().items()}

    @cached_property
    def answers(self) -> dict[str, tuple[str, ...]]:
        """Query id → the strings that answer it.

        Raises:
            InputError: the id's queries come without answers.
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
        """The texts of ``ids``, in their order.

        Raises:
            InputError: an id is unknown.
        """
        if missing := [query_id for query_id in ids if query_id not in self.by_id]:
            raise InputError(f"{self.id!r} has no query {', '.join(map(repr, missing[:5]))} ({len(missing)} unknown).")
        return [self.by_id[query_id] for query_id in ids]

    @cached_property
    def qrels(self) -> Qrels:
        """The judgements of the queries that are kept.

        Raises:
            InputError: the id has no judgements.
        """
        if not self.dataset.has_qrels() and not self.unlabelled:
            raise InputError(
                f"{self.id!r} has no relevance judgements; evaluation needs an id that has, and training one that has "
                "or unlabelled=true and a teacher."
            )
        return Qrels({query_id: self.judgements.get(query_id, {}) for query_id in self.by_id})

    def size(self) -> dict[str, Any]:
        """How many ``texts`` there are and how long they are in characters: for plans (``text_size``)."""
        return text_size(self.id, len(self), self)

    def identity(self) -> dict[str, str | int]:
        """What decides the content: SHA-256 of ids, texts and judgements (and answers), and the number of queries.

        A protocol other than trec's takes part by its name.
        """
        return dict(self.content)

    @cached_property
    def content(self) -> dict[str, str | int]:
        """``identity``, computed once."""
        from colbertv2.data.opening import content_digest

        judgements = self.judgements if self.dataset.has_qrels() else {}
        rows = [[query_id, text, sorted(judgements.get(query_id, {}).items())] for query_id, text in self]
        if self.by_answers:
            rows = [[*row, self.answers[row[0]]] for row in rows]
        named = {} if self.protocol == "trec" else {"protocol": self.protocol}
        return {"queries": len(self), "sha256": content_digest(rows), **named}


def read_ids(path: Path, known: Container[str], dataset_id: str) -> set[str]:
    """The query ids of a file.

    Raises:
        InputError: there is no such file, or it names, line by line, what is no query of ``known`` or stands twice.
    """
    faults = Faults(path)
    found: set[str] = set()
    for number, line in lines(path, faults):
        query_id = line.strip()
        if query_id not in known:
            faults.add(number, f"{dataset_id!r} has no query {query_id!r}")
        elif query_id in found:
            faults.add(number, f"the query {query_id!r} stands there twice")
        found.add(query_id)
    faults.finish()
    return found


def differ(first: Collection | Queries, second: Collection | Queries) -> bool:
    """Whether two have different content; what is one object in the configuration is not read for it."""
    return first is not second and first.identity() != second.identity()


def query_pools(queries: Queries) -> dict[str, str]:
    """Query id → its pool (``pool_id``), in the order of ``queries``.

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
    """Document id → its pool (``pool_id``), in corpus order, for the documents of the id of ``queries``.

    Raises:
        InputError: the id has no documents, or they have no ``pool_id``.
    """
    from colbertv2.data.opening import reading

    dataset = queries.dataset
    require_pools(queries.id, "documents", dataset.docs_cls() if dataset.has_docs() else None)
    with reading(queries.id, dataset.docs_handler()):
        return {document.doc_id: document.pool_id for document in dataset.docs_iter()}


def require_pools(dataset_id: str, kind: str, record: type | None) -> None:
    """Refuse records without a pool.

    Args:
        kind: ``queries`` or ``documents``, for the message.
        record: the named tuple that the records are; None if there are none.

    Raises:
        InputError: ``record`` has no ``pool_id``.
    """
    if "pool_id" not in getattr(record, "_fields", ()):
        raise InputError(
            f"The {kind} of {dataset_id!r} have no pool_id, so nothing says which documents belong to which query; "
            "use collection=peerqa, or another pipeline."
        )
