"""No compression: 16-bit floats, the reference for all other codecs (ColBERTv2 App. B)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.codec import Arrays, Codec


class Float16Codec(Codec):
    """Store every dimension as a 16-bit float: 256 bytes per vector at 128 dimensions.

    >>> codec = Float16Codec()
    >>> codec.decode(codec.encode(np.array([[0.5, 0.25]], np.float32)))
    array([[0.5 , 0.25]], dtype=float32)
    """

    vectors_array = "vectors"

    @property
    def label(self) -> str:
        """The codec's name in tables."""
        return "fp16"

    def bytes_per_vector(self, dim: int) -> int:
        """Two bytes per dimension."""
        return 2 * dim

    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """Encode ``[n, dim]`` as ``vectors`` float16 ``[n, dim]``; ``codes`` is ignored."""
        return {"vectors": vectors.astype(np.float16)}

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """Decode to float32 ``[n, dim]``."""
        return arrays["vectors"].astype(np.float32)
