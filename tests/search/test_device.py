"""Tests of torch search against the same references as the kernels, for many shapes; of keys, memory and devices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import CODECS, agree, index_of, unit
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.codec import Codec
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError
from colbertv2.indexing.packed import offsets_of
from colbertv2.search import device_index
from colbertv2.search.cascade import Cascade
from colbertv2.search.device_index import DeviceIndex, maxsim
from colbertv2.search.device_search import DeviceExhaustive, from_keys, to_keys
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.scoring import best_documents, kept_positions, score_documents, top_k

EVERYTHING = Cascade(nprobe=None, ndocs=None)


def on_kernels(index, engine, queries, k, work_bytes=None):
    return engine.search(index, queries, k)


def on_device(index, engine, device="cpu"):
    """The engine as it would run on a GPU."""
    return engine.on_device(index, device)


def on_torch(index, engine, queries, k, work_bytes=None):
    search = on_device(index, engine)
    search.there.work_bytes = work_bytes or search.there.work_bytes
    return search.search(queries, k)


PATHS = pytest.mark.parametrize("find", [on_kernels, on_torch])


def exact_results(index, queries):
    """All documents, ranked for each query by exact MaxSim of their decoded vectors."""
    positions = np.arange(index.num_documents)
    return [
        best_documents(positions, score_documents(index, query, positions), len(positions), index.ranks)
        for query in queries
    ]


@PATHS
@settings(max_examples=40)
@given(
    kind=st.sampled_from(sorted(CODECS)),
    bits=st.sampled_from([1, 2, 4, 8]),
    dim=st.sampled_from([32, 40, 64, 768]),
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=25).filter(any),
    num_centroids=st.integers(1, 6),
    query_lengths=st.lists(st.one_of(st.integers(1, 40), st.just(300)), min_size=1, max_size=4),
    k=st.integers(1, 40),
    work_bytes=st.sampled_from([1, 2**14, 2**22]),
    seed=st.integers(0, 2**16),
)
def test_with_nothing_left_out_search_is_exact(
    find, tmp_path_factory, kind, bits, dim, lengths, num_centroids, query_lengths, k, work_bytes, seed
):
    codec, clustering = CODECS[kind](bits), Clustering(min(num_centroids, sum(lengths)), kmeans_iterations=2)
    if codec.has_centroids and clustering.wanted(0) > sum(lengths) - int(0.05 * sum(lengths)):
        return
    index = index_of(tmp_path_factory.mktemp("device"), codec, lengths, dim, seed, clustering)
    random = np.random.default_rng(seed + 1)
    queries = [unit(random.normal(size=(length, dim))) for length in query_lengths]
    exact = exact_results(index, queries)
    for engine in (Exhaustive(), *([EVERYTHING] if codec.has_centroids else [])):
        found = find(index, engine, queries, k, work_bytes)
        assert all(len(positions) == min(k, sum(length > 0 for length in lengths)) for positions, _, _ in found)
        agree(found, exact, 1e-3 * max(1, max(query_lengths) / 32))  # scores are sums of that many similarities


@pytest.fixture(scope="module", params=["quantile", "product"])
def index(world, request):
    if request.param == "quantile":
        return world.index(name="device-quantile")
    return world.index(ProductCodec(2), name="device-product", queries=np.concatenate(world.queries(5)))


@pytest.fixture(scope="module")
def queries(world):
    return world.queries(12)


@PATHS
@pytest.mark.parametrize("engine", [Cascade(1, 20), Cascade(2, 8)], ids=repr)
def test_scores_are_exact_whatever_was_left_out(find, index, queries, engine):
    exact = exact_results(index, queries)
    for (positions, scores, _), (all_positions, all_scores, *_) in zip(
        find(index, engine, queries, 5), exact, strict=True
    ):
        expected = dict(zip(all_positions.tolist(), all_scores.tolist(), strict=True))
        np.testing.assert_allclose(scores, [expected[place] for place in positions.tolist()], atol=1e-3)
        assert (np.diff(scores) <= 0).all() and len(set(positions.tolist())) == len(positions) == 5


def by_centroids(index, query, nprobe, ndocs):
    """Ascending positions of the documents that the cascade scores exactly, by its definition."""
    similarities = query @ index.centroids.T
    rounded = np.floor(np.clip(similarities * (255 / np.abs(similarities).max()), 0, 254.5) + 0.5)
    positions = np.flatnonzero(index.lengths)
    if nprobe is not None:
        cells = np.argsort(-similarities, axis=1)[:, :nprobe]
        positions = np.array([p for p in positions if np.isin(index.codes(np.array([p])), cells).any()])
    if ndocs is not None:
        starts = offsets_of(index.lengths[positions])[:-1]
        scores = np.maximum.reduceat(rounded[:, index.codes(positions)], starts, axis=1).sum(axis=0)
        positions = kept_positions(positions, scores, ndocs, index.ranks)
    return positions


@PATHS
@pytest.mark.parametrize(("nprobe", "ndocs", "k"), [(None, 15, 15), (1, None, 150), (2, 12, 12), (1, 5, 9)])
def test_nprobe_and_ndocs_say_which_documents_are_scored(find, index, queries, nprobe, ndocs, k):
    found = find(index, Cascade(nprobe, ndocs), queries, k)
    shares = []
    for query, (positions, _, _) in zip(queries, found, strict=True):
        expected = by_centroids(index, query, nprobe, ndocs and max(ndocs, k))
        assert len(positions) == min(len(expected), k)
        shares.append(len(np.intersect1d(positions, expected)) / len(expected))
    assert np.mean(shares) == 1


def test_the_cascade_keeps_the_same_documents_on_a_device(index, queries):
    """The device is not part of an address, so the candidates must not depend on it."""
    for engine in (Cascade(None, 9), Cascade(2, 6)):
        for here, there in zip(*(find(index, engine, queries, 6) for find in (on_kernels, on_torch)), strict=True):
            assert set(here[0].tolist()) == set(there[0].tolist())


@PATHS
def test_batches_order_and_blocks_change_nothing(find, index, queries, same_results):
    for engine in (Exhaustive(), Cascade(None, 40), Cascade(1, 20)):
        together = find(index, engine, queries * 2, 10)
        alone = [find(index, engine, [query], 10, work_bytes=2**10)[0] for query in queries]
        backwards = find(index, engine, queries[::-1], 10)[::-1]
        same_results(together, alone * 2)
        same_results(backwards, alone)
        again = find(index, engine, queries * 2, 10)
        for (positions, scores, _), (other_positions, other_scores, *_) in zip(together, again, strict=True):
            np.testing.assert_array_equal(positions, other_positions)
            np.testing.assert_array_equal(scores, other_scores)


@PATHS
def test_of_equal_scores_the_greater_id_comes_first(find, new_world):
    world = new_world(40)
    halves = 0.5 * np.eye(16, dtype=np.float32).reshape(4, 4, 16).sum(axis=1)  # their dot products are exact
    world.documents = [halves[[number % 4]] for number in range(40)]
    index = world.index(Float16Codec())
    by_id = sorted(range(40), key=lambda number: f"d{number}", reverse=True)
    expected = sorted(by_id, key=lambda number: number % 4 != 2)[:12]
    for work_bytes in (1, 2**12, 2**22):
        assert find(index, Exhaustive(), [halves[[2]]], 12, work_bytes)[0][0].tolist() == expected
        assert find(index, Exhaustive(), [halves[[2]]], 3, work_bytes)[0][0].tolist() == expected[:3]


@PATHS
def test_no_queries(find, index):
    assert find(index, Exhaustive(), [], 5) == find(index, Cascade(), [], 5) == []


@PATHS
def test_the_cascade_needs_centroids(find, float16_index, queries):
    with pytest.raises(InputError, match=r"Float16Codec\(\) has no centroids; use the exhaustive engine"):
        find(float16_index, Cascade(), queries, 5)


@PATHS
def test_a_probed_centroid_may_be_nobodys(find, index, queries, monkeypatch):
    monkeypatch.setattr(type(index), "inverted", lambda *_: np.zeros(0, np.int64))
    assert [len(positions) for positions, _, _ in find(index, Cascade(nprobe=1), queries, 5)] == [0] * len(queries)


def test_a_codec_made_elsewhere_is_decoded_on_the_cpu(world, queries):
    class Elsewhere(Codec):
        """Stores 16-bit floats, without declaring an array of unchanged vectors."""

        label = "elsewhere"

        def bytes_per_vector(self, dim):
            return 2 * dim

        def encode(self, vectors, codes=None):
            return {"halves": vectors.astype(np.float16)}

        def decode(self, arrays):
            return arrays["halves"].astype(np.float32)

    index = world.index(Float16Codec(), name="elsewhere")
    expected = on_torch(index, Exhaustive(), queries, 5)
    index = world.index(Elsewhere(), name="made-elsewhere")
    assert DeviceIndex(index, "cpu").stored is None
    for (positions, scores, _), (other_positions, other_scores, *_) in zip(
        on_torch(index, Exhaustive(), queries, 5), expected, strict=True
    ):
        np.testing.assert_array_equal(positions, other_positions)
        np.testing.assert_array_equal(scores, other_scores)


@given(
    st.lists(st.sampled_from([-1e9, -1.5, -1e-30, -0.0, 0.0, 1e-30, 1.0, 3e38]), min_size=1, max_size=40),
    st.integers(1, 45),
)
def test_keys_are_ordered_as_top_k_orders_and_give_back_what_they_took(scores, k):
    scores = np.array(scores, dtype=np.float32)
    positions, ranks = np.arange(len(scores)), np.random.default_rng(k).permutation(len(scores))
    keys = to_keys(torch.from_numpy(scores)[None], torch.from_numpy(ranks))[0]
    found, values = from_keys(keys.topk(min(k, len(keys))).values)
    best = top_k(positions, scores, k, ranks)
    np.testing.assert_array_equal(found, ranks[best])
    np.testing.assert_array_equal(values, scores[best])


def test_decoding_is_the_codecs_but_for_the_space(index, world):
    there = DeviceIndex(index, "cpu")
    rows = np.array([0, 5, 3, index.num_vectors - 1])
    query = world.queries(1)[0]
    similarities = there.queries([query])[0] @ there.decode(torch.from_numpy(rows)).T
    np.testing.assert_allclose(similarities.numpy(), query @ index.decode_rows(rows).T, atol=1e-5)


@pytest.mark.parametrize("num_vectors", [1, 7, 100, 10**6])
def test_blocks_hold_every_vector_once_and_no_more_than_they_may(index, num_vectors):
    there, full = DeviceIndex(index, "cpu"), np.flatnonzero(index.lengths)
    for positions in (None, full, full[::3], full[:0]):
        seen = []
        for block in there.blocks(num_vectors, positions):
            rows = torch.arange(index.num_vectors)[block.rows]
            assert len(rows) <= max(num_vectors, index.lengths.max()) and len(rows) == block.offsets[-1]
            for document, own in zip(
                index.by_rank[block.ranks.numpy()].tolist(), rows.tensor_split(block.offsets[1:-1].long()), strict=True
            ):
                assert own.tolist() == list(range(index.offsets[document], index.offsets[document + 1]))
                seen.append(document)
        assert seen == (full if positions is None else positions).tolist()


def test_padding_with_zeros_adds_nothing():
    random = np.random.default_rng(0)
    vectors, offsets = torch.from_numpy(-np.abs(unit(random.normal(size=(9, 8))))), torch.tensor([0, 4, 9]).int()
    query = torch.from_numpy(np.abs(unit(random.normal(size=(3, 8)))))  # so that every similarity is below 0
    padded = torch.cat([query, torch.zeros(2, 8)])
    torch.testing.assert_close(maxsim(padded[None], vectors, offsets), maxsim(query[None], vectors, offsets))


def test_what_does_not_fit_is_refused_before_anything_is_copied(index, monkeypatch):
    monkeypatch.setattr(device_index, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(DeviceIndex, "put", None)
    with pytest.raises(InputError, match=r"on cpu needs [\d,]+ bytes there, but only 1,000 are free; use runtime"):
        DeviceExhaustive(index, "cpu")


@pytest.mark.parametrize("kind", CODECS)
def test_what_is_held_is_what_was_asked_for(world, kind, monkeypatch):
    asked = []
    monkeypatch.setattr(DeviceIndex, "check_memory", lambda self, held: asked.append(held))
    there = DeviceIndex(world.index(CODECS[kind](2), name=f"held-{kind}"), "cpu")
    held = sum(tensor.nbytes for tensor in vars(there).values() if isinstance(tensor, torch.Tensor))
    assert abs(held - asked[0]) <= 64


class OneDevice(TorchDispatchMode):
    """Fails if an operation uses tensors of two devices, except for copies and single numbers."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        tensors = [leaf for leaf in tree_leaves((arguments, options or {})) if isinstance(leaf, torch.Tensor)]
        if "copy" not in str(function):
            assert len({tensor.device for tensor in tensors if tensor.dim()}) <= 1, function
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("kind", CODECS)
def test_nothing_is_left_behind_on_the_cpu(world, kind, queries):
    index = world.index(CODECS[kind](2), name=f"meta-{kind}")
    with OneDevice():
        search = DeviceExhaustive(index, "meta")  # a device without data, in place of a GPU
        there, groups = search.there, [search.there.queries(queries)]
        for positions in (None, np.flatnonzero(index.lengths)[::2]):
            keys = search.exact(groups, positions, 5)
            assert keys.shape == (12, 6) and keys.device.type == "meta"
            for block in there.blocks(30, positions) if there.codes is not None else ():
                scores = there.centroid_scores(there.centroid_similarities(groups[0]), block)
                assert scores.shape == (12, len(block.ranks)) and scores.device.type == "meta"
