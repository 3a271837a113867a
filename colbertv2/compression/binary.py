"""Storing only the signs of a vector, as BPR does: the baseline of ColBERTv2 App. B."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.codec import Arrays, Codec, LookupTables


class BinaryCodec(Codec):
    """Store the sign of each dimension: 16 bytes per vector at 128 dimensions, without centroids.

    Each decoded value is ±1/√dim, so decoded vectors have norm 1. Zero counts as negative.

    >>> BinaryCodec().encode(np.array([[1, -1, 1, -1, 1, -1, 1, 1]], np.float32))
    {'signs': array([[171]], dtype=uint8)}
    """

    @property
    def label(self) -> str:
        """The codec's name in tables."""
        return "sign"

    def bytes_per_vector(self, dim: int) -> int:
        """One byte for every eight dimensions."""
        return dim // 8

    def check(self, dim: int) -> list[str]:
        """Why ``dim`` does not fill whole bytes; empty if it does."""
        if dim % 8:
            return [f"The binary codec needs a multiple of 8 dimensions, found {dim}; change the model's dim."]
        return []

    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """Encode ``[n, dim]`` as ``signs`` uint8 ``[n, dim / 8]``, with the first dimension in the highest bit."""
        return {"signs": np.packbits(vectors > 0, axis=1)}

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """Decode ``signs`` to float32 ``[n, dim]`` with values ±1/√dim."""
        signs = arrays["signs"]
        return sign_values(8 * signs.shape[1]).take(signs, axis=0).reshape(len(signs), 8 * signs.shape[1])

    def lookup_tables(self, dim: int) -> LookupTables:
        """Tables as for residuals, but without centroids."""
        return LookupTables(None, sign_values(dim)[None], normalise=False, stored="signs")


def sign_values(dim: int) -> NDArray[np.float32]:
    """float32 ``[256, 8]``: the eight values, each ±1/√dim, that each byte of signs encodes; highest bit first.

    >>> sign_values(4)[0b10000001].tolist()
    [0.5, -0.5, -0.5, -0.5, -0.5, -0.5, -0.5, 0.5]
    """
    from colbertv2.compression.bitpack import byte_values

    return ((byte_values(1) * 2.0 - 1.0) / np.sqrt(dim)).astype(np.float32)
