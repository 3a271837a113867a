"""The decorator of loops that numba compiles at first use on a machine and keeps on disk."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config as numba_config
from numba.core import event

from colbertv2.files import PACKAGE, in_checkout, sha256_of_files

config: Any = numba_config


def cache_directory() -> Path:
    """Where compiled loops are kept, for these very sources: inside a checkout, else in the user's cache.

    numba compiles anew when the file of a function has changed, but not when what the function calls has.
    """
    digest = sha256_of_files(*sorted((PACKAGE / "kernels").glob("*.py")))[:10]
    users = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "colbertv2"
    default = PACKAGE / "__pycache__" if in_checkout() and os.access(PACKAGE, os.W_OK) else users
    root = Path(config.CACHE_DIR) if config.CACHE_DIR else default
    return root / f"compiled-{digest}"


CACHE = str(cache_directory())


def compiled(**options: Any) -> Any:
    """A decorator: compile at first use, keep on disk; Python's lock is free while the loop runs."""

    def decorate(function: Callable[..., Any]) -> Any:
        before, config.CACHE_DIR = config.CACHE_DIR, CACHE  # of these functions alone
        try:
            return njit(nogil=True, cache=True, **options)(function)
        finally:
            config.CACHE_DIR = before

    return decorate


class Announcement(event.Listener):
    """Says once that loops of this project are being compiled: it takes seconds, at their first use on a machine."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: Any) -> None:
        """A function was not in the cache."""
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("colbertv2."):
            self.said = True
            print("Compiling loops; this happens once on a machine.", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


event.register("numba:compile", Announcement())
