"""Toy components: one with checked arguments, one that reads outside data."""

import hashlib
from pathlib import Path

from colbertv2.errors import InputError


class Codec:
    def __init__(self, bits: int, dim: int) -> None:
        if bits not in (1, 2, 4):
            raise InputError(f"bits is {bits}; expected 1, 2 or 4.")
        self.bits = bits
        self.dim = dim


class Corpus:
    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def identity(self) -> dict:
        if not self.path.exists():
            raise InputError(f"{self.path} does not exist.")
        return {"sha256": hashlib.sha256(self.path.read_bytes()).hexdigest()}


class Pair:
    def __init__(self, first: object, second: object = None, options: dict | None = None) -> None:
        self.first, self.second, self.options = first, second, options
