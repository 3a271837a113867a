"""The settings with which the cascade reaches a wanted recall on an index, measured on queries made from that index."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.clustering.kmeans import normalised
from colbertv2.errors import InputError
from colbertv2.indexing.index import Index
from colbertv2.search.query_tables import QueryTables
from colbertv2.search.scoring import nearest_centroids, top_k

QUERIES = 128
QUERY_VECTORS = 32
PROBES = (None, 1, 2, 4, 8, 16)  # centroids per query vector; None scores every document by its centroids
ESTIMATE = 10  # an estimate of a vector's similarities takes so many times as long as looking up its centroid's
CONFIDENCE = 1.645  # standard errors: a mean that is so far above the wanted recall is above it with 95 % confidence


class Setting(NamedTuple):
    """A setting of the cascade that reaches the wanted recall."""

    nprobe: int | None
    ndocs: int
    recall: float  # mean over the queries
    work: float  # vectors per query that are looked up, or estimated, which counts ``ESTIMATE`` times


class Calibration(NamedTuple):
    """What was measured on an index: the cheapest setting, and all that reach the recall."""

    k: int
    recall: float
    best: Setting
    settings: list[Setting]

    def record(self) -> dict[str, Any]:
        """What is written to ``calibration.json``."""
        settings = [setting._asdict() for setting in self.settings]
        return self._asdict() | {"best": self.best._asdict(), "settings": settings}


_MEASURED: WeakKeyDictionary[Index, dict[tuple[int, float], Calibration]] = WeakKeyDictionary()


def calibration(index: Index, k: int, recall: float) -> Calibration:
    """The cheapest setting with which the cascade finds ``recall`` of the exact top ``k`` of an index.

    Exact is with the decoded vectors, so the loss by compression is not counted. The recall is measured on
    :func:`pseudo_queries`; its mean must be above ``recall`` with 95 % confidence. It is measured once per process.

    Raises:
        InputError: the codec has no centroids or no lookup tables.
    """
    measured = _MEASURED.setdefault(index, {})
    if (k, recall) not in measured:
        measured[k, recall] = calibrate(index, pseudo_queries(index), k, recall)
    return measured[k, recall]


def calibrate(index: Index, queries: Sequence[NDArray[np.float32]], k: int, recall: float) -> Calibration:
    """As ``calibration``, but measured on ``queries``, arrays ``[L, dim]``, such as some that users have asked."""
    from colbertv2.parallel import parallel_map

    if not index.num_centroids:
        raise index.no_centroids()
    if not queries:
        raise InputError("No queries to measure recall with; expected at least one.")

    def places(query: NDArray[np.float32]) -> tuple[list[NDArray[np.int64]], list[int]]:
        """For each of ``PROBES``: the place of every exact result among the candidates, and the candidates' vectors."""
        tables = QueryTables(index, query)
        similarities = tables.similarities[:, : tables.num_query_vectors]
        scores = np.full(index.num_documents, -np.inf, np.float32)
        scores[index.full] = tables.centroid_scores(index.full)
        exact = tables.best(index.full, k).positions
        found, work = [], []
        for nprobe in PROBES:
            positions = index.full if nprobe is None else index.inverted(nearest_centroids(similarities, nprobe))
            order = positions[top_k(positions, scores[positions], len(positions), index.ranks)]
            place = np.full(index.num_documents, index.num_documents)
            place[order] = np.arange(len(order))
            found.append(place[exact])
            work.append(int(index.lengths[positions].sum()))
        return found, work

    measured = list(parallel_map(places, queries))
    settings = []
    for number, nprobe in enumerate(PROBES):
        ndocs, reached = fewest([found[number] for found, _ in measured], recall, index.num_documents)
        if ndocs is not None:
            looked_up = np.mean([work[number] for _, work in measured])
            work = looked_up + ESTIMATE * min(ndocs * index.num_vectors / index.num_documents, looked_up)
            settings.append(Setting(nprobe, max(ndocs, k), reached, float(work)))
    return Calibration(k, recall, min(settings, key=lambda setting: setting.work), settings)


def fewest(places: Sequence[NDArray[np.int64]], recall: float, num_documents: int) -> tuple[int | None, float]:
    """The least number of candidates with which the mean recall is above ``recall``, and that mean.

    Args:
        places: for each query, the places of its exact results among the candidates, from 0; ``num_documents`` for a
            result that is no candidate.

    Returns:
        None if all candidates do not reach it. A recall of 1 is reached if every result is found.

    >>> fewest([np.array([0, 5]), np.array([1, 2])], recall=1.0, num_documents=10)
    (6, 1.0)
    """

    def reached(ndocs: int) -> tuple[bool, float]:
        recalls = np.array([(one < ndocs).mean() if len(one) else 1.0 for one in places])
        error = CONFIDENCE * recalls.std() / math.sqrt(len(recalls))
        return bool(recalls.mean() - error >= recall), float(recalls.mean())

    candidates = np.unique(np.concatenate(places)) + 1
    candidates = candidates[candidates <= num_documents]
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(int(candidates[middle]))[0] else (middle + 1, high)
    if low == len(candidates):
        return None, 0.0
    return int(candidates[low]), reached(int(candidates[low]))[1]


def pseudo_queries(index: Index) -> list[NDArray[np.float32]]:
    """``QUERIES`` queries of ``QUERY_VECTORS`` vectors each, half of them from one document and half from another.

    Documents are more like other documents than queries are. A query from two documents is about as hard for the
    cascade as a real one, or harder (see docs/guides/codecs.md). The same index gives the same queries.
    """
    random = np.random.default_rng(0)
    full = index.by_rank[np.isin(index.by_rank, index.full)]  # in an order that does not depend on that in the corpus
    queries = []
    for _ in range(QUERIES):
        vectors = [index.decode(np.array([document])).vectors for document in random.choice(full, 2)]
        half = QUERY_VECTORS // 2
        queries.append(normalised(np.concatenate([own[random.integers(len(own), size=half)] for own in vectors])))
    return queries
