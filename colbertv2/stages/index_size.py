"""Stage: the size of an index that need not be there, by arithmetic from what its codec takes for a vector."""

from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.stage import stage
from colbertv2.compression.codec import Codec
from colbertv2.files import write_json
from colbertv2.runtime import Runtime

GIB = 2**30


@stage(version=1)
def run(codec: Codec, *, dim: int, vectors: int, inverted_bytes: float, out: Path, runtime: Runtime) -> None:
    """Multiply what ``codec`` says that one vector takes.

    Writes ``metrics.json``: ``bytes_per_token`` (the codec's own figure, as in an index's ``statistics.json``: the id
    of a centroid in four bytes, and the residual), ``GiB`` (2^30 bytes) of so many vectors, and
    ``GiB_with_inverted_list``, the same for a codec without centroids, which has no such list. Centroids themselves
    and what is stored a document are not counted.

    Args:
        dim: dimensions of a vector. vectors: how many there are.
        inverted_bytes: of the inverted list, a vector.
    """
    each = codec.bytes_per_vector(dim)
    listed = inverted_bytes if codec.has_centroids else 0
    sizes = {
        "bytes_per_token": each,
        "GiB": vectors * each / GIB,
        "GiB_with_inverted_list": vectors * (each + listed) / GIB,
    }
    write_json(out / "metrics.json", sizes)


def check(codec: Codec, dim: int, vectors: int, inverted_bytes: float) -> Iterator[str]:
    """A vector that the codec can encode, and sizes that can be."""
    for name, value in (("dim", dim), ("vectors", vectors)):
        if value < 1:
            yield f"{name} is {value}; expected at least 1."
    yield from codec.check(dim)
    if inverted_bytes < 0:
        yield f"inverted_bytes is {inverted_bytes}; expected at least 0."
