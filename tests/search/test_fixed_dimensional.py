"""Tests of fixed-dimensional encodings against a loop over partitions as the paper defines them, and of their bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import unit

from colbertv2.errors import InputError
from colbertv2.indexing.packed import Packed
from colbertv2.search import fixed_dimensional
from colbertv2.search.fixed_dimensional import Encoder, FixedDimensionalEncoding

DIM = 6
PLAIN = {"repetitions": 1, "hyperplanes": 0, "projection_dim": None, "final_dim": None, "fill_empty": False}
PLAIN |= {"centre": False}


def texts(seed, lengths):
    return [unit(np.random.default_rng([seed, place]).normal(size=(n, DIM)) + 0.3) for place, n in enumerate(lengths)]


def index_of(documents, seed=0, **changed):
    packed = Packed(np.concatenate(documents), np.array([len(one) for one in documents]))
    ids = [f"d{place}" for place in range(len(documents))]
    return FixedDimensionalEncoding(**PLAIN | changed).index([packed], ids, DIM, seed)


def scores_of(index, query):
    found = index.find(query, 1000)
    return dict(zip(found.positions.tolist(), found.scores.tolist(), strict=True))


def naive(encoder, query, documents):
    """Document → estimate, one repetition, partition and vector after another (MUVERA §2)."""
    setting, estimates = encoder.settings, {}
    number = setting.hyperplanes

    def bits(vector, repetition):
        planes = encoder.planes[:, repetition * number : (repetition + 1) * number]
        return tuple(float((vector - encoder.mean) @ planes[:, plane]) > 0 for plane in range(number))

    def projected(vector, repetition):
        if encoder.projections is None:
            return vector
        return vector @ encoder.projections[:, repetition * encoder.width : (repetition + 1) * encoder.width]

    for place, document in enumerate(documents):
        if not len(document):
            continue
        both = [], []
        for repetition in range(setting.repetitions):
            own = [bits(vector, repetition) for vector in document]
            for code in range(2**number):
                partition = tuple(bool(code >> plane & 1) for plane in range(number))
                sums = [projected(one, repetition) for one in query if bits(one, repetition) == partition]
                both[0].append(np.sum(sums, axis=0) if sums else np.zeros(encoder.width))
                held = [vector for vector, side in zip(document, own, strict=True) if side == partition]
                if not held and setting.fill_empty:
                    apart = [sum(a != b for a, b in zip(side, partition, strict=True)) for side in own]
                    held = [document[apart.index(min(apart))]]
                values = [projected(vector - encoder.mean, repetition) for vector in held]
                both[1].append(np.mean(values, axis=0) if values else np.zeros(encoder.width))
        left, right = (np.concatenate(parts) for parts in both)
        if encoder.final is not None:
            left, right = left @ encoder.final, right @ encoder.final
        estimates[place] = float(left @ right) / setting.repetitions + float((query @ encoder.mean).sum())
    return estimates


@settings(max_examples=40, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=7).filter(any),
    query_length=st.integers(1, 5),
    repetitions=st.integers(1, 3),
    hyperplanes=st.integers(0, 3),
    projection_dim=st.sampled_from([None, 1, 4, 6]),
    final_dim=st.sampled_from([None, 1]),
    fill_empty=st.booleans(),
    centre=st.booleans(),
    block=st.sampled_from([1, 5, 1000]),
    seed=st.integers(0, 2**16),
)
def test_scores_are_inner_products_of_encodings_by_a_loop(lengths, query_length, block, seed, **settings):
    documents, (query,) = texts(seed, lengths), texts(seed + 1, [query_length])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fixed_dimensional, "ENCODED_VECTORS", block)
        index = index_of(documents, seed, **settings)
    expected = naive(index.encoder, query, documents)
    found = scores_of(index, query)
    assert found.keys() == expected.keys()
    assert [found[one] for one in expected] == pytest.approx([*expected.values()], abs=1e-4)
    assert index.encodings.shape == (len(expected), index.encoder.settings.dimensions(DIM))
    assert index.bytes_per_document == 4 * index.encodings.size / len(lengths)


def test_with_one_partition_it_is_the_sum_of_similarities_to_the_mean():
    documents, (query,) = texts(0, [5, 1, 9]), texts(1, [4])
    for centre in (False, True):
        found = scores_of(index_of(documents, repetitions=2, centre=centre), query)
        expected = {place: float((query @ one.mean(axis=0)).sum()) for place, one in enumerate(documents)}
        assert found == pytest.approx(expected, abs=1e-5)


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    repetitions=st.integers(1, 4),
    hyperplanes=st.integers(0, 4),
    centre=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_without_projections_it_is_at_most_maxsim_and_equal_for_one_vector(
    lengths, repetitions, hyperplanes, centre, seed
):
    documents, (query,) = texts(seed, lengths), texts(seed + 1, [5])
    chosen = {"repetitions": repetitions, "hyperplanes": hyperplanes, "fill_empty": True, "centre": centre}
    for place, estimate in scores_of(index_of(documents, seed, **chosen), query).items():
        exact = float((query @ documents[place].T).max(axis=1).sum())
        assert estimate <= exact + 1e-4
        if len(documents[place]) == 1:
            assert estimate == pytest.approx(exact, abs=1e-4)


def test_without_filling_a_query_vector_alone_in_its_partition_adds_nothing():
    document = np.eye(1, DIM, dtype=np.float32)
    query = -document  # on the other side of any plane
    assert scores_of(index_of([document], hyperplanes=1), query) == {0: 0.0}
    assert scores_of(index_of([document], hyperplanes=1, fill_empty=True), query) == {0: -1.0}
    both = np.concatenate([document, query])
    assert scores_of(index_of([both], hyperplanes=1), query) == {0: 1.0}


def test_projections_keep_the_estimate_in_the_mean_and_more_dimensions_come_closer():
    documents, (query,) = texts(0, [6, 3, 8, 2]), texts(1, [5])
    chosen = {"hyperplanes": 2, "fill_empty": True}

    def errors(**projections):
        found = []
        for seed in range(200):
            whole = scores_of(index_of(documents, seed, **chosen), query)
            own = scores_of(index_of(documents, seed, **chosen, **projections), query)
            found += [own[place] - whole[place] for place in whole]
        return np.array(found)

    small, large, final = errors(projection_dim=2), errors(projection_dim=6), errors(final_dim=12)
    for one in (small, large, final):
        assert abs(one.mean()) < 4 * one.std() / np.sqrt(len(one) / 4)
    assert small.std() > large.std() > 0 < final.std()


def test_the_seed_decides_and_the_first_repetitions_stay():
    settings = FixedDimensionalEncoding(**PLAIN | {"repetitions": 2, "hyperplanes": 3, "projection_dim": 4})
    more = FixedDimensionalEncoding(**PLAIN | {"repetitions": 3, "hyperplanes": 3, "projection_dim": 4})
    mean = np.zeros(DIM, np.float32)
    first, again, longer, other = (
        Encoder(one, DIM, mean, seed) for one, seed in ((settings, 7), (settings, 7), (more, 7), (settings, 8))
    )
    assert np.array_equal(first.planes, again.planes) and np.array_equal(first.projections, again.projections)
    assert np.array_equal(first.planes, longer.planes[:, :6]) and not np.array_equal(first.planes, other.planes)


@pytest.mark.parametrize("final_dim", [None, 40])
def test_equal_documents_have_equal_scores_wherever_they_stand(monkeypatch, final_dim):
    monkeypatch.setattr(fixed_dimensional, "ENCODED_VECTORS", 50)
    others, (copy, query) = texts(0, range(30)), texts(1, [7, 5])
    documents = [one for other in others for one in (copy, other)]
    index = index_of(documents, repetitions=3, hyperplanes=3, projection_dim=5, final_dim=final_dim, fill_empty=True)
    scores = scores_of(index, query)
    assert len({scores[place] for place in range(0, 60, 2)}) == 1
    ranked = [index.doc_ids[place] for place in index.find(query, 60).positions if place % 2 == 0]
    assert ranked == sorted(ranked, reverse=True) and 1 not in scores  # the first other document is empty


def test_centring_spreads_similar_vectors_over_the_partitions():
    documents = [unit(one + 5) for one in texts(0, [40] * 5)]
    used = [
        len(np.unique(index_of(documents, hyperplanes=3, centre=centre).encoder.partitions(np.concatenate(documents))))
        for centre in (False, True)
    ]
    assert used[0] < used[1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"projection_dim": 7}, "projection_dim is 7, but a vector has 6 dimensions"),
        ({"final_dim": 7}, "final_dim is 7, but an encoding has 6 dimensions"),
        ({"repetitions": 2**31 - 1}, "give 12,884,901,882 dimensions; expected at most 1,048,576"),
        ({"repetitions": 0}, "'repetitions' is 0"),
        ({"hyperplanes": 17}, "'hyperplanes' is 17"),
        ({"fill_empty": "yes"}, "'fill_empty' is 'yes'"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        index_of(texts(0, [3]), **settings)
