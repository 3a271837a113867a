"""The decorator of loops that numba compiles at first use on a machine and keeps on disk."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config as numba_config
from numba.core import event

from colbertv2.files import PACKAGE, in_checkout, sha256_of_files

config: Any = numba_config


def cache_directory() -> Path | None:
    """Where compiled loops are kept, for these very sources: inside a checkout, else in the user's cache.

    Where neither can be written to, in a directory of this process that is removed at its end: a lasting one that all
    users share could hold code of another user. ``None`` where not even that can be had.

    numba compiles anew when the file of a function has changed, but not when what the function calls has.
    """
    digest = sha256_of_files(*sorted((PACKAGE / "kernels").glob("*.py")))[:10]
    candidates = [PACKAGE / "__pycache__"] if in_checkout() else []
    with suppress(RuntimeError):  # this user has no home
        candidates.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "colbertv2")
    if config.CACHE_DIR:
        candidates = [Path(config.CACHE_DIR)]
    for root in candidates:
        if _is_writable(root / f"compiled-{digest}"):
            return root / f"compiled-{digest}"
    try:
        temporary = tempfile.mkdtemp(prefix="colbertv2-compiled-")
    except OSError:
        return None
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


def _is_writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


CACHE = cache_directory()


def compiled(**options: Any) -> Any:
    """A decorator: compile at first use, keep on disk; Python's lock is free while the loop runs."""

    def decorate(function: Callable[..., Any]) -> Any:
        before, config.CACHE_DIR = config.CACHE_DIR, str(CACHE or "")  # of these functions alone
        try:
            return njit(nogil=True, cache=CACHE is not None, **options)(function)
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
