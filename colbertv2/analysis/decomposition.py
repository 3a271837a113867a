"""The loss caused by each step between exact MaxSim and a search engine's result, query by query.

The steps are unprojected → projected → reduced → centroids → residual → probed → engine:

- ``unprojected``: token vectors of the backbone's size;
- ``projected``: vectors after the projection, uncompressed;
- ``reduced``: fewer vectors per document, if the index was made from a reduction, still uncompressed;
- ``centroids``: each vector replaced by its centroid;
- ``residual``: each vector decoded from its centroid and residual;
- ``probed``: the same, but only documents that the engine's first stage finds;
- ``engine``: the engine's result, after it has pruned these documents.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import greatest_first, inverse
from colbertv2.evaluation.statistics import contrasts
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.index import Index
from colbertv2.indexing.packed import Packed
from colbertv2.search.engine import Engine
from colbertv2.search.exhaustive import Exhaustive, search_decoded
from colbertv2.search.scoring import Found, best_documents, probed_documents, score_documents

STEPS = {
    "unprojected": "token vectors of the backbone's size",
    "projected": "projected, uncompressed",
    "reduced": "fewer vectors per document",
    "centroids": "centroids alone",
    "residual": "centroids and residuals",
    "probed": "only documents that are probed",
    "engine": "the engine, which prunes these",
}


class Uncompressed:
    """Uncompressed embeddings, for use in place of an index."""

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings
        self.offsets = embeddings.offsets
        self.ranks = inverse(greatest_first(embeddings.doc_ids))

    def decode(self, positions: NDArray[np.int64]) -> Packed:
        """The vectors of the documents at ``positions``, which must be consecutive, as float32."""
        start, end = int(self.offsets[positions[0]]), int(self.offsets[positions[-1] + 1])
        return Packed(self.embeddings.vectors(start, end).astype(np.float32), self.embeddings.lengths[positions])


class CentroidsOnly:
    """An index in which every vector is replaced by its centroid.

    Raises:
        InputError: the index's codec has no centroids.
    """

    def __init__(self, index: Index) -> None:
        self.index, self.centroids = index, index.centroids
        self.offsets, self.ranks = index.offsets, index.ranks

    def decode(self, positions: NDArray[np.int64]) -> Packed:
        """The centroids of the vectors of the documents at ``positions``."""
        return Packed(self.centroids[self.index.codes(positions)], self.index.lengths[positions])


def search_steps(
    index: Index, embeddings: Embeddings, engine: Engine, queries: Sequence[NDArray[np.float32]], k: int
) -> dict[str, list[Found]]:
    """The top ``k`` of each query ``[Lq, dim]`` at every step, beginning with ``projected``.

    Raises:
        InputError: the codec has no centroids, or index and embeddings hold different documents.
    """
    if not np.array_equal(index.offsets, embeddings.offsets):
        raise InputError(
            f"{index.path} was not built from {embeddings.path}: their documents differ in length. Use the embeddings "
            "that the index was built from."
        )

    residual = Exhaustive().search(index, queries, k)
    return {
        "projected": search_decoded(Uncompressed(embeddings), queries, k),
        "centroids": search_decoded(CentroidsOnly(index), queries, k),
        "residual": residual,
        "probed": [
            among(index, query, found, probed_documents(index, query, engine.probes(k)), k)
            for query, found in zip(queries, residual, strict=True)
        ],
        "engine": engine.search(index, queries, k),
    }


def among(index: Index, query: NDArray[np.float32], found: Found, positions: NDArray[np.int64], k: int) -> Found:
    """The top ``k`` of the documents at ``positions``.

    Scores are taken from ``found``, the top ``k`` of all documents, as far as possible. So rounding cannot make a
    difference: if all of ``found`` are among ``positions``, the result is ``found``.
    """
    kept = np.isin(found.positions, positions)
    best = Found(found.positions[kept], found.scores[kept])
    if len(best.positions) < min(k, len(positions)):
        rest = np.setdiff1d(positions, best.positions, assume_unique=True)
        more = best_documents(rest, score_documents(index, query, rest), k - len(best.positions), index.ranks)
        positions = np.concatenate([best.positions, more.positions])
        best = Found(positions, np.concatenate([best.scores, more.scores]), more.tied)
    return best


def changes(values: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The mean of a measure at each step, and its change from the step before.

    Args:
        values: ``[queries, steps]``, the values of the measure.
        seed: seed of the resampling.

    Returns:
        one row per step: ``mean``, ``change``, the bounds ``low`` and ``high`` of its 95 % interval over queries, ``p``
        (paired randomisation test, Holm-adjusted over the steps), and the numbers of queries that are ``worse`` and
        ``better``. For the first step all except ``mean`` are NaN.

    >>> changes(pd.DataFrame({"projected": [1.0, 0.5], "centroids": [0.5, 0.5]}), seed=0)["change"].tolist()
    [nan, -0.25]
    """
    steps = list(values.columns)
    differences = [values[step].to_numpy() - values[before].to_numpy() for before, step in pairwise(steps)]
    rows = [{"mean": values[steps[0]].mean()}]
    for step, difference, found in zip(
        steps[1:], differences, contrasts([[one[None, None]] for one in differences], seed), strict=True
    ):
        rows.append(
            {
                "mean": values[step].mean(),
                "change": found.difference.mean,
                "low": found.difference.queries.low,
                "high": found.difference.queries.high,
                "p": found.p,
                "worse": int((difference < 0).sum()),
                "better": int((difference > 0).sum()),
            }
        )
    return pd.DataFrame(rows, index=pd.Index(steps, name="step"))


class Moved(NamedTuple):
    """The queries that lose most and those that gain most: query id → change, greatest changes first."""

    lose: dict[str, float]
    gain: dict[str, float]


def most_moved(values: pd.DataFrame, number: int) -> dict[str, Moved]:
    """For each step, at most ``number`` queries that lose most and at most ``number`` that gain most.

    Args:
        values: ``[queries, steps]``, the values of a measure.

    >>> most_moved(pd.DataFrame({"projected": [1.0, 0.5], "centroids": [0.5, 0.5]}, index=["q", "r"]), 5)
    {'centroids': Moved(lose={'q': -0.5}, gain={})}
    """
    found = {}
    for before, step in pairwise(values.columns):
        change = (values[step] - values[before]).round(12).sort_values(kind="stable")
        gain = change[change > 0].sort_values(ascending=False, kind="stable")
        found[str(step)] = Moved(change[change < 0][:number].to_dict(), gain[:number].to_dict())
    return found
