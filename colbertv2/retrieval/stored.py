"""Arrays on disk: opened memory-mapped and checked against what the metadata says."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError


def open_array(file: Path, dtype: str, shape: Sequence[int]) -> NDArray[Any]:
    """Memory-map ``file`` read-only.

    Raises:
        InputError: it is missing, cut short, or not an array of that type and shape.
    """
    try:
        # An empty array can't be mapped.
        array = np.load(file, mmap_mode=None if 0 in shape else "r")
    except FileNotFoundError:
        raise InputError(f"{file} is missing; build this directory again.") from None
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{file} is damaged or cut short ({error}); build this directory again.") from None
    if array.shape != tuple(shape) or array.dtype != np.dtype(dtype):
        raise InputError(
            f"{file}: expected {dtype} {list(shape)} by the metadata, found {array.dtype} {list(array.shape)}; "
            "build this directory again."
        )
    return np.asarray(array)  # still mapped; indexing a plain array is faster


def read_json(file: Path) -> dict[str, Any]:
    """The object in ``file``.

    Raises:
        InputError: it is missing or no JSON object.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file} is missing: {file.parent} is not complete; build it again.") from None
    except ValueError as error:
        raise InputError(f"{file} is damaged ({error}); build {file.parent} again.") from None
    if not isinstance(value, dict):
        raise InputError(f"{file} holds no JSON object; build {file.parent} again.")
    return value


def read_ids(file: Path, number: int) -> list[str]:
    """The ids in ``file``, one a line.

    Raises:
        InputError: it is missing or does not hold ``number`` lines.
    """
    try:
        ids = file.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        raise InputError(f"{file} is missing; build this directory again.") from None
    if len(ids) != number:
        raise InputError(f"{file} holds {len(ids)} ids; expected {number}. Build this directory again.")
    return ids
