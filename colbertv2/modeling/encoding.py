"""Queries as the model of an index encodes them."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colbertv2.modeling.colbert import ColBERT
from colbertv2.runtime import Runtime

KEPT_CHARACTERS = 2**20  # of queries whose vectors are kept for the next search: some hundred MB


def encoded_queries(
    checkpoint: Path, texts: Sequence[str], runtime: Runtime, rank: int = 0
) -> list[NDArray[np.float32]]:
    """The vectors ``[Lq, dim]`` of each text, by the model that encoded the documents.

    Those of the last call are kept, unless they are too many: the points of a sweep ask different indexes the same.

    Args:
        rank: of the process, which says on which device.
    """
    encode = encoded if kept(texts) else encoded.__wrapped__
    return encode(checkpoint, tuple(texts), runtime.batch_tokens, str(runtime.device_of(rank)))


def kept(texts: Sequence[str]) -> bool:
    """Whether the vectors of so many texts are kept for the next search."""
    return sum(map(len, texts)) <= KEPT_CHARACTERS


@lru_cache(maxsize=1)
def encoded(checkpoint: Path, texts: tuple[str, ...], batch_tokens: int, device: str) -> list[NDArray[np.float32]]:
    """``[Lq, dim]`` of each text."""
    return ColBERT.load(checkpoint).to(device).encode_queries(list(texts), batch_tokens)
