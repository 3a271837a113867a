"""``Queries``: the queries of an ``ir_datasets`` id, with their judgements."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from colbertv2.data.collection import valid_id
from colbertv2.data.qrels import Qrels
from colbertv2.data.source import content_digest, load, reading, text_of
from colbertv2.errors import InputError

PARTS = ("train", "dev")


class Queries:
    """The queries of an ``ir_datasets`` id as ``(query_id, text)``, in the order of the source.

    Where the id has judgements, only queries with at least one relevant document are kept, unless ``unlabelled``.

    Args:
        id: e.g. ``beir/scifact/train``, ``stdlib/dev`` or ``folder:<path>/<split>``.
        part: ``dev`` takes the share ``hold_out`` of the queries, chosen by a hash of the query id; ``train`` takes
            the others; ``None`` takes all.
        hold_out: between 0 and 1; 0 where ``part`` is ``None``.
        unlabelled: keep queries without a relevant document, too: in training, the passage that the teacher scores
            best is then their positive (ColBERTv2 §3.2).

    Raises:
        InputError: the id is unknown, has no queries, or its files can't be fetched; ``part`` and ``hold_out`` do
            not fit together; no query is left.

    >>> train = Queries("stdlib/train", part="train", hold_out=0.2)
    >>> dev = Queries("stdlib/train", part="dev", hold_out=0.2)
    >>> len(train) + len(dev) == len(Queries("stdlib/train"))
    True
    """

    def __init__(
        self, id: str | None, part: str | None = None, hold_out: float = 0.0, unlabelled: bool = False
    ) -> None:
        if part is not None and part not in PARTS:
            raise InputError(f"part is {part!r}; expected train, dev or null.")
        if not (0 < hold_out < 1 if part else hold_out == 0):
            raise InputError(
                f"hold_out is {hold_out} with part {part!r}; expected a share between 0 and 1 with part train or dev, "
                "and 0 without."
            )
        self.dataset = load(id)
        self.id = str(id)
        self.part = part
        self.hold_out = hold_out
        self.unlabelled = unlabelled
        if not self.dataset.has_queries():
            raise InputError(f"{id!r} has no queries; use one of its splits, such as {id}/test.")

    def __reduce__(self) -> tuple:
        return Queries, (self.id, self.part, self.hold_out, self.unlabelled)  # another process opens them anew

    @cached_property
    def judgements(self) -> dict[str, dict[str, int]]:
        """All judgements of the id; empty where it has none."""
        if not self.dataset.has_qrels():
            return {}
        found: dict[str, dict[str, int]] = {}
        with reading(self.id, self.dataset.qrels_handler()):
            for judgement in self.dataset.qrels_iter():
                found.setdefault(judgement.query_id, {})[judgement.doc_id] = judgement.relevance
        return found

    @cached_property
    def by_id(self) -> dict[str, str]:
        """Query id → text of the queries that are kept."""
        judged = self.dataset.has_qrels()
        with reading(self.id, self.dataset.queries_handler()):
            records: list[Any] = list(self.dataset.queries_iter())
        kept = {
            valid_id(record.query_id, self.id): text_of(record)
            for record in records
            if self.in_part(record.query_id)
            and (
                self.unlabelled
                or not judged
                or any(grade > 0 for grade in self.judgements.get(record.query_id, {}).values())
            )
        }
        if not kept:
            wanted = f" in part {self.part!r} of hold_out {self.hold_out}" if self.part else ""
            raise InputError(f"{self.id!r} has no query with a relevant document{wanted}, of {len(records)} queries.")
        return kept

    def in_part(self, query_id: str) -> bool:
        """Whether a query belongs to this part."""
        if self.part is None:
            return True
        share = int.from_bytes(hashlib.sha256(query_id.encode()).digest()[:8], "big") / 2**64
        return (share < self.hold_out) == (self.part == "dev")

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

    def identity(self) -> dict[str, str | int]:
        """What decides the content: SHA-256 of ids, texts and judgements, and the number of queries."""
        return dict(self.content)

    @cached_property
    def content(self) -> dict[str, str | int]:
        """``identity``, computed once."""
        judgements = self.judgements if self.dataset.has_qrels() else {}
        rows = ([query_id, text, sorted(judgements.get(query_id, {}).items())] for query_id, text in self)
        return {"queries": len(self), "sha256": content_digest(rows)}
