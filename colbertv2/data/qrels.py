"""``Qrels``: relevance judgements."""

import logging
from collections.abc import Iterator, Mapping

from colbertv2.data.collection import Collection

LOOKED_UP = 1000  # relevant documents, when a collection is compared
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

    def mismatch(self, collection: Collection) -> list[str]:
        """Why these judgements can't be of ``collection``, in a sentence: it lacks most of the relevant documents.

        At most 1,000 of them are looked up. If no more than half are missing there is but a warning: released
        benchmarks do lack some.
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
        """The judged documents that ``collection`` lacks; a warning counts them.

        A local folder has none (they are refused when it is read); released benchmarks do have some.
        """
        judged = sorted({doc_id for grades in self.judgements.values() for doc_id in grades})
        missing = collection.missing(judged)
        if missing:
            logger.warning("%d of %d judged documents are not in %r.", len(missing), len(judged), collection.id)
        return missing
