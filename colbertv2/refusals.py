"""Errors of the machine as messages that a user can act on: full disks, missing permissions, too little memory.

Libraries report a full disk in many ways, some without a path or an error number. So the error itself is read first; if
it says nothing useful, the file systems that a run writes to are checked for free space.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from colbertv2.errors import InputError

FULL = 1_000_000  # bytes: with less free space than this, a failed write is blamed on the full disk
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
MEANINGS = {
    errno.EROFS: "is on a file system that is mounted read-only",
    errno.EACCES: "is not accessible to this user (permission denied)",
    errno.EPERM: "is not accessible to this user (permission denied)",
    errno.EIO: "cannot be read or written: the disk reports an error",
    errno.EFBIG: "would exceed the largest file size allowed here (ulimit -f, or the file system's limit)",
    errno.ENAMETOOLONG: "has a name that is too long for its file system",
    errno.ELOOP: "is a symbolic link that points back to itself",
    errno.ENOTDIR: "has a file where a directory is needed",
    errno.EEXIST: "is a file where a directory is needed",
    errno.EISDIR: "is a directory where a file is needed",
    errno.ESTALE: "is gone from its network file system",
}
ALWAYS_FILES = (errno.EROFS, errno.EFBIG, errno.EIO)  # concern a file even if the error names no path
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
NO_MEMORY = ("can't allocate memory", "CUDA out of memory", "Cannot allocate memory")


def free_disk(path: Path) -> int:
    """Free bytes on the file system of ``path``, which need not exist yet."""
    path = path.absolute()
    return shutil.disk_usage(next(one for one in (path, *path.parents) if os.path.exists(one))).free


def refusal(error: BaseException, *places: Path) -> str | None:
    """A message that says what the machine refused, where, and what to do; ``None`` for any other kind of error.

    Args:
        error: its causes and contexts are read too, since libraries wrap the errors they catch.
        places: directories that were being written to, in addition to the one for temporary files.

    >>> refusal(OSError(errno.EROFS, "Read-only file system", "/data/store/index"))
    '/data/store/index is on a file system that is mounted read-only. Use a place of your own, such as runtime.root=….'
    """
    chain = list(_chain(error))
    full = next((one for one in places_to_write(*places) if _is_full(one)), None)
    for one in chain:
        number, path = _number(one), _path(one)
        if number in NO_SPACE:
            return _no_space(Path(path) if path else full or next(iter(places), Path.cwd()))
        if number in TOO_MANY_FILES:
            return "Too many files are open. Raise the limit (ulimit -n 4096) and run the same command again."
        if number in MEANINGS and (path or number in ALWAYS_FILES):
            place = path or next(iter(places), "A file")
            return f"{place} {MEANINGS[number]}. Use a place of your own, such as runtime.root=…."
        if isinstance(one, FileNotFoundError) and "temporary directory" in str(one):
            return f"{one.strerror or one}. Set TMPDIR to a directory that can be written to."
        if isinstance(one, MemoryError) or number == errno.ENOMEM or any(words in str(one) for words in NO_MEMORY):
            said = str(one).splitlines()[0] if str(one) else "no more is available"
            return (
                f"Memory ran out ({said}). Lower runtime.batch_tokens, runtime.shard_documents or the batch size, or "
                "use a machine with more; finished work is kept."
            )
    return _no_space(full) if full else None


@contextmanager
def machine_refusals(*places: Path) -> Iterator[None]:
    """Turn errors of the machine raised inside the context into an :class:`InputError`; let other errors pass.

    Raises:
        InputError: see :func:`refusal`.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if text := refusal(error, *places):
            raise InputError(text) from error
        raise


def places_to_write(*places: Path) -> Iterator[Path]:
    """``places``, then the directories that libraries write to: temporary files, the user's cache, ir_datasets."""
    yield from places
    with suppress(FileNotFoundError):
        yield Path(tempfile.gettempdir())
    for variable, default in (("XDG_CACHE_HOME", "~/.cache"), ("IR_DATASETS_HOME", "~/.ir_datasets")):
        with suppress(RuntimeError):  # this user has no home directory
            yield Path(os.environ.get(variable, default)).expanduser()


def _number(error: BaseException) -> int | None:
    """The error number, which Rust libraries give only in the text of the error."""
    found = error.errno if isinstance(error, OSError) else None
    in_text = re.search(r"\(os error (\d+)\)", str(error)) if found is None else None
    return int(in_text[1]) if in_text else found


def _path(error: BaseException) -> str | None:
    """The path that was written to; if the error names two paths, the second."""
    for one in (getattr(error, "filename2", None), getattr(error, "filename", None)):
        if isinstance(one, (str, bytes, os.PathLike)):
            return os.fsdecode(one)
    return None


def _no_space(path: Path) -> str:
    return (
        f"The disk is full where {path} is ({free_disk(path) / 1e6:.1f} MB free). Make space there, or choose another "
        "place (runtime.root=… for artifacts, runtime.scratch=… or TMPDIR for temporary files); the same command then "
        "continues."
    )


def _is_full(path: Path) -> bool:
    try:
        return free_disk(path) < FULL
    except (OSError, StopIteration):
        return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
