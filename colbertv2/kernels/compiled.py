"""Loops that numba compiles at first use on a machine and keeps on disk, and LLVM's vector types within them."""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import extending, njit
from numba.core import config as numba_config
from numba.core import event

from colbertv2.directories import PACKAGE, in_checkout

config: Any = numba_config

intrinsic: Any = extending.intrinsic  # which gives functions that lack the first parameter

LANES = 32  # values side by side in a vector, which numba makes vector instructions of wherever it runs

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
BYTES, SHORTS, WORDS = (ir.VectorType(lane, LANES) for lane in (I8, I16, I32))
FLOATS = ir.VectorType(ir.FloatType(), LANES)


def cache_directory() -> Path:
    """Where compiled loops are kept, for these very sources: inside a checkout, else in the user's cache.

    numba compiles anew when the file of a function has changed, but not when what the function calls has.
    """
    sources = [
        text for file in sorted(PACKAGE.rglob("*.py")) if b"colbertv2.kernels.compiled" in (text := file.read_bytes())
    ]
    digest = hashlib.sha256(b"".join([Path(__file__).read_bytes(), *sources])).hexdigest()[:10]
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


def pointer(context: Any, builder: Any, array_type: Any, array: Any, place: Any = None) -> Any:
    """Address of an array's first element, or of the one at ``place``."""
    data = context.make_array(array_type)(context, builder, array).data
    return data if place is None else builder.gep(data, [place])


def load(builder: Any, address: Any, kind: Any) -> Any:
    """The vector at an address that need not be aligned."""
    value = builder.load(builder.bitcast(address, kind.as_pointer()))
    value.align = 1
    return value


def store(builder: Any, value: Any, address: Any) -> None:
    """Write a vector to an address that need not be aligned."""
    builder.store(value, builder.bitcast(address, value.type.as_pointer())).align = 1


def spread(builder: Any, value: Any) -> Any:
    """A vector with ``value`` in every lane."""
    kind = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, one, ir.Constant(WORDS, [0] * LANES))
