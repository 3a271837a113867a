import json
import multiprocessing
import os
import shutil
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import no_bar
from worlds import DIM, World

from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.division import divide
from colbertv2.errors import InputError
from colbertv2.indexing import building
from colbertv2.indexing.building import is_being_built
from colbertv2.indexing.codes import create_codes, write_codes
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.indexing.index import Index
from colbertv2.lease import Lease


def files(index: Index) -> dict[str, bytes]:
    return {name: (index.path / name).read_bytes() for name in ("index.json", *index.bytes)}


@pytest.mark.parametrize("codec", [ResidualCodec(2), BinaryCodec()])
def test_two_processes_write_what_one_does(new_world, codec):
    world = new_world(800, longest=200)
    assert world.embeddings(500).num_vectors > building.BLOCK_VECTORS
    common = {"clustering": Clustering(num_centroids=300, kmeans_iterations=2), "shard_documents": 500}
    one = world.index(codec, name="one", **common)
    two = world.index(codec, name="two", devices=["cpu", "cpu"], **common)
    assert files(one) == files(two)


def test_an_error_in_one_process_is_raised_and_leaves_no_index(new_world, tmp_path):
    world = new_world(30)
    built = world.index()
    embeddings = world.embeddings(10)
    assert len(embeddings.lengths) == 30  # cached here, so that the damage is found only in the new processes
    cut = embeddings.path / "2.vectors.npy"
    cut.write_bytes(cut.read_bytes()[:-100])
    building.save_codec(built.path, built.codec)
    in_parts = partial(divide, out=tmp_path / "work", devices=["cpu", "cpu"])
    with pytest.raises(InputError, match="cut short"):
        building.encode_all(embeddings, built.path, ResidualCodec, 30, no_bar, in_parts, num_shards=1)
    with pytest.raises(InputError, match=r"index\.json is missing"):
        Index.open(built.path)


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.02, np.nan])
@pytest.mark.parametrize("codec", [ResidualCodec(2), Float16Codec()])
def test_vectors_of_another_norm_are_refused_by_document(tmp_path, monkeypatch, norm, codec):
    monkeypatch.setattr(building, "CHECKED_VECTORS", 7)
    random = np.random.default_rng(0)
    vectors = random.normal(size=(30, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    writer = EmbeddingsWriter(tmp_path / "embeddings", DIM)
    writer.add(["a", "b"], vectors[:10], np.array([6, 4]))
    writer.add(["c", "empty", "d"], vectors[10:], np.array([5, 0, 15]))
    writer.close()
    shard = np.load(tmp_path / "embeddings" / "1.vectors.npy")
    shard[7] *= norm
    np.save(tmp_path / "embeddings" / "1.vectors.npy", shard)
    monkeypatch.setattr(type(codec), "learn", None)  # must be refused before learning
    with pytest.raises(InputError, match=rf"Vector 2 of document d in .* has norm {norm:.4g}"):
        Index.build(
            Embeddings.open(tmp_path / "embeddings"), codec, tmp_path / "index",
            seed=0, bar=no_bar,
        )  # fmt: skip
    with pytest.raises(InputError, match=r"index\.json is missing"):
        Index.open(tmp_path / "index")


@given(st.integers(1, 768), st.integers(0, 2**32 - 1))
def test_unit_vectors_pass_in_half_precision_whatever_their_dimension(dim, seed):
    vectors = np.random.default_rng(seed).normal(size=(20, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    norms = np.linalg.norm(vectors.astype(np.float16).astype(np.float32), axis=1)
    assert np.abs(norms - 1).max() < building.TOLERANCE / 10


def build_slowly(path, started, go_on):
    def bar(items, description, *_):
        if description == "encode vectors":
            started.set()
            go_on.wait(300)
        return items

    Index.build(
        Embeddings.open(path / "embeddings-1000"), ResidualCodec(2),
        path / "index", seed=0, clustering=Clustering(num_centroids=8, kmeans_iterations=1), bar=bar,
    )  # fmt: skip


def test_what_another_process_is_building_is_neither_opened_nor_built(new_world):
    world = new_world(20)
    world.embeddings()
    context = multiprocessing.get_context("spawn")
    started, go_on = context.Event(), context.Event()
    other = context.Process(target=build_slowly, args=(world.path, started, go_on))
    other.start()
    assert started.wait(300) and is_being_built(world.path / "index")
    with pytest.raises(InputError, match="another process is building this index"):
        Index.open(world.path / "index")
    with pytest.raises(InputError, match="Another process is building an index"):
        world.index()
    go_on.set()
    other.join()
    assert Index.open(world.path / "index").num_documents == 20 and not is_being_built(world.path / "index")


def claim_and_end(file):
    Lease.claim(file)
    os._exit(0)


def test_a_build_that_was_killed_is_not_taken_for_whole_and_can_be_repeated(new_world):
    world = new_world(30)
    built = world.index()
    before = files(built)
    (built.path / "index.json").unlink()
    killed = multiprocessing.get_context("fork").Process(target=claim_and_end, args=(built.path / building.LEASE,))
    killed.start()
    killed.join()
    assert (built.path / building.LEASE).exists() and not is_being_built(built.path)
    with pytest.raises(InputError, match=r"index\.json is missing.*not complete"):
        Index.open(built.path)
    assert files(world.index()) == before


def test_an_index_of_another_version_is_refused(new_world):
    path = new_world(30).index().path
    metadata = json.loads((path / "index.json").read_text())
    (path / "index.json").write_text(json.dumps({**metadata, "version": 1}))
    with pytest.raises(InputError, match="version 1"):
        Index.open(path)
    del metadata["version"]
    (path / "index.json").write_text(json.dumps(metadata))
    with pytest.raises(InputError, match="does not have the expected content"):
        Index.open(path)


def test_nothing_is_left_of_a_larger_index_that_was_there(new_world, tmp_path):
    large, small = new_world(60), World(tmp_path / "small", 25)
    expected = files(small.index(ResidualCodec(1)))
    shutil.copytree(large.index(Float16Codec(), name="old").path, small.path / "again")
    assert files(small.index(ResidualCodec(1), name="again")) == expected
    assert sorted(path.name for path in (small.path / "again").iterdir()) == sorted(
        path.name for path in (small.path / "index").iterdir()
    )


def test_the_sample_is_bounded_by_what_k_means_uses(new_world):
    clustering = Clustering(num_centroids=16, max_points_per_centroid=3, kmeans_iterations=1)
    assert clustering.max_sampled_vectors(10**9) == 16 * 3 + 50_000
    assert Clustering().max_sampled_vectors(63 * 10**6) == 65536 * 256 + 50_000
    assert new_world(60).index(clustering=clustering).num_sampled_documents == 60
    assert new_world(60).index(Float16Codec(), name="nothing").num_sampled_documents == 0


def test_codes_that_are_known_are_taken_and_not_found_anew(new_world, tmp_path):
    world = new_world(40)
    embeddings, codec = world.embeddings(), ResidualCodec(2)
    clustering = Clustering(num_centroids=16, kmeans_iterations=1)
    clusters = building.cluster(clustering, embeddings, seed=0, device="cpu")
    codec.learn(clusters)
    known = np.random.default_rng(1).integers(0, 16, embeddings.num_vectors).astype(np.int32)
    create_codes(tmp_path / "codes.npy", len(known), 16)
    write_codes(tmp_path / "codes.npy", 0, known, 16)
    building.save_codec(tmp_path / "index", codec)
    in_parts = partial(divide, out=tmp_path / "work", devices=["cpu"])
    building.encode_all(
        embeddings, tmp_path / "index", ResidualCodec, clusters.num_sampled_documents, no_bar, in_parts,
        num_shards=1, codes=tmp_path / "codes.npy",
    )  # fmt: skip
    index = Index.open(tmp_path / "index")
    np.testing.assert_array_equal(index.codes(np.arange(40)), known)
