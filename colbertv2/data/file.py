"""``File``: a file from outside, known by its content."""

from functools import cached_property
from pathlib import Path

from colbertv2.errors import InputError
from colbertv2.files import sha256_of_files


class File:
    """A file that a stage reads; its identity is the hash of its content, not its place.

    Raises:
        InputError: there is no such file.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise InputError(f"There is no file {path}.")

    def identity(self) -> dict[str, str]:
        """SHA-256 of the content."""
        return {"sha256": self.sha256}

    @cached_property
    def sha256(self) -> str:
        """Read once a process."""
        return sha256_of_files(self.path)
