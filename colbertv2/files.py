"""Atomic writes, JSON, ``.npy`` files, SHA-256 digests, and the location of the configuration folders.

A file or directory that is written atomically appears under its name only when it is complete. The folders ``conf`` and
``experiments`` are next to the package in a checkout, and inside the package in a normal install.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from colbertv2.errors import InputError
from colbertv2.lifetime import is_gone, owner

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARRAY_ERRORS = (  # numpy raises these for a damaged .npy file: it parses the header as Python, with any shape in it
    OSError, ValueError, EOFError, BadZipFile, SyntaxError, TokenError, TypeError, OverflowError, MemoryError,
)  # fmt: skip
NOT_FLUSHED = (errno.EINVAL, errno.ENOTSUP)  # of a directory, on file systems that have no such operation
BLOCK = 1 << 20  # bytes read at a time
PACKAGE = Path(__file__).resolve().parent


@contextmanager
def atomic_path(destination: Path, directory: bool = True) -> Iterator[Path]:
    """A context with a temporary path to write to, which is renamed to ``destination`` when the block succeeds.

    If the block fails, what it wrote is removed.

    Args:
        destination: the final path, which must not exist yet.
        directory: the temporary path is an empty directory; otherwise it is a free path for one file.

    Raises:
        InputError: ``destination`` exists.
    """
    if destination.exists():
        raise InputError(f"{destination} exists; choose another path, or remove it first.")
    holder = _own_partial(destination)
    holder.mkdir()
    partial = holder / destination.name  # the final name, since some writers choose the format by the suffix
    if directory:
        partial.mkdir()
    try:
        yield partial
        partial.rename(destination)
    finally:
        _remove(holder)


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, replacing any existing file; several processes may do so at once.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "new" / "note.txt"
    >>> write_atomically(path, "one")
    >>> write_atomically(path, "two")
    >>> path.read_text(), [file.name for file in path.parent.iterdir()]
    ('two', ['note.txt'])
    """
    partial = _own_partial(path)
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        _remove(partial)


def _own_partial(path: Path) -> Path:
    """This process's temporary path for ``path``; also removes those left behind by processes that were killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    begin, end = f".{path.name}.", ".partial"
    for other in path.parent.iterdir():
        if other.name.startswith(begin) and other.name.endswith(end) and is_gone(other.name[len(begin) : -len(end)]):
            _remove(other)
    return path.with_name(f"{begin}{owner()}{end}")


def remove_partials(directory: Path) -> None:
    """Remove all unfinished atomic writes below ``directory``; no other process may be writing there."""
    for partial in list(directory.rglob(".*.partial")):
        _remove(partial)


def flush_to_disk(*paths: Path) -> None:
    """Return only once files, and the lists of names in directories, have reached the disk or the file server.

    A crash of the machine can't take them back then. It is also here that some file systems first report a full disk.
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in NOT_FLUSHED:
                raise OSError(error.errno, error.strerror, str(path)) from error
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a file or a directory if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(file: Path, value: Any, indent: int | None = 2) -> None:
    """Write ``value`` as JSON to ``file`` atomically, replacing any existing file.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "sizes.json"
    >>> write_json(file, {"documents": 3})
    >>> read_json(file)
    {'documents': 3}
    """
    write_atomically(file, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``.

    Raises:
        InputError: the file is missing or damaged, or its content is not a JSON object.
    """
    value = read_json_value(file)
    if not isinstance(value, dict):
        raise InputError(f"{file} holds {type(value).__name__}; expected a JSON object.")
    return value


def read_json_value(file: Path) -> Any:
    """The JSON value in ``file``, of any type.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{file} is missing: {file.parent} is not complete; wait if it is still being made, or make it again."
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is damaged ({error}); make {file.parent} again.") from None
    except OSError as error:
        raise InputError(f"{file} can't be read: {error.strerror or error}.") from None


def read_array(file: Path) -> NDArray[Any]:
    """The array in a ``.npy`` file, read into memory. Arrays of Python objects are refused: unpickling can run code.

    Raises:
        InputError: the file is missing or damaged, or holds Python objects.
    """
    try:
        return load_npy(file)
    except FileNotFoundError:
        raise InputError(f"{file} is missing: {file.parent} is not complete; make it again.") from None
    except ARRAY_ERRORS as error:
        raise InputError(f"{file} is damaged ({error}); make {file.parent} again.") from None


def load_npy(file: Path, mapped: bool = False) -> NDArray[Any]:
    """The array in a ``.npy`` file, read into memory, or memory-mapped read-only if ``mapped``.

    Raises:
        Exception: one of ``ARRAY_ERRORS`` if the file can't be read as an array.
    """
    import numpy as np

    if mapped:  # numpy ends the process if it maps an array of zero bytes per value (|S0, |V0)
        with open(file, "rb") as opened:
            old = np.lib.format.read_magic(opened) == (1, 0)
            read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
            if read(opened)[2].itemsize == 0:
                raise ValueError("its values have no bytes")
    array = np.load(file, "r" if mapped else None, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("a zip archive")
    return array


def sha256(content: bytes | Iterable[bytes]) -> str:
    """The SHA-256, in hexadecimal, of bytes or of a sequence of blocks as if they were concatenated.

    >>> sha256(b"ab") == sha256([b"a", b"b"]), sha256(b"")[:8]
    (True, 'e3b0c442')
    """
    digest = hashlib.sha256()
    for block in [content] if isinstance(content, bytes) else content:
        digest.update(block)
    return digest.hexdigest()


def sha256_of_files(*files: Path) -> str:
    """The SHA-256, in hexadecimal, of the concatenated contents of ``files``."""
    return sha256(block for file in files for block in blocks(file))


def blocks(file: Path) -> Iterator[bytes]:
    """The content of a file in blocks of ``BLOCK`` bytes."""
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            yield block


def in_checkout() -> bool:
    """Whether the package runs from a checkout, as in an editable install; a wheel contains copies of the folders."""
    return not (PACKAGE / "conf").is_dir()


def configuration_directory(name: str) -> Path:
    """The path of a configuration folder.

    Args:
        name: ``conf`` or ``experiments``.

    >>> (configuration_directory("conf") / "config.yaml").is_file()
    True
    """
    return (PACKAGE.parent if in_checkout() else PACKAGE) / name
