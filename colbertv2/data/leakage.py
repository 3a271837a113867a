"""Find texts with almost the same words: test queries that a model was trained on, and near-duplicates.

If the words of two texts are sorted by one order, the rarest first, then texts with Jaccard similarity t share one of
the first n − ⌈t·n⌉ + 1 words of each (prefix filter; Chaudhuri et al., ICDE 2006). So all pairs of at least this
similarity are found without comparing all.
"""

import math
import re
from array import array
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

    The order of words is that of the test queries. The training queries are read once and not kept.

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
        return ordered[: prefix(len(words), near)]

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


def near_duplicates(texts: Mapping[str, str], near: float = NEAR) -> dict[str, str]:
    """Find the texts that are like an earlier one which is not itself such a text.

    Args:
        texts: id → text, in the order in which the first of similar texts counts as the original.
        near: the least similarity, as for ``leaks``.

    Returns:
        The id of each near-duplicate → the id of the first text that it is like.

    >>> near_duplicates({"a": "Sort a list in place.", "b": "Open a file.", "c": "sort the list in place"}, near=0.6)
    {'c': 'a'}
    """
    counts = Counter(word for text in texts.values() for word in words_of(text))
    order = {word: place for place, word in enumerate(sorted(counts, key=lambda word: (counts[word], word)))}
    originals: list[tuple[str, array[int]]] = []  # numbers instead of words, as the documents of a collection are long
    holders: dict[int, list[int]] = {}
    found: dict[str, str] = {}
    for text_id, text in texts.items():
        words = sorted(order[word] for word in words_of(text))
        own, first = set(words), words[: prefix(len(words), near)]
        for place in sorted({place for word in first for place in holders.get(word, ())}):
            original, others = originals[place]
            if min(len(own), len(others)) / max(len(own), len(others)) < near:  # cannot be, whatever the words
                continue
            shared = sum(map(own.__contains__, others))
            if shared / (len(own) + len(others) - shared) >= near:
                found[text_id] = original
                break
        else:
            for word in first:
                holders.setdefault(word, []).append(len(originals))
            originals.append((text_id, array("l", words)))
    return found


def prefix(number: int, near: float) -> int:
    """How many of the first words of a text with ``number`` words a text of at least this similarity may begin with."""
    return number - math.ceil(near * number - 1e-9) + 1


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
