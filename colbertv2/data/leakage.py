"""Find test queries that a model was trained on: word for word, or with almost the same words."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

NEAR = 0.8  # Jaccard similarity of the words of two texts
WORD = re.compile(r"\w+")


class Leak(NamedTuple):
    """A test query whose text is that of a training query, or almost.

    Args:
        test_id: the test query.
        train_id: the training query that is most alike.
        similarity: the shared words divided by all words of the two; 1 if they have the same words.
        exact: whether the texts are equal, apart from case and white space.
    """

    test_id: str
    train_id: str
    similarity: float
    exact: bool


def leaks(train: Iterable[tuple[str, str]], test: Iterable[tuple[str, str]], near: float = NEAR) -> list[Leak]:
    """Find the test queries that are like a training query, exact ones first.

    All pairs of at least this similarity are found without comparing all: if the words of both texts are sorted by one
    order, then two texts with Jaccard similarity t share one of the first n − ⌈t·n⌉ + 1 words of each (prefix filter;
    Chaudhuri et al., ICDE 2006). The rarest words of the test queries come first. The training queries are read once
    and not kept.

    Args:
        train: training queries as (id, text).
        test: test queries as (id, text).
        near: the least similarity.

    >>> found = leaks([("a", "how to sort a list in place"), ("b", "Join  strings")],
    ...               [("q", "join strings"), ("r", "how to sort a list in the place"), ("s", "open a file")])
    >>> [(leak.test_id, leak.train_id, leak.exact) for leak in found]
    [('q', 'b', True), ('r', 'a', False)]
    """
    texts = {query_id: (normalised(text), words_of(text)) for query_id, text in test}
    counts = Counter(word for _, words in texts.values() for word in words)

    def first(words: frozenset[str]) -> list[str]:
        ordered = sorted(words, key=lambda word: (counts[word], word))
        return ordered[: len(words) - math.ceil(near * len(words) - 1e-9) + 1]

    holders: dict[str, list[str]] = {}
    for query_id, (_, words) in texts.items():
        for word in first(words):
            holders.setdefault(word, []).append(query_id)
    found: dict[str, Leak] = {}
    for train_id, text in train:
        own, words = normalised(text), words_of(text)
        for test_id in {query_id for word in first(words) for query_id in holders.get(word, ())}:
            other, others = texts[test_id]
            leak = Leak(test_id, train_id, len(words & others) / len(words | others), own == other)
            known = found.get(test_id, Leak(test_id, "", 0.0, False))
            if leak.similarity >= near and (leak.exact, leak.similarity) > (known.exact, known.similarity):
                found[test_id] = leak
    return sorted(found.values(), key=lambda leak: (not leak.exact, -leak.similarity, leak.test_id))


def words_of(text: str) -> frozenset[str]:
    """The different words of a text, in lower case; a text without words is one word."""
    return frozenset(WORD.findall(text.lower())) or frozenset([normalised(text)])


def normalised(text: str) -> str:
    """A text in lower case, with single spaces."""
    return " ".join(text.lower().split())


def leakage_warnings(
    trained: Mapping[str, Iterable[tuple[str, str]]], evaluated: Mapping[str, Iterable[tuple[str, str]]]
) -> list[str]:
    """A sentence for each collection with test queries that are training queries, or almost.

    Args:
        trained: name → training queries.
        evaluated: collection → test queries.
    """
    sentences = []
    for name, test in evaluated.items():
        queries = dict(test)
        found = {leak.test_id: leak for train in trained.values() for leak in leaks(train, queries.items())}
        if found:
            exact = sum(leak.exact for leak in found.values())
            example = min(found.values(), key=lambda leak: not leak.exact)
            sentences.append(
                f"Leakage: {len(found)} of {len(queries):,} test queries of {name} are training queries ({exact} word "
                f"for word, {len(found) - exact} with at least {NEAR:.0%} of the words), such as "
                f"{example.test_id!r}: {queries[example.test_id]!r}. The values on {name} are too good."
            )
    return sentences
