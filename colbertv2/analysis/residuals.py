"""What is left of vectors beside their centroids, against the buckets that hold it (ColBERTv2 §3.3).

All dimensions share one set of buckets, so each bucket has as many values as any other only over all of them.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from colbertv2.compression.residual import ResidualCodec

PERCENTILES = (5, 25, 50, 75, 95)
EDGES = np.linspace(-1, 1, 401)  # of histograms; unit vectors have hardly a value outside


class Residuals(NamedTuple):
    """Summaries of the residuals of n vectors.

    Args:
        norms: ``[n]``, how far vectors are from their centroids; 2 at most, between unit vectors.
        dimensions: a row for each dimension: ``mean`` and ``deviation`` (standard) of its values, ``p5`` to ``p95``,
            percentiles, and ``bucket_0`` to ``bucket_{2^bits - 1}``, the share of its values in each bucket.
        histogram: ``[400]``, the share of the values of all dimensions between each two of ``EDGES``.
        cutoffs: ``[2^bits - 1]``, between the buckets.
    """

    norms: NDArray[np.float32]
    dimensions: pd.DataFrame
    histogram: NDArray[np.float64]
    cutoffs: NDArray[np.float32]

    @property
    def bits_used(self) -> NDArray[np.float64]:
        """``[dim]``: the entropy of each dimension's bucket, in bits; the codec's bits if all are equally full."""
        shares = self.dimensions.filter(regex="^bucket_").to_numpy()
        return (shares * -np.log2(shares, out=np.zeros_like(shares), where=shares > 0)).sum(axis=1) + 0.0  # no −0


def residuals_of(vectors: NDArray[np.float32], codes: NDArray[Any], codec: ResidualCodec) -> Residuals:
    """Summaries of ``vectors [n, dim]`` beside the centroids ``codes [n]`` of ``codec``, a dimension at a time.

    >>> codec = ResidualCodec.from_tables(1, np.zeros((1, 8)), cutoffs=np.zeros(1), weights=np.array([-0.5, 0.5]))
    >>> vectors = np.zeros((2, 8), np.float32)
    >>> vectors[:, 0] = 0.5, -0.5
    >>> found = residuals_of(vectors, np.zeros(2, int), codec)
    >>> found.norms.tolist(), found.bits_used.tolist()  # all values but two are in the lower bucket
    ([0.5, 0.5], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    """
    centroids, (number, dim) = codec.fitted().vectors, vectors.shape
    squares, histogram, rows = np.zeros(number), np.zeros(len(EDGES) - 1), []
    for dimension in range(dim):
        values = vectors[:, dimension] - centroids[codes, dimension]
        squares += values.astype(np.float64) ** 2
        histogram += np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)[0]
        filled = np.bincount(np.searchsorted(codec.cutoffs, values), minlength=len(codec.cutoffs) + 1) / number
        rows.append(
            {
                "mean": values.mean(),
                "deviation": values.std(),
                **{f"p{at}": value for at, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)},
                **{f"bucket_{bucket}": share for bucket, share in enumerate(filled)},
            }
        )
    dimensions = pd.DataFrame(rows).rename_axis("dimension")
    return Residuals(np.sqrt(squares).astype(np.float32), dimensions, histogram / (number * dim), codec.cutoffs)
