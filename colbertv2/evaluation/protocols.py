"""How the benchmarks judge: what of a ranking counts, and against which judgements.

- ``trec``: all of it, against the labels; a judged query without results is zero. So are MS MARCO and LoTTE judged.
- ``beir``: likewise, without the document that has the query's own id (BEIR's ``ignore_identical_ids``, which it sets
  for all its data sets; in ArguAna and Quora a query is itself in the corpus and would come first).
- ``peerqa``: likewise, but a query that the ranking lacks is left out of the mean (PeerQA, NAACL 2025).
- ``dpr``: a document is relevant if its text holds an answer (:mod:`colbertv2.evaluation.answers`), and every query
  counts, found or not. Of a ranking the first 1,000 documents are looked at. The measure is Success@k: nobody knows of
  the answers beyond them, so recall means nothing.
- ``dpr_regex``: the answers are regular expressions (CuratedTREC).
- ``dpr_title``: as ``dpr``, in title and text, as the official ColBERT code judges.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from colbertv2.data.collection import Collection
from colbertv2.data.qrels import Qrels
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.answers import Matcher, regex_matcher, token_matcher
from colbertv2.evaluation.ranking import Ranking

LOOKED_AT = 1000  # documents of a ranking
Judged = tuple[Ranking, Mapping[str, Mapping[str, int]]]


def judged(ranking: Ranking, queries: Queries) -> Judged:
    """The ranking to judge and the judgements to judge it by, as ``queries.protocol`` says.

    Raises:
        InputError: there are no judgements, or no answers or no documents where the protocol looks for them.

    >>> ranking = Ranking({"q-bisect:insort_right": [("bisect:insort_right", 1.0)]})
    >>> ranked, qrels = judged(ranking, Queries("stdlib/test"))
    >>> ranked is ranking, len(qrels) == len(Queries("stdlib/test"))
    (True, True)
    """
    return RULES[queries.protocol](ranking, queries)


def unjudgeable(queries: Queries) -> Iterator[str]:
    """Why the protocol can't judge these queries, one sentence a reason, before there is any ranking.

    Raises:
        InputError: judgements or answers can't be read.
    """
    if queries.by_answers:
        _ = queries.answers
        if not queries.dataset.has_docs():
            yield f"{queries.id!r} has no documents to look for answers in."
    elif not queries.judgements:
        yield f"{queries.id!r} has no relevance judgements to evaluate against."


def trec(ranking: Ranking, queries: Queries) -> Judged:
    return ranking, queries.qrels


def beir(ranking: Ranking, queries: Queries) -> Judged:
    others = {query_id: [result for result in found if result[0] != query_id] for query_id, found in ranking.items()}
    return Ranking(others), queries.qrels


def peerqa(ranking: Ranking, queries: Queries) -> Judged:
    return ranking, Qrels({query_id: grades for query_id, grades in queries.qrels.items() if query_id in ranking})


def by_answers(matcher: Callable[..., Matcher], text: Callable[[Any], str]) -> Callable[[Ranking, Queries], Judged]:
    """The rule that looks in ``text`` of each document's record with what ``matcher`` makes of a query's answers."""

    def rule(ranking: Ranking, queries: Queries) -> Judged:
        store = Collection(queries.id).store()
        relevant: dict[str, dict[str, int]] = {}
        for query_id, answers in queries.answers.items():  # the texts of one query at a time
            holds = matcher(answers)
            found = [doc_id for doc_id, _ in ranking.get(query_id, ())[:LOOKED_AT]]
            records = store.get_many(set(found))
            if unknown := [doc_id for doc_id in found if doc_id not in records]:
                raise InputError(
                    f"The ranking has documents that {queries.id!r} has not, such as {unknown[0]!r}: there is no text "
                    "of them to look for answers in. Give the queries the id of the documents that were searched."
                )
            relevant[query_id] = {doc_id: 1 for doc_id in found if holds(text(records[doc_id]))}
        return ranking, Qrels(relevant)

    return rule


def text_alone(record: Any) -> str:
    """The text of a document without its title."""
    from colbertv2.data.opening import text_of

    return record.text if hasattr(record, "text") else text_of(record)


def title_and_text(record: Any) -> str:
    """As the official ColBERT code writes a passage."""
    title = getattr(record, "title", "")
    return f"{title} | {text_alone(record)}" if title else text_alone(record)


RULES: dict[str, Callable[[Ranking, Queries], Judged]] = {
    "trec": trec,
    "beir": beir,
    "peerqa": peerqa,
    "dpr": by_answers(token_matcher, text_alone),
    "dpr_regex": by_answers(regex_matcher, text_alone),
    "dpr_title": by_answers(token_matcher, title_and_text),
}
