"""Tests of sparse encodings (SMVE) against a loop over vectors and anchors, and of what they keep of MaxSim."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import unit

from colbertv2.errors import InputError
from colbertv2.indexing.packed import Packed
from colbertv2.search import sparse_encoding
from colbertv2.search.sparse_encoding import SparseEncoder, SparseEncoding

DIM = 6
PLAIN = {"anchors": 24, "kept": 3, "pooling": "mean", "centre": False}
POOLINGS = {"mean": np.mean, "sum": np.sum, "max": np.max}


def texts(seed, lengths):
    return [unit(np.random.default_rng([seed, place]).normal(size=(n, DIM)) + 0.3) for place, n in enumerate(lengths)]


def index_of(documents, seed=0, shards=1, **changed):
    parts = np.array_split(np.arange(len(documents)), shards)
    packed = [
        Packed(
            np.concatenate([np.zeros((0, DIM), np.float32), *(documents[place] for place in part)]),
            np.array([len(documents[place]) for place in part], np.int64),
        )
        for part in parts
    ]
    return SparseEncoding(**PLAIN | changed).index(packed, [f"d{place}" for place in range(len(documents))], DIM, seed)


def scores_of(index, query):
    found = index.find(query, 1000)
    return dict(zip(found.positions.tolist(), found.scores.tolist(), strict=True))


def naive(vectors, encoder, pool):
    """Anchor → pooled projection of those vectors that keep it, one vector and anchor after another."""
    held: dict[int, list[float]] = {}
    for own in vectors:
        centred = own - encoder.mean
        vector = centred / np.linalg.norm(centred) if encoder.settings.centre else own
        projections = [float(vector @ encoder.anchors[:, one]) for one in range(encoder.settings.anchors)]
        for anchor in sorted(range(len(projections)), key=lambda one: -projections[one])[: encoder.settings.kept]:
            held.setdefault(anchor, []).append(projections[anchor])
    return {anchor: float(pool(values)) for anchor, values in held.items()}


@settings(max_examples=40, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=7),
    query_length=st.integers(1, 5),
    shards=st.integers(1, 3),
    kept=st.integers(1, 24),
    pooling=st.sampled_from([*POOLINGS]),
    centre=st.booleans(),
    block=st.sampled_from([1, 5, 1000]),
    projected=st.sampled_from([1, 60, 10_000]),
    seed=st.integers(0, 2**16),
)
def test_scores_are_inner_products_of_encodings_by_a_loop(
    lengths, query_length, shards, block, projected, seed, **settings
):
    documents, (query,) = texts(seed, lengths), texts(seed + 1, [query_length])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_encoding, "ENCODED_VECTORS", block)
        patch.setattr(sparse_encoding, "PROJECTED_VALUES", projected)
        index = index_of(documents, seed, shards, **settings)
        found = scores_of(index, query)
    own, expected, entries = naive(query, index.encoder, np.sum), {}, 0
    for place, document in enumerate(documents):
        encoded = naive(document, index.encoder, POOLINGS[settings["pooling"]])
        entries += len(encoded)
        if shared := own.keys() & encoded.keys():
            expected[place] = sum(own[anchor] * encoded[anchor] for anchor in shared)
    assert found.keys() == expected.keys()  # a document that shares no anchor is not scored
    assert [found[one] for one in expected] == pytest.approx([*expected.values()], abs=1e-4)
    assert index.lists.nnz == entries and index.dimensions == 24
    assert index.bytes_per_document == pytest.approx((8 * entries + 4 * 25) / len(lengths))


def test_anchors_are_unit_vectors_of_the_seed():
    first, again, other = (
        SparseEncoder(SparseEncoding(**PLAIN), DIM, np.zeros(DIM, np.float32), seed).anchors for seed in (7, 7, 8)
    )
    np.testing.assert_allclose(np.linalg.norm(first, axis=0), 1, atol=1e-6)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_more_anchors_and_more_of_them_kept_rank_more_as_maxsim_does():
    documents, queries = texts(0, [8] * 60), texts(1, [5] * 20)

    def found(**settings):
        index, shared = index_of(documents, **settings), 0
        for query in queries:
            exact = np.argsort([-(query @ one.T).max(axis=1).sum() for one in documents])[:10]
            shared += len({*exact.tolist()} & {*index.find(query, 10).positions.tolist()})
        return shared / (10 * len(queries))

    assert found(anchors=16, kept=1) < found(anchors=512, kept=16)
    assert found(anchors=512, kept=16) > 0.5 > 2 * 10 / 60


def test_if_every_anchor_is_kept_single_vectors_have_their_similarity():
    documents, (query,) = texts(0, [1] * 5), texts(1, [1])
    scores = scores_of(index_of(documents, anchors=20_000, kept=20_000), query)
    expected = [float((query @ one.T).item()) * 20_000 / DIM for one in documents]
    assert [scores[place] for place in range(5)] == pytest.approx(expected, abs=0.03 * 20_000 / DIM)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_equal_documents_have_equal_scores_wherever_they_stand(monkeypatch, pooling):
    monkeypatch.setattr(sparse_encoding, "ENCODED_VECTORS", 50)
    others, (copy, query) = texts(0, range(30)), texts(1, [7, 5])
    documents = [one for other in others for one in (copy, other)]
    index = index_of(documents, shards=3, pooling=pooling)
    scores = scores_of(index, query)
    assert len({scores[place] for place in range(0, 60, 2)}) == 1
    ranked = [index.doc_ids[place] for place in index.find(query, 60).positions if place % 2 == 0]
    assert ranked == sorted(ranked, reverse=True) and 1 not in scores  # the first other document is empty


def test_centring_spreads_similar_vectors_over_the_anchors():
    documents = [unit(one + 5) for one in texts(0, [40] * 5)]
    used = [np.count_nonzero(np.diff(index_of(documents, centre=centre).lists.indptr)) for centre in (False, True)]
    assert used[0] < used[1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kept": 25}, "kept is 25, but there are 24 anchors"),
        ({"anchors": 2**21}, "anchors is 2,097,152; expected at most 1,048,576"),
        ({"anchors": 0}, "'anchors' is 0"),
        ({"pooling": "median"}, "'pooling' is 'median'"),
        ({"centre": "yes"}, "'centre' is 'yes'"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        SparseEncoding(**PLAIN | settings)
