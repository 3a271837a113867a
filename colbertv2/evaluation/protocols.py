"""The evaluation protocols of the benchmarks: which part of a ranking counts, and what makes a document relevant.

- ``trec``: the complete ranking counts, against the relevance labels. A judged query without results counts as zero.
  MS MARCO and LoTTE use this protocol.
- ``beir``: as ``trec``, but the document with the query's own id is removed (BEIR's ``ignore_identical_ids``, which
  BEIR sets for all its data sets; in ArguAna and Quora the queries are in the corpus and would come first).
- ``bright``: as ``trec``, but the documents that a query excludes are removed from its ranking (BRIGHT, ICLR 2025: the
  problem that the query was made from, and its like). ``ir_datasets`` gives them the grade −100. A ranking is as deep
  as what is left of it.
- ``peerqa``: as ``trec``, but a query that is missing from the ranking is left out of the mean (PeerQA, NAACL 2025).
- ``dpr``: a document is relevant if its text contains an answer. Every query counts, with or without a match. Only the
  first 1,000 documents of a ranking are examined. The measure is Success@k; recall is undefined, because nobody knows
  which other documents contain answers.
- ``dpr_regex``: as ``dpr``, but the answers are regular expressions (CuratedTREC).
- ``dpr_title``: as ``dpr``, but title and text are searched, as in the official ColBERT code.

The test for an answer is that of DPR (Karpukhin et al., EMNLP 2020; ``qa_validation`` in its code). Passage and answer
are normalised to Unicode NFD and cut into tokens: a run of letters, digits and marks, or any other single character
that is neither space nor control. The answer's lower-cased tokens must occur in the passage one after the other. DPR
searches the passage's text only. The official ColBERT code (``annotate_EM``) searches ``title | text``, so an answer
in the title counts. Both find an answer without tokens in every text; here it is found in none.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any
from unicodedata import category, normalize

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Qrels, Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.measures import parsed_measure
from colbertv2.evaluation.ranking import Ranking

Matcher = Callable[[str], bool]
BETWEEN = "\0"  # a control character, so no token contains it
EXCLUDED = -100  # ir_datasets' grade of a document that BRIGHT excludes for a query
BY_ANSWERS = "dpr"  # how the names of protocols by answers begin
DEFINED_BY_ANSWERS = ("Success", "RR", "P")
LOOKED_AT = 1000  # documents per query that are searched for answers
Judged = tuple[Ranking, Mapping[str, Mapping[str, int]]]


def tokens(text: str) -> list[str]:
    """The lower-cased tokens of a text, cut as DPR cuts them.

    >>> tokens("Brahms's 4th,  in E-minor")
    ['brahms', "'", 's', '4th', ',', 'in', 'e', '-', 'minor']
    """
    return [token.lower() for token in cut(normalize("NFD", text))]


def cut(text: str) -> Iterator[str]:
    """The tokens of a text, in order and unchanged."""
    for in_word, run in groupby(text, key=lambda character: category(character)[0] in "LNM"):
        if in_word:
            yield "".join(run)
        else:
            yield from (character for character in run if category(character)[0] not in "ZC")


def token_matcher(answers: Sequence[str]) -> Matcher:
    """Make a function that says whether a text contains the tokens of one of ``answers``, one after the other.

    An answer without tokens matches no text.

    >>> has_answer = token_matcher(["New York"])
    >>> has_answer("He left NEW\\nYORK."), has_answer("a new Yorker")
    (True, False)
    """
    wanted = [found for found in map(tokens, answers) if found]
    rows = [joined(found) for found in wanted]
    parts = [[token.casefold() for token in found] for found in wanted]

    def matches(text: str) -> bool:
        folded = normalize("NFD", text).casefold()
        # Most passages do not contain the tokens anywhere; that check is a thousand times as fast as tokenising.
        likely = [row for row, needed in zip(rows, parts, strict=True) if all(part in folded for part in needed)]
        if not likely:
            return False
        row = joined(tokens(text))
        return any(answer in row for answer in likely)

    return matches


def joined(found: Sequence[str]) -> str:
    """Join tokens into one string in which a substring search matches complete tokens only."""
    return BETWEEN + BETWEEN.join(found) + BETWEEN


def regex_matcher(answers: Sequence[str]) -> Matcher:
    """Make a function that says whether a text matches one of ``answers`` as a regular expression, ignoring case.

    As in DPR, an answer that is not a valid regular expression matches no text.

    >>> regex_matcher([r"19[67]9", "("])("In July 1969, …")
    True
    """
    patterns = []
    for answer in answers:
        try:
            patterns.append(re.compile(normalize("NFD", answer), re.IGNORECASE | re.MULTILINE))
        except re.error:
            continue
    return lambda text: any(pattern.search(normalize("NFD", text)) for pattern in patterns)


def judged(ranking: Ranking, queries: Queries) -> Judged:
    """Apply the protocol ``queries.protocol``: the ranking to evaluate, and the judgements to evaluate it against.

    Raises:
        InputError: there are no judgements; or the protocol needs answers or documents, and there are none.

    >>> ranking = Ranking({"q-bisect:insort_right": [("bisect:insort_right", 1.0)]})
    >>> ranked, qrels = judged(ranking, Queries("stdlib/test"))
    >>> ranked is ranking, len(qrels) == len(Queries("stdlib/test"))
    (True, True)
    """
    return RULES[queries.protocol](ranking, queries)


def most_removed(queries: Queries) -> int:
    """The most documents that the protocol removes from the ranking of one query because they are excluded.

    A ranking of depth ``k`` holds the best ``k - most_removed(queries)`` of the documents that count. The query's own
    document, which ``beir`` removes, is not counted, as BEIR does not count it.
    """
    if queries.protocol != "bright":
        return 0
    return max((list(grades.values()).count(EXCLUDED) for grades in queries.qrels.values()), default=0)


def undefined(protocol: str, measures: Sequence[str]) -> list[str]:
    """The measures that a protocol does not define, in the given order.

    By answers, only what a ranking shows is known: Success, RR and P. Recall, and the ideal ranking of nDCG and AP, are
    not, because nobody knows which other documents contain an answer.

    >>> undefined("dpr", ["Success@5", "R@100", "nDCG@10"]), undefined("trec", ["R@100"])
    (['R@100', 'nDCG@10'], [])
    """
    if not protocol.startswith(BY_ANSWERS):
        return []
    parsed = {name: parsed_measure(name) for name in measures}
    return [name for name, one in parsed.items() if one is not None and one.measure.NAME not in DEFINED_BY_ANSWERS]


def unjudgeable(queries: Queries) -> Iterator[str]:
    """Why the protocol can't evaluate these queries, one sentence per reason; needs no ranking.

    Raises:
        InputError: judgements or answers can't be read.
    """
    if queries.by_answers:
        _ = queries.answers
        if not queries.dataset.has_docs():
            yield f"{queries.id!r} has no documents to look for answers in; use an id that has documents."
    elif not queries.judgements:
        yield f"{queries.id!r} has no relevance judgements to evaluate against; use a split that has them."


def trec(ranking: Ranking, queries: Queries) -> Judged:
    return ranking, queries.qrels


def beir(ranking: Ranking, queries: Queries) -> Judged:
    others = {query_id: [result for result in found if result[0] != query_id] for query_id, found in ranking.items()}
    return Ranking(others, ranking.tied_beyond), queries.qrels


def bright(ranking: Ranking, queries: Queries) -> Judged:
    kept: dict[str, list[tuple[str, float]]] = {}
    for query_id, found in ranking.items():
        grades = queries.qrels.get(query_id, {})
        kept[query_id] = [result for result in found if grades.get(result[0]) != EXCLUDED]
    judgements = {
        query_id: {doc_id: grade for doc_id, grade in grades.items() if grade != EXCLUDED}
        for query_id, grades in queries.qrels.items()
    }
    return Ranking(kept, ranking.tied_beyond), Qrels(judgements)


def peerqa(ranking: Ranking, queries: Queries) -> Judged:
    return ranking, Qrels({query_id: grades for query_id, grades in queries.qrels.items() if query_id in ranking})


def by_answers(matcher: Callable[..., Matcher], text: Callable[[Any], str]) -> Callable[[Ranking, Queries], Judged]:
    """Make the rule of a protocol in which a document is relevant if it contains an answer.

    Args:
        matcher: answers of a query → a function that says whether a text contains one of them.
        text: record of a document → the text to search.
    """

    def rule(ranking: Ranking, queries: Queries) -> Judged:
        store = Collection(queries.id).store()
        relevant: dict[str, dict[str, int]] = {}
        for query_id, answers in queries.answers.items():  # the texts of one query at a time
            holds = matcher(answers)
            found = [doc_id for doc_id, _ in ranking.get(query_id, ())[:LOOKED_AT]]
            records = store.get_many(set(found))
            if unknown := [doc_id for doc_id in found if doc_id not in records]:
                raise InputError(
                    f"The ranking has documents that {queries.id!r} does not have, such as {unknown[0]!r}, so their "
                    "text can't be searched for answers. Give the queries the id of the documents that were searched."
                )
            relevant[query_id] = {doc_id: 1 for doc_id in found if holds(text(records[doc_id]))}
        return ranking, Qrels(relevant)

    return rule


def text_alone(record: Any) -> str:
    """The text of a document without its title."""
    from colbertv2.data.opening import text_of

    return record.text if hasattr(record, "text") else text_of(record)


def title_and_text(record: Any) -> str:
    """``title | text``, as the official ColBERT code writes a passage."""
    title = getattr(record, "title", "")
    return f"{title} | {text_alone(record)}" if title else text_alone(record)


RULES: dict[str, Callable[[Ranking, Queries], Judged]] = {
    "trec": trec,
    "beir": beir,
    "bright": bright,
    "peerqa": peerqa,
    "dpr": by_answers(token_matcher, text_alone),
    "dpr_regex": by_answers(regex_matcher, text_alone),
    "dpr_title": by_answers(token_matcher, title_and_text),
}
