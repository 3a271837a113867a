"""Stage: the size of an index that need not be there, by arithmetic from what its codec takes for a vector."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from colbertv2.artifacts.stage import stage
from colbertv2.compression.codec import Codec
from colbertv2.files import write_json
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt, Weight

GIB = 2**30

Vectors = Annotated[int, Interval(ge=1, le=10**15)]  # in an index that need not fit here


@stage(version=1)
def run(
    codec: Codec, *, dim: PositiveInt, vectors: Vectors, inverted_bytes: Weight, out: Path, runtime: Runtime
) -> None:
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


def check(codec: Codec, dim: int, **_: object) -> Iterator[str]:
    """A vector that the codec can encode."""
    yield from codec.check(dim)
