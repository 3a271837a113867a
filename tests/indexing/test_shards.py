import numpy as np
import pytest
from support import no_bar
from worlds import World

from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError
from colbertv2.indexing.index import Index
from colbertv2.indexing.shards import ShardedSearcher, merge
from colbertv2.search.cascade import Cascade
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.searcher import Searcher
from colbertv2.search.vanilla_colbertv2 import VanillaColBERTv2

CODECS = [ResidualCodec(2, num_centroids=32), ProductCodec(2, num_centroids=300), Float16Codec()]


def parts_of(world, codec, num_sampled_documents=150) -> list[Index]:
    embeddings = world.embeddings(20)
    return [
        Index.build_fitted(
            embeddings.part(first, last), codec, world.path / f"part-{first}",
            num_sampled_documents=num_sampled_documents, device="cpu", bar=no_bar,
        )
        for first, last in ((0, 1), (1, 5), (5, 8))
    ]  # fmt: skip


@pytest.fixture(params=CODECS, ids=lambda codec: type(codec).__name__)
def whole_and_parts(request, new_world):
    world = new_world(150)
    whole = world.index(request.param)
    return world, whole, parts_of(world, request.param, whole.num_sampled_documents)


def test_several_indexes_are_searched_as_if_they_were_one(whole_and_parts):
    world, whole, parts = whole_and_parts
    queries = [*world.queries(10), world.documents[4]]  # documents 4 and 12 are equal
    engines = [Exhaustive()]
    if whole.codec.has_centroids:
        engines += [Cascade(ndocs=None, nexact=None), VanillaColBERTv2(nprobe=300)]
    for engine in engines:
        for k in (1, 7, 1000):
            expected = Searcher(whole, engine).search(queries, k)
            found = ShardedSearcher(parts, engine).search(queries, k)
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose([score for _, score in one], [score for _, score in other], atol=1e-5)
                assert len(one) == len(other)
                scores = dict(other)
                assert all(abs(scores.get(doc_id, other[-1][1]) - score) < 1e-5 for doc_id, score in one)


def test_merged_they_are_the_index_of_one_build(whole_and_parts):
    world, whole, parts = whole_and_parts
    merged = merge(parts, world.path / "merged")
    for name in ("index.json", *whole.bytes):
        assert (merged.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_what_does_not_belong_together_is_refused(new_world, tmp_path):
    world = new_world(150)
    parts = parts_of(world, world.index(ResidualCodec(2, num_centroids=32)).codec)
    other = World(tmp_path / "other", 20, seed=1).index()
    with pytest.raises(InputError, match="different codecs"):
        merge([*parts, other], tmp_path / "merged")
    with pytest.raises(InputError, match="different codecs"):
        merge([], tmp_path / "merged")
    with pytest.raises(InputError, match="one of the indexes"):
        merge(parts, parts[0].path)
    assert Index.open(parts[0].path).num_documents == 20
    with pytest.raises(InputError, match="0 indexes"):
        ShardedSearcher([], Exhaustive())
