"""The decorator for loops that numba compiles at first use, with a cache on disk."""

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
    """The cache directory for loops compiled from the current sources: in the checkout, else in the user's cache.

    ``NUMBA_CACHE_DIR`` replaces both if it is set. If none of them is writable, the directory is temporary and removed
    when the process ends: a permanent directory shared by all users could contain another user's code. ``None`` if even
    that fails.

    The directory depends on all sources of this package, because numba recompiles a function when its own file has
    changed, but not when a function that it calls has changed.
    """
    digest = sha256_of_files(*sorted((PACKAGE / "kernels").glob("*.py")))[:10]
    candidates = [PACKAGE / "__pycache__"] if in_checkout() else []
    with suppress(RuntimeError):  # raised if the user has no home directory
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
    """Decorate a function so that numba compiles it at first use, caches it on disk, and runs it without the GIL.

    Args:
        options: further options of ``numba.njit``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        before, config.CACHE_DIR = config.CACHE_DIR, str(CACHE or "")  # only for these functions
        try:
            return njit(nogil=True, cache=CACHE is not None, **options)(function)
        finally:
            config.CACHE_DIR = before

    return decorate


class Announcement(event.Listener):
    """Prints once that this project's loops are being compiled, because that takes several seconds."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: Any) -> None:
        """Called when numba compiles a function that is not in the cache."""
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("colbertv2."):
            self.said = True
            print("Compiling loops; this happens once per machine.", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        """Required by numba; prints nothing."""


event.register("numba:compile", Announcement())
