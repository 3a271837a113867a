"""How evenly the token vectors of a collection use their space: anisotropy, mean and effective rank."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Geometry:
    """Figures of unit vectors.

    Args:
        mean_cosine: the mean cosine of two different vectors (Ethayarajh, EMNLP 2019, calls it anisotropy); 0 if they
            point evenly in all directions, 1 if they are equal.
        mean_norm: the norm of the mean vector, 0 to 1. ``codec.center`` can help if it is large.
        effective_rank: exp of the entropy of the shares of variance along the principal axes (after Roy and Vetterli,
            EUSIPCO 2007): the number of dimensions that carry the variance, if all carried as much.
        largest_share: the share of the variance along the first principal axis.
    """

    mean_cosine: float
    mean_norm: float
    effective_rank: float
    largest_share: float


def geometry_of(blocks: Iterable[NDArray[np.float32]]) -> Geometry:
    """Compute the figures in one pass over blocks ``[n, dim]`` of at least two unit vectors.

    The mean over all pairs needs only the sum: ``|Σv|²`` is the sum over all pairs, each vector with itself included.

    >>> geometry_of([np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)])
    Geometry(mean_cosine=-0.3333333333333333, mean_norm=0.0, effective_rank=2.0, largest_share=0.5)
    """
    number, total, moment = 0, np.zeros(()), np.zeros(())
    for block in blocks:
        vectors = block.astype(np.float64)
        number += len(vectors)
        total = total + vectors.sum(axis=0)
        moment = moment + vectors.T @ vectors
    mean = total / number
    variances = np.maximum(np.linalg.eigvalsh(moment / number - np.outer(mean, mean)), 0)
    shares = variances / max(variances.sum(), 1e-30)
    entropy = -sum(share * np.log(share) for share in shares if share > 0)
    return Geometry(
        mean_cosine=float((total @ total - np.trace(moment)) / (number * (number - 1))),
        mean_norm=float(np.linalg.norm(mean)),
        effective_rank=float(np.exp(entropy)),
        largest_share=float(shares.max()),
    )
