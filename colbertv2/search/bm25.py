"""BM25 with the ``bm25s`` library (Lucene's variant), as a baseline."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from colbertv2.evaluation.ranking import Ranking, greatest_first, inverse
from colbertv2.schema import Fraction, Weight, checked
from colbertv2.search.scoring import Found, best_documents, named, ranking_of

IDENTIFIER = re.compile(r"\b\w*(?:_|[a-z\d][A-Z]|[A-Z][A-Z][a-z])\w*\b")
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")


@checked
@dataclass(frozen=True)
class BM25:
    """BM25 with English stemming (Snowball) and the English stopwords of ``bm25s``.

    Args:
        k1: saturation of the term frequency; Lucene's default is 1.2.
        b: strength of the length normalisation; Lucene's default is 0.75.
        tokenizer: with ``words``, a term is a run of two or more letters, digits and underscores. With ``code``, the
            parts of identifiers are terms too, so that the query "file name" finds ``getFileName`` and
            ``get_file_name``.

    Raises:
        InputError: a value is out of range.

    >>> index = BM25(k1=1.2, b=0.75, tokenizer="words").index([("a", "cats and dogs"), ("b", "a whale")])
    >>> [doc_id for doc_id, _ in index.search_one("the cat", depth=10)]
    ['a']
    """

    k1: Weight
    b: Fraction
    tokenizer: Literal["words", "code"]

    def tokens(self, texts: list[str]) -> list[list[str]]:
        """The stems of each text, without stopwords."""
        import bm25s
        import Stemmer

        if self.tokenizer == "code":
            texts = [IDENTIFIER.sub(with_parts, text) for text in texts]
        stemmer = Stemmer.Stemmer("english")
        tokens = bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)
        return [list(map(str, found)) for found in tokens]

    def index(self, documents: Iterable[tuple[str, str]]) -> "BM25Index":
        """Index ``(doc_id, text)`` pairs, in memory."""
        doc_ids: list[str] = []
        texts: list[str] = []
        for doc_id, text in documents:
            doc_ids.append(doc_id)
            texts.append(text)
        return BM25Index(self, doc_ids, self.tokens(texts))


class BM25Index:
    """A BM25 index in memory. Make it with ``BM25.index``."""

    def __init__(self, bm25: BM25, doc_ids: list[str], tokens: list[list[str]]) -> None:
        import bm25s

        self.bm25 = bm25
        self.doc_ids = doc_ids
        self.scorer: Any = None
        if any(tokens):  # bm25s cannot index a corpus without any term
            self.scorer = bm25s.BM25(k1=bm25.k1, b=bm25.b, method="lucene")
            self.scorer.index(tokens, show_progress=False)

    @property
    def num_bytes(self) -> int:
        """The size of the scored postings in memory, in bytes."""
        if self.scorer is None:
            return 0
        return sum(part.nbytes for part in self.scorer.scores.values() if hasattr(part, "nbytes"))

    @cached_property
    def ranks(self) -> NDArray[np.int32]:
        """As ``Index.ranks``."""
        return inverse(greatest_first(self.doc_ids))

    def find(self, query: str, depth: int) -> Found:
        """At most ``depth`` documents that share a term with ``query``, as positions and scores, best first."""
        tokens = self.bm25.tokens([query])[0]
        if self.scorer is None or not self.scorer.get_tokens_ids(tokens):
            return Found(np.zeros(0, np.int64), np.zeros(0, np.float32))
        scores = self.scorer.get_scores(tokens)
        sharing = np.flatnonzero(scores > 0)
        return best_documents(sharing, scores[sharing], depth, self.ranks)

    def search_one(self, query: str, depth: int) -> list[tuple[str, float]]:
        """At most ``depth`` documents that share a term with ``query``, as ``(doc_id, score)``, best first."""
        return named(self.find(query, depth), self.doc_ids)

    def search(self, queries: Iterable[tuple[str, str]], depth: int) -> Ranking:
        """Search for each of the ``(query_id, text)`` pairs; at most ``depth`` documents per query."""
        return ranking_of({query_id: self.find(text, depth) for query_id, text in queries}, self.doc_ids)


def with_parts(match: re.Match[str]) -> str:
    """The matched identifier, followed by its parts.

    >>> with_parts(re.match(".*", "getHTTPFile_name2"))
    'getHTTPFile_name2 get HTTP File name 2'
    """
    return " ".join([match[0], *PART.findall(match[0])])
