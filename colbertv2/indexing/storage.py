"""Arrays on disk: written with plain writes, opened with memory mapping, and checked against the metadata."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.files import ARRAY_ERRORS, BLOCK, load_npy


def open_array(file: Path, dtype: str | None, shape: Sequence[int]) -> NDArray[Any]:
    """Memory-map the array in ``file`` read-only.

    Args:
        dtype: the expected type; None for unsigned integers of any size.
        shape: the expected shape.

    Raises:
        InputError: the file is missing, cut short, or not an array of that type and shape.
    """
    try:
        # An empty array cannot be mapped.
        array = load_npy(file, mapped=0 not in shape)
    except FileNotFoundError:
        raise InputError(f"{file} is missing; build this directory again.") from None
    except ARRAY_ERRORS as error:
        raise InputError(f"{file} is damaged or cut short ({error}); build this directory again.") from None
    if array.shape != tuple(shape) or (array.dtype.kind != "u" if dtype is None else array.dtype != np.dtype(dtype)):
        raise InputError(
            f"{file}: expected {dtype or 'unsigned integers'} {list(shape)} by the metadata, found {array.dtype} "
            f"{list(array.shape)}; build this directory again."
        )
    return np.asarray(array)  # still mapped; indexing a plain array is faster


def shape_array(file: Path, dtype: np.dtype[Any], shape: Sequence[int]) -> None:
    """Create an array file of this type and shape, or resize an existing one. Old values stay; new ones are 0."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    with open(file, "r+b" if file.exists() else "wb") as opened:
        np.lib.format.write_array_header_1_0(opened, header)  # padded, so that more rows do not make it longer
        opened.truncate(opened.tell() + dtype.itemsize * int(np.prod(shape)))


def write_rows(file: Path, start: int, rows: NDArray[Any]) -> None:
    """Write ``rows [n, …]`` into the array in ``file``, beginning at row ``start``, which may be at its end.

    Uses a plain write, because written pages of a mapping count as memory. Several processes may write simultaneously.
    """
    with open(file, "r+b") as opened:
        opened.seek(skip_header(opened) + start * rows.itemsize * int(np.prod(rows.shape[1:])))
        np.ascontiguousarray(rows).tofile(opened)


def move_rows(source: Path, target: Path, start: int) -> None:
    """Move all rows of the array in ``source`` to the array in ``target``, beginning at row ``start``.

    If ``source`` does not exist, they were moved before. It is deleted only when ``target`` would survive a power cut.
    """
    if not source.exists():
        return
    with open(source, "rb") as read, open(target, "r+b") as written:
        np.lib.format.read_magic(read)
        shape, _, dtype = np.lib.format.read_array_header_1_0(read)
        written.seek(skip_header(written) + start * dtype.itemsize * int(np.prod(shape[1:])))
        while block := read.read(BLOCK):
            written.write(block)
        written.flush()
        os.fsync(written.fileno())
    source.unlink()


def read_rows(file: Path, start: int, end: int) -> NDArray[Any]:
    """Read the rows from ``start`` to ``end`` of the array in ``file``, without memory mapping.

    Raises:
        InputError: the file is missing or damaged, or has fewer than ``end`` rows.
    """
    try:
        with open(file, "rb") as opened:
            np.lib.format.read_magic(opened)
            shape, _, dtype = np.lib.format.read_array_header_1_0(opened)
            width = int(np.prod(shape[1:]))
            rows = np.fromfile(opened, dtype, (end - start) * width, offset=start * width * dtype.itemsize)
    except FileNotFoundError:
        raise InputError(f"{file} is missing; build this directory again.") from None
    except ARRAY_ERRORS as error:
        raise InputError(f"{file} is damaged or cut short ({error}); build this directory again.") from None
    if len(rows) < (end - start) * width:
        raise InputError(f"{file} is cut short: it ends before row {end}; build this directory again.")
    return rows.reshape(-1, *shape[1:])


def skip_header(opened: BinaryIO) -> int:
    """Move to the first row of an opened array file, and return its offset in bytes."""
    np.lib.format.read_magic(opened)
    np.lib.format.read_array_header_1_0(opened)
    return opened.tell()


def save_unsigned(file: Path, values: NDArray[Any]) -> None:
    """Save counts ``[n]`` with the smallest unsigned integer type that can hold them."""
    np.save(file, values.astype(np.min_scalar_type(int(values.max(initial=0)))))


def write_ids(file: Path, ids: Iterable[str]) -> None:
    """Write ids to ``file``, one per line."""
    file.write_text("".join(f"{one}\n" for one in ids), encoding="utf-8")


def read_ids(file: Path, number: int) -> list[str]:
    """Read the ids in ``file``, one per line.

    Raises:
        InputError: the file is missing, is not UTF-8, or does not have ``number`` lines.
    """
    try:
        ids = file.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        raise InputError(f"{file} is missing; build this directory again.") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is damaged ({error.reason} at byte {error.start}); build this directory again."
        ) from None
    if len(ids) != number:
        raise InputError(f"{file} holds {len(ids)} ids; expected {number}. Build this directory again.")
    return ids
