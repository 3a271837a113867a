"""The computed size of an index: a codec's size of a vector is what it writes, and what the paper prints."""

import json

import numpy as np
import pytest
from support import CODECS, index_of, unit

from colbertv2.compression.clustering.clustering import Clustering, Clusters
from colbertv2.compression.residual import ResidualCodec
from colbertv2.runtime import Runtime
from colbertv2.schema import hints_of, misfits
from colbertv2.stages import index_size

MSMARCO = {"dim": 128, "vectors": 597_900_000, "inverted_bytes": 8.0}
EVERY_CODEC = [*(make(2) for make in CODECS.values()), *(ResidualCodec(bits) for bits in (1, 4, 8))]


@pytest.fixture
def sizes(tmp_path):
    def run(codec, **arguments) -> dict[str, float]:
        index_size.run(codec, **arguments, out=tmp_path, runtime=Runtime(root=tmp_path, device="cpu"))
        return json.loads((tmp_path / "metrics.json").read_text())

    return run


@pytest.mark.parametrize("codec", EVERY_CODEC, ids=repr)
def test_it_is_what_the_codec_writes_for_a_vector(sizes, codec):
    found = sizes(codec, dim=64, vectors=2**30, inverted_bytes=3.0)
    vectors = unit(np.random.default_rng(1).normal(size=(300, 64)))
    if codec.has_centroids:
        codec.learn(Clustering(num_centroids=2).fit(vectors, num_documents=9, average_length=9, seed=0, device="cpu"))
    else:
        codec.learn(Clusters(None, vectors))
    written = codec.encode(vectors[:5])
    assert found["bytes_per_token"] == found["GiB"] == sum(array.nbytes for array in written.values()) / 5
    assert found["GiB_with_inverted_list"] == found["GiB"] + (3 if codec.has_centroids else 0)


@pytest.mark.parametrize(("bits", "printed"), [(1, 16), (2, 25)])
def test_the_paper_prints_what_comes_out(sizes, bits, printed):
    found = sizes(ResidualCodec(bits), **MSMARCO)
    assert found["bytes_per_token"] == 4 + 16 * bits
    assert found["GiB_with_inverted_list"] - found["GiB"] == pytest.approx(4.5, abs=0.05)
    assert printed - 1 < found["GiB_with_inverted_list"] <= printed


def test_a_built_index_says_the_same_of_a_vector(sizes, tmp_path):
    index = index_of(tmp_path / "built", ResidualCodec(2), [8] * 40, 16, seed=0)
    assert sizes(ResidualCodec(2), dim=16, vectors=1, inverted_bytes=0.0)["bytes_per_token"] == (index.bytes_per_vector)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({"dim": 12}, "12 dimensions"), ({"vectors": 0}, "'vectors' is 0"), ({"inverted_bytes": -1.0}, "from 0"),
     ({"dim": 0}, "'dim' is 0")],
)  # fmt: skip
def test_sizes_that_cannot_be_are_refused_before_any_work(changed, expected):
    assert list(index_size.check(ResidualCodec(1), **MSMARCO)) == []
    given = MSMARCO | changed
    found = [*misfits(hints_of(index_size.run), given), *index_size.check(ResidualCodec(1), **given)]
    assert any(expected in problem for problem in found)
