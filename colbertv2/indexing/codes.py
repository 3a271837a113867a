"""Centroid ids stored in as few whole bytes as possible, in a file that the compiled kernels read directly."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.indexing.storage import move_rows, open_array, shape_array, write_rows

CHECKED = 2**20  # ids checked at once
CODES = "codes.npy"  # the file that holds the centroid of every vector
PADDING = 3  # bytes behind the last id, so that every id can be read with a 32-bit load


def code_width(num_centroids: int) -> int:
    """The number of bytes needed for every id below ``num_centroids``.

    >>> [code_width(number) for number in (1, 256, 257, 65536, 2**18)]
    [1, 1, 2, 2, 3]
    """
    return max(1, -(-(num_centroids - 1).bit_length() // 8))


class Codes:
    """Centroid ids, packed end to end.

    Args:
        bytes: uint8 ``[n · width + 3]``, little-endian. Id t is in the ``width`` bytes that begin at
            ``bytes[t · width]``; the last 3 bytes are padding.
        width: bytes per id, 1 to 4.

    >>> codes = Codes.packed(np.array([1, 258, 7]), width=2)
    >>> codes[1:], codes[np.array([2, 0])], len(codes), codes.bytes.tolist()
    (array([258,   7], dtype=int32), array([7, 1], dtype=int32), 3, [1, 0, 2, 1, 7, 0, 0, 0, 0])
    """

    def __init__(self, bytes: NDArray[np.uint8], width: int) -> None:
        self.bytes = bytes
        self.width = width
        digits = bytes[: len(bytes) - PADDING]
        self.rows: NDArray[Any] = digits.reshape(-1, 3) if width == 3 else digits.view(f"<u{width}")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> NDArray[np.int32]:
        """The ids at a slice or at an array of places ``[n]``."""
        found = self.rows[rows]
        if self.width == 3:
            found = np.pad(found, ((0, 0), (0, 1))).view("<u4")[:, 0]
        return found.astype(np.int32)

    @classmethod
    def packed(cls, codes: NDArray[Any], width: int) -> "Codes":
        """Pack ids ``[n]`` in memory."""
        return cls(np.concatenate([to_bytes(codes, width), np.zeros(PADDING, np.uint8)]), width)

    @classmethod
    def open(cls, file: Path, number: int, num_centroids: int) -> "Codes":
        """Memory-map a file of ``number`` ids.

        Raises:
            InputError: the file has the wrong size, or an id is not below ``num_centroids``.
        """
        width = code_width(num_centroids)
        codes = cls(open_array(file, "uint8", (number * width + PADDING,)), width)
        # Compiled loops would read beyond the centroids. If every value of an id is valid, no check is needed.
        if num_centroids < 256**width:
            for start in range(0, number, CHECKED):
                if (largest := int(codes[start : start + CHECKED].max())) >= num_centroids:
                    raise InputError(
                        f"{file} holds the centroid id {largest}; expected ids below {num_centroids}. Build the index "
                        "again."
                    )
        return codes


def create_codes(file: Path, number: int, num_centroids: int, padding: int = PADDING) -> None:
    """Create a file of ``number`` ids, all 0 until ``write_codes`` writes them.

    Args:
        padding: bytes behind the last id; 0 for a file that ``move_codes`` will move into another.
    """
    shape_array(file, np.dtype(np.uint8), (number * code_width(num_centroids) + padding,))


def write_codes(file: Path, start: int, codes: NDArray[Any], num_centroids: int) -> None:
    """Write ids ``[n]``, beginning at place ``start``; several processes may do so at the same time."""
    width = code_width(num_centroids)
    write_rows(file, start * width, to_bytes(codes, width))


def move_codes(source: Path, target: Path, start: int, num_centroids: int) -> None:
    """Move all ids in ``source``, a file without padding, to ``target``, beginning at place ``start``.

    As :func:`~colbertv2.indexing.storage.move_rows`, this can be repeated.
    """
    move_rows(source, target, start * code_width(num_centroids))


def to_bytes(codes: NDArray[Any], width: int) -> NDArray[np.uint8]:
    """The lowest ``width`` bytes of each id, end to end."""
    return np.ascontiguousarray(codes.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :width]).ravel()
