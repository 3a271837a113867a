"""An index in shards: written, opened, and searched with the results of one index."""

import shutil

import numpy as np
import pytest
from support import no_bar
from worlds import World

from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.codec import Codec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError
from colbertv2.indexing import building
from colbertv2.indexing.index import Index
from colbertv2.indexing.sharded_index import ShardedIndex, open_index, statistics_of
from colbertv2.search import device_search, sharded
from colbertv2.search.cascade import Cascade
from colbertv2.search.engine import Engine, OnCPU
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.plaid import Plaid
from colbertv2.search.scoring import Found
from colbertv2.search.searcher import Searcher
from colbertv2.search.vanilla_colbertv2 import VanillaColBERTv2
from colbertv2.search.xtr import XTR

EVERYTHING = 10**6
EXACT = [  # engines that keep every document until they score it exactly
    Exhaustive(),
    Cascade(ndocs=None),
    Plaid(nprobe=EVERYTHING, centroid_score_threshold=-2, ndocs=EVERYTHING),
    VanillaColBERTv2(nprobe=EVERYTHING),
    XTR(nprobe=None, imputation_tokens=None),
]


def in_shards(world: World, num_shards: int, codec: Codec | None = None) -> ShardedIndex:
    """The index of the world, built in shards."""
    return ShardedIndex.build(
        world.embeddings(),
        codec or ResidualCodec(2),
        world.path / f"{num_shards} shards",
        num_shards=num_shards,
        seed=0,
        bar=no_bar,
        clustering=Clustering(num_centroids=32, kmeans_iterations=4),
    )


def same(found: list[Found], expected: list[Found]) -> bool:
    return all(
        np.array_equal(one.positions, other.positions)
        and np.array_equal(one.scores, other.scores)
        and one.tied == other.tied
        for one, other in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("engine", EXACT, ids=repr)
def test_exact_engines_find_in_shards_what_they_find_in_one_index(new_world, engine):
    world = new_world(60)
    index, queries = world.index(), world.queries(8)
    for num_shards in (2, 7, 60):  # in the last, some shards have no vectors
        searcher = Searcher(in_shards(world, num_shards), engine)
        for k in (1, 10, 100):
            assert same(searcher.find(queries, k), Searcher(index, engine).find(queries, k))
        shutil.rmtree(searcher.index.path)


@pytest.mark.parametrize("codec", [Float16Codec(), BinaryCodec()], ids=repr)
def test_codecs_without_centroids_can_be_in_shards(new_world, codec):
    world = new_world(30)
    index, queries = world.index(codec), world.queries(5)
    found = Searcher(in_shards(world, 4, type(codec)()), Exhaustive()).search(queries, 7)
    assert found == Searcher(index, Exhaustive()).search(queries, 7)


def test_ties_between_shards_are_broken_and_reported_as_in_one_index(new_world):
    world = new_world(24)
    axes = np.eye(16, dtype=np.float32)
    world.documents = [axes[[number % 3]] for number in range(24)]  # eight documents each have the same score
    index = world.index(Float16Codec())
    for num_shards in (2, 5, 24):
        searcher = Searcher(in_shards(world, num_shards, Float16Codec()), Exhaustive())
        for k in range(1, 26):
            expected = Searcher(index, Exhaustive()).find([axes[[0]]], k)
            assert same(searcher.find([axes[[0]]], k), expected)
            assert expected[0].tied == (k not in (8, 24, 25))


def test_approximate_engines_find_no_less_in_shards(new_world):
    world = new_world(200)
    index, queries = world.index(), world.queries(20)
    split, exact = in_shards(world, 4), Searcher(index, Exhaustive()).find(queries, 10)
    for engine in (Plaid(nprobe=2, ndocs=40), Cascade(ndocs=20), VanillaColBERTv2(ncandidates=20)):
        kept = [
            sum(len(np.intersect1d(one.positions, best.positions)) for one, best in zip(found, exact, strict=True))
            for found in (Searcher(kind, engine).find(queries, 10) for kind in (index, split))
        ]
        assert kept[0] <= kept[1] <= 200


def test_candidates_are_reranked_across_shards(new_world):
    world = new_world(50)
    index, queries, random = world.index(), world.queries(6), np.random.default_rng(0)
    candidates = [[f"d{number}" for number in random.choice(50, 12)] for _ in queries]
    split = Searcher(in_shards(world, 6), Plaid())
    assert split.rerank(queries, candidates, 5) == Searcher(index, Plaid()).rerank(queries, candidates, 5)
    with pytest.raises(InputError, match="'nothing' is not in the index"):
        split.rerank(queries[:1], [["nothing"]], 5)


def test_shards_hold_what_one_index_holds_and_share_its_codec(new_world):
    world = new_world(50)
    index, split = world.index(), in_shards(world, 3)
    assert [shard.num_documents for shard in split.shards] == [16, 17, 17]
    assert (split.doc_ids, split.lengths.tolist()) == (index.doc_ids, index.lengths.tolist())
    assert all(shard.codec is split.codec for shard in split.shards)
    for file in (index.path / "codec").iterdir():
        assert (split.path / "codec" / file.name).read_bytes() == file.read_bytes()
    for shard, start in zip(split.shards, split.starts, strict=False):
        own = np.arange(shard.num_documents)
        np.testing.assert_array_equal(shard.decode(own).vectors, index.decode(start + own).vectors)
    whole, parts = statistics_of(index), statistics_of(split)
    alike = ("codec", "num_documents", "num_vectors", "num_centroids", "bytes_per_token", "notes")
    assert all(whole[name] == parts[name] for name in alike)
    total = sum(file.stat().st_size for file in split.path.rglob("*") if file.is_file())
    assert parts["index_bytes_per_token"] == total / index.num_vectors > whole["index_bytes_per_token"]


@pytest.mark.parametrize("block", [3, 2**16])
def test_parts_never_hold_vectors_of_two_shards(new_world, monkeypatch, block):
    monkeypatch.setattr(building, "BLOCK_VECTORS", block)
    world = new_world(40)
    index, split = world.index(), in_shards(world, 7)
    decoded = [shard.decode(np.arange(shard.num_documents)).vectors for shard in split.shards]
    np.testing.assert_array_equal(np.concatenate(decoded), index.decode(np.arange(40)).vectors)


@pytest.mark.parametrize("number", [0, 1, 31])
def test_too_few_and_too_many_shards_are_refused(new_world, number):
    with pytest.raises(InputError, match=f"num_shards is {number}, .*(at least 2|more than the 30 documents)"):
        in_shards(new_world(30), number)


def test_what_needs_one_index_refuses_shards(new_world):
    with pytest.raises(InputError, match=r"in shards.*index_shards=1"):
        Index.open(in_shards(new_world(30), 2).path)


def test_a_damaged_index_in_shards_is_refused(new_world):
    split = in_shards(new_world(30), 3)
    shutil.rmtree(split.path / "1")
    with pytest.raises(InputError, match=r"1.index\.json"):
        open_index(split.path)
    (split.path / "shards.json").write_text('{"num_shards": "three"}')
    with pytest.raises(InputError, match="num_shards 'three', expected a number"):
        open_index(split.path)


def test_an_index_replaces_one_in_shards_and_the_reverse(new_world):
    world = new_world(30)
    path = in_shards(world, 2).path
    files = {file for file in path.rglob("*")}
    whole = world.index(name=path.name)
    assert isinstance(open_index(path), Index)
    kept = {*whole.bytes, "index.json"}
    assert {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()} == kept
    assert isinstance(open_index(in_shards(world, 2).path), ShardedIndex)
    assert {file for file in path.rglob("*")} == files


@pytest.mark.parametrize("room", [1, 2, 10])
def test_shards_take_turns_on_a_device_that_holds_only_some(new_world, monkeypatch, room):
    world = new_world(40)
    index, queries = world.index(), world.queries(5)
    split, held = in_shards(world, 4), []

    class Small(Exhaustive):
        def bound(self, index, device="cpu"):
            if searcher is not None and len(searcher.engine.kept) >= room:  # pyright: ignore
                raise InputError("no memory")
            held.append(index.path.name)
            return OnCPU(self, index)

    searcher = None
    searcher = Searcher(split, Small(), "cuda")
    for _ in range(2):
        assert same(searcher.find(queries, 7), Searcher(index, Exhaustive()).find(queries, 7))
    assert len(held) == {1: 8, 2: 8, 10: 4}[room]


def test_an_engine_that_never_fits_says_so(new_world):
    class Never(Engine):
        def search(self, index, queries, k):
            return []

        def bound(self, index, device="cpu"):
            raise InputError(f"{index.path.name} does not fit")

    with pytest.raises(InputError, match="0 does not fit"):
        Searcher(in_shards(new_world(30), 2), Never())


def test_the_device_engines_search_shards(new_world, monkeypatch, same_results):
    real = device_search.DeviceIndex
    monkeypatch.setattr(device_search, "DeviceIndex", lambda index, device: real(index, "cpu"))
    world = new_world(50)
    index, queries = world.index(), world.queries(5)
    searcher = Searcher(in_shards(world, 3), Exhaustive(), "cuda")
    assert searcher.path == "Exhaustive on cpu, 3 shards"
    assert isinstance(searcher.engine, sharded.BoundShards)
    same_results(searcher.find(queries, 20), Searcher(index, Exhaustive()).find(queries, 20))
