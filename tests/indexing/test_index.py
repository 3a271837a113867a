import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError
from colbertv2.indexing import building
from colbertv2.indexing.index import Index
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.plaid import Plaid
from colbertv2.search.searcher import Searcher
from colbertv2.search.vanilla_colbertv2 import VanillaColBERTv2


def test_sizes_and_ids(world, residual_index):
    assert (residual_index.num_documents, residual_index.dim) == (150, 16)
    assert residual_index.num_vectors == residual_index.offsets[-1] == sum(map(len, world.documents))
    assert residual_index.doc_ids == world.doc_ids
    assert residual_index.lengths.tolist() == [len(document) for document in world.documents]
    assert residual_index.num_sampled_documents == 150


def test_decode_returns_the_documents_asked_for_in_order(world, float16_index):
    for positions in ([5, 3, 7, 140], [3, 4, 5], [7], []):
        found = float16_index.decode(np.array(positions, dtype=np.int64))
        assert found.vectors.dtype == np.float32
        expected = [world.documents[position].astype(np.float16) for position in positions]
        assert found.lengths.tolist() == [len(document) for document in expected]
        np.testing.assert_array_equal(found.vectors, np.concatenate([np.zeros((0, 16)), *expected]))


def test_codes_and_inverted_list_agree_with_the_codec(world, residual_index):
    for position in (0, 4, 7, 149):
        codes = residual_index.codes(np.array([position]))
        expected = residual_index.codec.encode(world.documents[position].astype(np.float16).astype(np.float32))
        np.testing.assert_array_equal(codes, expected["codes"])
        for code in codes:
            assert position in residual_index.inverted(np.array([code]))
    everyone = residual_index.inverted(np.arange(32)).tolist()
    assert everyone == [position for position in range(150) if len(world.documents[position])]


@pytest.mark.parametrize("block", [3, 2**16])
def test_one_shard_or_many_and_any_block_give_the_same_files(new_world, monkeypatch, block):
    world = new_world(60)
    whole = world.index(name="whole")
    monkeypatch.setattr(building, "BLOCK_VECTORS", block)
    parts = world.index(name="parts", shard_documents=7)
    assert parts.bytes == whole.bytes
    for name in whole.bytes:
        assert (parts.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_bytes_per_token_is_everything_on_disk(residual_index, float16_index):
    for found in (residual_index, float16_index):
        total = sum(file.stat().st_size for file in found.path.rglob("*") if file.is_file())
        width = sum(array.nbytes for array in found.arrays.values()) / found.num_vectors
        assert found.bytes_per_token == total / found.num_vectors > width


def test_files_that_others_put_there_do_not_count(new_world):
    found = new_world(30).index()
    before = found.bytes_per_token
    (found.path / "notes.txt").write_text("mine")
    assert Index.open(found.path).bytes_per_token == before


@pytest.mark.parametrize(
    "name",
    [
        "codes.npy",
        "residuals.npy",
        "lengths.npy",
        "doc_ids.txt",
        "inverted.lists.npy",
        "inverted.lengths.npy",
        "inverted.low_bits.npy",
        "inverted.sizes.npy",
        "codec/centroids.npy",
        "codec/codec.json",
        "index.json",
    ],
)
def test_missing_or_cut_files_are_input_errors(new_world, name):
    found = new_world(30).index()
    file = found.path / name
    content = file.read_bytes()
    file.write_bytes(content[:-4])
    with pytest.raises(InputError, match=name):
        Index.open(found.path)
    file.unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        Index.open(found.path)


def test_array_of_another_shape_is_an_input_error(new_world):
    found = new_world(30).index()
    codes = np.load(found.path / "codes.npy")
    np.save(found.path / "codes.npy", codes.view(np.int8))
    with pytest.raises(InputError, match=r"codes\.npy: expected uint8"):
        Index.open(found.path)


@pytest.mark.parametrize("num_documents", [1, 2, 10])
@pytest.mark.parametrize("factor", [1.0, 1000.0])
@pytest.mark.parametrize("codec", [ResidualCodec(2), Float16Codec(), BinaryCodec()])
def test_tiny_collections_work_and_find_their_own_documents(new_world, num_documents, codec, factor):
    world = new_world(num_documents, longest=6)
    found = world.index(codec, clustering=Clustering(centroid_factor=factor))
    if codec.centroids is not None:
        assert len(codec.centroids) <= found.num_vectors
    for engine in [Exhaustive(), *([Plaid(), VanillaColBERTv2()] if codec.centroids is not None else [])]:
        queries = [document + 0 for document in world.documents]
        results = Searcher(found, engine).search(queries, k=100)
        assert all(1 <= len(result) <= num_documents for result in results)
        if not isinstance(codec, BinaryCodec):
            assert [result[0][0] for result in results] == world.doc_ids


def test_seed_and_sample_move_the_index(new_world):
    world = new_world(60)
    reference = (world.index(name="a").path / "codes.npy").read_bytes()
    assert (world.index(name="b").path / "codes.npy").read_bytes() == reference
    assert (world.index(name="c", seed=1).path / "codes.npy").read_bytes() != reference
    sampled = world.index(name="d", clustering=Clustering(32, kmeans_iterations=4, sample_documents=20))
    assert sampled.num_sampled_documents == 20
    assert (sampled.path / "codes.npy").read_bytes() != reference


def test_what_can_not_be_indexed_is_refused(new_world):
    world = new_world(30)
    with pytest.raises(InputError, match="at least 1"):
        Clustering(sample_documents=0)
    world.documents = [np.zeros((0, 16), np.float32)] * 30
    with pytest.raises(InputError, match="no vectors"):
        world.index()


def test_codes_need_centroids(float16_index):
    for call in (float16_index.codes, float16_index.inverted):
        with pytest.raises(InputError, match="exhaustive"):
            call(np.array([0]))


def damage_settings(path, **changed):
    file = path / "codec" / "centroids.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


DAMAGES = {
    "unit is null": lambda path: damage_settings(path, unit=None),
    "unit is 0": lambda path: damage_settings(path, unit=0.0),
    "unit is infinite": lambda path: damage_settings(path, unit=float("inf")),
    "bits are 7": lambda path: damage_settings(path, bits=7),
    "radius is text": lambda path: damage_settings(path, group_search_radius="a"),
    "radius is negative": lambda path: damage_settings(path, group_search_radius=-1),
    "a list": lambda path: (path / "codec" / "centroids.json").write_text("[1]"),
    "NaN": lambda path: np.save(path / "codec" / "centroids.npy", np.full((32, 16), np.nan, np.float16)),
    "one dimension": lambda path: np.save(path / "codec" / "centroids.npy", np.ones(32, np.float16)),
    "fewer columns": lambda path: np.save(path / "codec" / "centroids.npy", np.ones((32, 8), np.float16)),
    "text": lambda path: np.save(path / "codec" / "centroids.npy", np.full((32, 16), "a")),
    "an archive": lambda path: (path / "codec" / "centroids.npy").write_bytes(b"PK" + bytes(200)),
    "a centroid that is none": lambda path: codes_of(path, 255),
    "bits that are no number": lambda path: damage_codec(path, settings={"nbits": 2.0, "buckets": "quantile"}),
    "another codec": lambda path: damage_codec(
        path, codec="colbertv2.compression.binary.BinaryCodec", settings={}, learned=[]
    ),
    "no arrays": lambda path: damage_index(path, arrays={}),
    "narrower arrays": lambda path: damage_index(path, arrays={"residuals": {"dtype": "uint8", "shape": [2]}}),
}


def codes_of(path, code):
    codes = np.load(path / "codes.npy")
    codes[5] = code
    np.save(path / "codes.npy", codes)


def damage_codec(path, **changed):
    file = path / "codec" / "codec.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def damage_index(path, **changed):
    file = path / "index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_not_opened(world, residual_index, tmp_path, damage):
    """Every kind of damage, even with correct file sizes, gives a one-line error, not a wrong result or a crash."""
    path = Path(shutil.copytree(residual_index.path, tmp_path / "index"))
    DAMAGES[damage](path)
    metadata = json.loads((path / "index.json").read_text())
    metadata["bytes"] = {name: (path / name).stat().st_size for name in metadata["bytes"]}
    (path / "index.json").write_text(json.dumps(metadata))
    with pytest.raises(InputError):
        Index.open(path)
