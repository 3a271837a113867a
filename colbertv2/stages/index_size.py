"""Stage: compute the size of an index from its codec's size of a vector, without building it."""

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

Vectors = Annotated[int, Interval(ge=1, le=10**15)]  # the index need not fit on this machine


@stage(version=1)
def run(
    codec: Codec, *, dim: PositiveInt, vectors: Vectors, inverted_bytes: Weight, out: Path, runtime: Runtime
) -> None:
    """Multiply the codec's size of a vector by the number of vectors.

    Writes ``metrics.json``: ``bytes_per_token`` (the codec's own figure, as in an index's ``statistics.json``: a
    centroid id of four bytes, and the residual), ``GiB`` (the size of all vectors, in 2^30 bytes), and
    ``GiB_with_inverted_list``, which equals ``GiB`` for a codec without centroids, since it has no inverted list. The
    centroids themselves and data stored per document are not counted.

    Args:
        codec: how vectors are compressed.
        dim: number of dimensions of a vector.
        vectors: number of vectors.
        inverted_bytes: bytes per vector in the inverted list.
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
    """Check that the codec supports vectors of ``dim`` dimensions."""
    yield from codec.check(dim)
