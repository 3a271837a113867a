"""A codebook in bytes, and queries in bytes that fit it: what the compiled estimates of similarities need."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from colbertv2.kernels.estimates import COLUMNS, GROUP, ZERO

INTEGERS = {1: np.uint8, 2: np.uint16, 4: np.uint32}  # bytes of an entry → what holds them; more are held by uint64
LARGEST = 127  # of the signed bytes of a query


class ByteQuery(NamedTuple):
    """The vectors of one query in bytes, the first three as ``write_estimates`` expects them."""

    columns: NDArray[np.int8]  # [W / 16, groups, 64]
    zeros: NDArray[np.int32]  # [W]
    units: NDArray[np.float32]  # [W]
    errors: NDArray[np.float32]  # [W], how far the product with any residual can be from that of floats


class ByteCodebook:
    """The entries of a codebook, with every value rounded to a byte. The byte ``ZERO`` stands for 0.

    Args:
        codebook: float32 ``[M or 1, 256, d]``, or ``[0, 256, d]`` if there are no residuals.
        num_bytes: M, the bytes of a residual.

    Attributes:
        words: ``[M or 1, 256, n]``, the bytes of each entry as one unsigned integer, or as several of 64 bits.
        step: integers from one row of ``words`` to the next; 0 if all bytes of a residual share one row.
        norm: no decoded residual is longer, before its gain.

    >>> codebook = ByteCodebook(np.linspace(-1, 1, 256 * 3, dtype=np.float32).reshape(1, 256, 3), num_bytes=4)
    >>> codebook.words.shape, codebook.words.dtype.name, codebook.step
    ((1, 256, 1), 'uint32', 0)
    """

    def __init__(self, codebook: NDArray[np.float32], num_bytes: int) -> None:
        self.num_bytes, self.used = num_bytes, codebook.shape[2] if num_bytes else 1
        entries = codebook if num_bytes else np.zeros((1, 256, 1), np.float32)
        sizes = [size for size in INTEGERS if size >= self.used and num_bytes * size % GROUP == 0]
        self.size = sizes[0] if sizes else -(-self.used // 8) * 8
        padded = np.pad(entries, ((0, 0), (0, 0), (0, self.size - self.used)))
        # Dimensions differ in variance, so each has a unit of its own: the value of a difference of 1 between bytes.
        units = np.maximum(np.abs(padded).max(axis=1), np.float32(1e-30)) / np.float32(ZERO)
        rounded = np.rint(padded / units[:, None])
        self.words = (rounded + ZERO).astype(np.uint8).view(INTEGERS.get(self.size, np.uint64))
        self.step = self.words[0].size if len(self.words) > 1 else 0
        self.norm = float(np.sqrt(num_bytes * np.square(padded).sum(axis=2).max()))
        self._units = np.broadcast_to(units, (num_bytes, self.size))
        both = np.concatenate([padded, rounded], axis=2).transpose(0, 2, 1)  # [M or 1, 2 · size, 256]
        self._floats_and_bytes = np.ascontiguousarray(both, np.float32)

    def query(self, vectors: NDArray[np.float32]) -> ByteQuery:
        """Query vectors ``[W, M · d]`` in bytes; W is a multiple of 16.

        The error for a residual is at most the sum over its bytes of the greatest error for any of the 256 entries.
        """
        width = len(vectors)
        pieces = vectors[:, : self.num_bytes * self.used].reshape(width, self.num_bytes, self.used)
        padded = np.pad(pieces, ((0, 0), (0, 0), (0, self.size - self.used)))
        in_units = padded * self._units
        scale = np.maximum(np.abs(in_units).max(axis=(1, 2), initial=0), np.float32(1e-30)) / np.float32(LARGEST)
        rounded = np.rint(in_units / scale[:, None, None])
        both = np.concatenate([padded, -rounded * scale[:, None, None]], axis=2).transpose(1, 0, 2)
        errors = np.abs(both @ self._floats_and_bytes).max(axis=2).sum(axis=0) if self.num_bytes else np.zeros(width)
        groups = self.num_bytes * self.size // GROUP
        columns = rounded.astype(np.int8).reshape(width // COLUMNS, COLUMNS, groups, GROUP).transpose(0, 2, 1, 3)
        return ByteQuery(
            np.ascontiguousarray(columns).reshape(width // COLUMNS, groups, GROUP * COLUMNS),
            -ZERO * rounded.sum(axis=(1, 2)).astype(np.int32),
            scale.astype(np.float32),
            errors.astype(np.float32),
        )
