"""``Qrels``: relevance judgements."""

import logging
from collections.abc import Iterator, Mapping

from colbertv2.data.collection import Collection

logger = logging.getLogger(__name__)


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

    def unknown(self, collection: Collection) -> list[str]:
        """The judged documents that ``collection`` lacks; a warning counts them.

        A local folder has none (they are refused when it is read); released benchmarks do have some.
        """
        judged = sorted({doc_id for grades in self.judgements.values() for doc_id in grades})
        missing = collection.missing(judged)
        if missing:
            logger.warning("%d of %d judged documents are not in %r.", len(missing), len(judged), collection.id)
        return missing
