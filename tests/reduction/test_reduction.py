"""Fewer vectors per document: budgets, protected vectors, agreement with a peer, and what each rule keeps."""

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.multi_vector_encoder.modules.token_pooling import HierarchicalTokenPooling
from support import tiny_bert, unit

from colbertv2.configuration.composition import compose
from colbertv2.errors import InputError
from colbertv2.modeling import initial
from colbertv2.reduction.pooling import HierarchicalPooling, KMeansPooling, SequentialPooling
from colbertv2.reduction.pruning import (
    AttentionPruning,
    FirstPruning,
    IdfPruning,
    NormPruning,
    RandomPruning,
    StopWordPruning,
)
from colbertv2.reduction.reduction import NoReduction, Reduction

ALL = {
    "hierarchical": lambda **budget: HierarchicalPooling(**budget, normalise=True),
    "kmeans": lambda **budget: KMeansPooling(**budget, normalise=True, iterations=5, seed=0),
    "sequential": lambda **budget: SequentialPooling(**budget, normalise=True),
    "first": FirstPruning,
    "random": lambda **budget: RandomPruning(**budget, seed=0),
    "idf": IdfPruning,
}
POOLINGS, EXACT = ["hierarchical", "kmeans", "sequential"], ["sequential", "first", "random", "idf"]


def document(length: int, seed: int = 0, dim: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return unit(random.normal(size=(length, dim))), random.integers(0, 9, length)


def made(name: str, *, factor: float | None = None, num_vectors: int | None = None, protected="none") -> Reduction:
    reduction = ALL[name](factor=factor, num_vectors=num_vectors, protected=protected)
    reduction.learn(None, [np.arange(seed, 9) for seed in range(9)])  # token 8 is in all documents, token 0 in one
    return reduction


def none(length: int) -> np.ndarray:
    return np.zeros(length, bool)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=25)
@given(length=st.integers(1, 30), factor=st.floats(1, 8), seed=st.integers(0, 99))
def test_the_budget_is_kept_and_protected_vectors_come_on_top(name, length, factor, seed):
    vectors, ids = document(length, seed)
    protected = np.arange(length) % 7 == 0
    found = made(name, factor=factor).reduce(vectors, ids, protected)
    free = int((~protected).sum())
    wanted = max(1, int(free // factor)) if free else 0
    assert protected.sum() < len(found) <= protected.sum() + wanted or not free
    assert len(found) == protected.sum() + wanted or name not in EXACT
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    for vector in vectors[protected]:
        assert (found == vector).all(axis=1).any()


@pytest.mark.parametrize("name", ALL)
def test_a_factor_of_one_and_a_budget_above_the_length_change_nothing(name):
    vectors, ids = document(12)
    for budget in ({"factor": 1}, {"num_vectors": 12}, {"num_vectors": 99}):
        np.testing.assert_allclose(made(name, **budget).reduce(vectors, ids, none(12)), vectors, atol=1e-6)
    assert made(name, num_vectors=5).reduce(vectors[:0], ids[:0], none(0)).shape == (0, 8)
    np.testing.assert_array_equal(NoReduction().reduce(vectors, ids, none(12)), vectors)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("factor", [2, 2.5, 3, 6, 40])
def test_hierarchical_pooling_is_that_of_sentence_transformers(factor, normalise):
    for seed, length in enumerate([1, 2, 3, 17, 60]):
        vectors, ids = document(length, seed)
        pooling = HierarchicalTokenPooling(factor, num_protected_tokens=1, normalize_embeddings=normalise)
        expected = pooling.pool_one(torch.from_numpy(vectors)).numpy()
        ours = HierarchicalPooling(factor=factor, num_vectors=None, protected="first", normalise=normalise)
        found = ours.reduce(vectors, ids, np.arange(length) < 1)
        # The same vectors; theirs are in the order of the tree, ours in that of the text.
        assert len(found) == len(expected)
        np.testing.assert_allclose(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)], atol=1e-6)


@pytest.mark.parametrize("rule", [AttentionPruning, NormPruning])
def test_pruning_by_weight_keeps_the_heaviest_and_of_equal_ones_the_earlier(rule):
    vectors, ids = document(6)
    weights = np.array([3, 9, 1, 2, 3, 3], np.float32)
    for budget, kept in ({"factor": 2}, [0, 1, 4]), ({"num_vectors": 1}, [1]), ({"num_vectors": 4}, [0, 1, 4, 5]):
        pruning = rule(**{"factor": None, "num_vectors": None, "protected": "none"} | budget)
        np.testing.assert_array_equal(pruning.reduce(vectors, ids, none(6), weights), vectors[kept])
    protected = np.arange(6) == 1  # its weight no longer counts
    np.testing.assert_array_equal(pruning.reduce(vectors, ids, protected, weights), vectors[[0, 1, 3, 4, 5]])
    with pytest.raises(ValueError, match="needs the weights"):
        pruning.reduce(vectors, ids, none(6))


@pytest.mark.parametrize("name", POOLINGS)
def test_each_pooled_vector_is_the_normalised_mean_of_its_cluster(name):
    vectors, ids = document(20)
    reduction = made(name, factor=3)
    labels = reduction.clusters(vectors, ids, 6)
    means = np.array([vectors[labels == label].mean(axis=0) for label in dict.fromkeys(labels.tolist())])
    found = reduction.reduce(vectors, ids, none(20))
    np.testing.assert_allclose(found, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_a_reduced_document_is_what_a_loop_over_its_groups_makes(name, normalise):
    """To the last byte: protected and pruned vectors are untouched, and sums are taken in the order of the text."""
    for seed, length in enumerate([0, 1, 2, 9, 40]):
        vectors, ids = document(length, seed)
        vectors[length // 2 :, 3] = -0.0
        protected = ids == 4
        reduction = made(name, factor=2.5)
        if name in POOLINGS:
            reduction.normalise = normalise
        labels = iter(reduction.labels(vectors[~protected], ids[~protected]) if (~protected).any() else [])
        groups: dict[object, list[int]] = {}
        for place in range(length):
            label = ("alone", place) if protected[place] else next(labels)
            if label != -1:
                groups.setdefault(label, []).append(place)
        expected = np.zeros((len(groups), 8), np.float32)
        for row, members in enumerate(groups.values()):
            if protected[members[0]] or name not in POOLINGS:
                expected[row] = vectors[members[0]]
                continue
            for place in members:
                expected[row] += vectors[place]
            expected[row] /= np.float32(len(members))
            if normalise:
                expected[row] /= np.sqrt(np.einsum("d,d->", expected[row], expected[row]))
        assert reduction.reduce(vectors, ids, protected).tobytes() == expected.tobytes()


def test_hierarchical_pooling_joins_copies_first():
    vectors, ids = document(5)
    copies = np.repeat(np.arange(5), [4, 1, 3, 2, 2])
    found = made("hierarchical", num_vectors=5).reduce(vectors[copies], ids[copies], none(12))
    np.testing.assert_allclose(found, vectors, atol=1e-6)


def test_clusters_of_similar_vectors_keep_more_of_maxsim_than_the_controls():
    """Documents of few topics in random order: their queries lose most where unlike vectors are joined or left out."""
    random, lost = np.random.default_rng(0), dict.fromkeys(["hierarchical", "kmeans", "sequential", "random"], 0.0)
    for _ in range(20):
        topics = random.normal(size=(6, 16))
        vectors = unit(topics[random.integers(0, 6, 40)] + 0.3 * random.normal(size=(40, 16)))
        queries = unit(topics + 0.3 * random.normal(size=(6, 16)))
        for name in lost:
            fewer = made(name, num_vectors=6).reduce(vectors, random.integers(0, 9, 40), none(40))
            lost[name] += float(((queries @ vectors.T).max(1) - (queries @ fewer.T).max(1)).sum())
    assert max(lost["hierarchical"], lost["kmeans"]) < min(lost["sequential"], lost["random"])


def test_what_the_pruning_rules_keep():
    vectors, ids = document(6)[0], np.array([3, 8, 0, 8, 5, 1])
    for name, kept in {"first": [0, 1, 2], "idf": [0, 2, 5]}.items():
        np.testing.assert_array_equal(made(name, factor=2).reduce(vectors, ids, none(6)), vectors[kept])
    found = made("idf", num_vectors=1).reduce(vectors, ids, np.arange(6) == 3)
    np.testing.assert_array_equal(found, vectors[[2, 3]])  # the rarest token, and the protected one in its place


def test_random_rules_depend_on_the_seed_and_the_tokens_alone():
    vectors, ids = document(30)
    for kind in (RandomPruning, lambda **more: KMeansPooling(**more, normalise=True, iterations=1)):
        one, same, other = (
            kind(factor=3, num_vectors=None, protected="none", seed=seed).reduce(vectors, ids, none(30))
            for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, same)
        assert one.shape != other.shape or not np.allclose(one, other)


def test_stop_words_are_left_out_but_never_all_of_a_document():
    config = compose(["model.backbone.sha256=null", f"model.backbone.name={tiny_bert()}"])
    tokenizer = initial.tokenizer_of(instantiate(config.model.backbone), instantiate(config.model.tokenization))
    vocabulary = tokenizer.tokenizer.get_vocab()
    vectors, _ = document(3)
    for words, kept in (("english", [1]), (["python", "of"], [0])):
        reduction = StopWordPruning(words=words)
        reduction.learn(tokenizer, [])
        ids = np.array([vocabulary[word] for word in ("the", "python", "of")])
        np.testing.assert_array_equal(reduction.reduce(vectors, ids, none(3)), vectors[kept])
        np.testing.assert_array_equal(reduction.reduce(vectors, ids[[2, 2, 2]], none(3)), vectors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": None, "num_vectors": None}, "reduction.factor is None and reduction.num_vectors is None"),
        ({"factor": 2, "num_vectors": 3}, "expected exactly one"),
        ({"factor": 0.5, "num_vectors": None}, "'factor' is 0.5; expected a number of at least 1"),
        ({"factor": None, "num_vectors": 0}, "'num_vectors' is 0"),
    ],
)
def test_impossible_budgets_are_refused(arguments, message):
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        FirstPruning(**arguments, protected="none")


def test_budgets_that_no_document_needs_are_refused():
    assert "at most 180 vectors" in next(iter(made("first", num_vectors=180).check(180)))
    assert not [*made("first", num_vectors=179).check(180)] and not [*made("first", factor=180).check(180)]
    assert "a single vector" in next(iter(made("first", factor=181).check(180)))
    with pytest.raises(InputError, match="expected english, or a list of words"):
        StopWordPruning(words=[])
