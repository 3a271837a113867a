"""``File``: an external file, identified by its content."""

from functools import cached_property
from pathlib import Path

from colbertv2.errors import InputError
from colbertv2.files import sha256_of_files


class File:
    """A file that a stage reads, identified by the hash of its content and not by its path.

    Raises:
        InputError: the file does not exist.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise InputError(f"There is no file {path}.")

    def identity(self) -> dict[str, str]:
        """Return the SHA-256 of the content."""
        return {"sha256": self.sha256}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content, computed once per instance."""
        return sha256_of_files(self.path)
