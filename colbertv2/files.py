"""Nothing half-written is ever taken for whole: a file or directory appears under its name when it is finished."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colbertv2.errors import InputError


@contextmanager
def atomic_path(destination: Path, directory: bool = True) -> Iterator[Path]:
    """An empty directory (or the path of a file) to write, which becomes ``destination`` unless something fails.

    Raises:
        InputError: ``destination`` exists.
    """
    if destination.exists():
        raise InputError(f"{destination} exists; name one that does not, or remove it first.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{destination.name}.", dir=destination.parent) as temporary:
        partial = Path(temporary) / destination.name
        if directory:
            partial.mkdir()
        yield partial
        partial.rename(destination)


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` at once, in place of what is there; processes may write the same file together.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "new" / "note.txt"
    >>> write_atomically(path, "one")
    >>> write_atomically(path, "two")
    >>> path.read_text(), [file.name for file in path.parent.iterdir()]
    ('two', ['note.txt'])
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
