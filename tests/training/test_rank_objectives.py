"""Losses over the teacher's order agree with their formulas, written here in plain Python, and have its invariances."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colbertv2.errors import InputError
from colbertv2.training.objectives import Objective, Scores
from colbertv2.training.rank_objectives import ApproxNDCG, ListMLE, RankNet

EXCLUDED = torch.tensor([[True]])
LOSSES = [ListMLE(1.0, 0.7), RankNet(1.0, 0.7), ApproxNDCG(1.0, 0.7, 3.0)]
IDS = [type(one).__name__ for one in LOSSES]


def value(loss: Objective, own: list[list[float]], teacher: list[list[float]]) -> float:
    exact = (torch.tensor(rows, dtype=torch.float64) for rows in (own, teacher))
    return loss(Scores(*exact, None, EXCLUDED)).item()


def gradient(loss: Objective, own: list[float], teacher: list[float]) -> list[float]:
    leaf = torch.tensor([own], dtype=torch.float64, requires_grad=True)
    loss(Scores(leaf, torch.tensor([teacher], dtype=torch.float64), None, EXCLUDED)).backward()
    assert leaf.grad is not None
    return leaf.grad[0].tolist()


def list_mle(own: list[float], teacher: list[float], temperature: float) -> float:
    """−log of the product of the probabilities to draw each next candidate of the teacher's order."""
    left = sorted(range(len(own)), key=lambda place: -teacher[place])  # Python's sort is stable
    likelihood = 0.0
    while left:
        weights = [math.exp(own[place] / temperature) for place in left]
        likelihood += math.log(weights[0] / sum(weights))
        left = left[1:]
    return -likelihood


def ranknet(rows: list[tuple[list[float], list[float]]], temperature: float) -> float:
    losses = [
        math.log(1 + math.exp((own[j] - own[i]) / temperature))
        for own, teacher in rows
        for i, j in itertools.permutations(range(len(own)), 2)
        if teacher[i] > teacher[j]
    ]
    return sum(losses) / len(losses) if losses else 0.0


def approx_ndcg(own: list[float], teacher: list[float], temperature: float, highest: float) -> float:
    low, high = min(teacher), max(teacher)
    if low == high:
        return 1.0
    gains = [2 ** (highest * (score - low) / (high - low)) - 1 for score in teacher]
    found = 0.0
    for i, gain in enumerate(gains):
        others = [score for j, score in enumerate(own) if j != i]
        rank = 1 + sum(1 / (1 + math.exp(-(other - own[i]) / temperature)) for other in others)
        found += gain / math.log2(1 + rank)
    ideal = sum(gain / math.log2(1 + rank) for rank, gain in enumerate(sorted(gains, reverse=True), start=1))
    return found / ideal


SCORE = st.floats(-8, 8).map(lambda number: round(number, 2))  # some are equal
ROW = st.integers(2, 6).flatmap(lambda n: st.tuples(*[st.lists(SCORE, min_size=n, max_size=n)] * 2))
BATCH = st.integers(2, 5).flatmap(
    lambda n: st.lists(st.tuples(*[st.lists(SCORE, min_size=n, max_size=n)] * 2), min_size=1, max_size=3)
)
TEMPERATURE = st.floats(0.3, 3)


@settings(max_examples=40)
@given(BATCH, TEMPERATURE, st.floats(0.5, 4))
def test_the_losses_agree_with_their_formulas(batch, temperature, highest):
    own, teacher = ([list(row[side]) for row in batch] for side in (0, 1))
    expected = sum(list_mle(*row, temperature) for row in batch) / len(batch)
    assert value(ListMLE(1.0, temperature), own, teacher) == pytest.approx(expected, abs=1e-6)
    assert value(RankNet(1.0, temperature), own, teacher) == pytest.approx(ranknet(batch, temperature), abs=1e-6)
    expected = 1 - sum(approx_ndcg(*row, temperature, highest) for row in batch) / len(batch)
    assert value(ApproxNDCG(1.0, temperature, highest), own, teacher) == pytest.approx(expected, abs=1e-5)


def test_the_values_in_the_documentation_of_tensorflow_ranking():
    assert value(ListMLE(1.0, 1.0), [[0.6, 0.8]], [[1.0, 0.0]]) == pytest.approx(0.7981389, abs=1e-6)
    assert value(ApproxNDCG(1.0, 0.1, 1.0), [[0.6, 0.8]], [[1.0, 0.0]]) == pytest.approx(1 - 0.655107, abs=1e-5)


def test_the_likelihoods_of_all_orders_add_up_to_one():
    own = [[0.3, -1.0, 2.0, 0.1]]
    orders = itertools.permutations([4.0, 3.0, 2.0, 1.0])
    assert sum(math.exp(-value(ListMLE(1.0, 0.5), own, [list(one)])) for one in orders) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
@settings(max_examples=25)
@given(ROW, st.randoms(use_true_random=False), st.floats(-9, 9), st.floats(0.25, 4))
def test_order_shifts_and_the_teacher_s_scale_change_nothing(loss, row, random, shift, scale):
    own, teacher = row[0], [score + 0.0501 * place for place, score in enumerate(row[1])]  # without equal ones
    before = value(loss, [own], [teacher])
    places = random.sample(range(len(own)), len(own))
    assert value(loss, [[own[i] for i in places]], [[teacher[i] for i in places]]) == pytest.approx(before, abs=1e-5)
    assert value(loss, [[score + shift for score in own]], [teacher]) == pytest.approx(before, abs=1e-5)
    assert value(loss, [own], [[scale * score + shift for score in teacher]]) == pytest.approx(before, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
@settings(max_examples=25)
@given(ROW)
def test_gradients_raise_the_teacher_s_best_and_lower_its_worst(loss, row):
    own, teacher = row[0], [score + 0.001 * place for place, score in enumerate(row[1])]
    if isinstance(loss, ApproxNDCG):  # far from the top, a rank hardly moves, and others may gain more: so from a tie
        own = [0.0] * len(own)
    slopes = gradient(loss, own, teacher)
    order = sorted(range(len(own)), key=lambda place: teacher[place])
    assert slopes[order[-1]] < 0 < slopes[order[0]]
    assert sum(slopes) == pytest.approx(0, abs=1e-8), "a shift of all scores changes nothing"


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
def test_descending_the_gradient_reaches_the_teacher_s_order(loss):
    own, teacher = [2.0, -1.0, 0.5, 1.0], [-3.0, 10.0, 4.0, 4.5]
    for _ in range(400):
        own = [score - slope for score, slope in zip(own, gradient(loss, own, teacher), strict=True)]
    assert sorted(range(4), key=lambda place: own[place]) == sorted(range(4), key=lambda place: teacher[place])


@pytest.mark.parametrize("loss", [RankNet(1.0, 1.0), ApproxNDCG(1.0, 1.0, 3.0)], ids=["RankNet", "ApproxNDCG"])
def test_a_teacher_without_an_opinion_teaches_nothing(loss):
    assert value(loss, [[3.0, 1.0]], [[2.0, 2.0]]) == 0 and gradient(loss, [3.0, 1.0], [2.0, 2.0]) == [0, 0]


def test_approximate_ranks_become_true_ranks():
    from ir_measures import Qrel, ScoredDoc, nDCG

    own, grades = [0.3, 2.0, -1.0, 0.9], [3, 0, 1, 2]
    qrels = [Qrel("q", f"d{place}", grade) for place, grade in enumerate(grades)]
    run = [ScoredDoc("q", f"d{place}", score) for place, score in enumerate(own)]
    gains = {grade: 2**grade - 1 for grade in range(4)}
    expected = nDCG(gains=gains, cutoff=4).calc_aggregate(qrels, run)
    found = 1 - value(ApproxNDCG(1.0, 1e-3, 3.0), [own], [[float(grade) for grade in grades]])
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ListMLE(1.0, 1.0), ListMLE(1.0, 0.5)),
        (RankNet(1.0, 1.0), RankNet(1.0, 0.5)),
        (ApproxNDCG(1.0, 1.0, 3.0), ApproxNDCG(1.0, 0.5, 3.0)),
        (ApproxNDCG(1.0, 1.0, 3.0), ApproxNDCG(1.0, 1.0, 1.0)),
    ],
)
def test_every_knob_moves_the_loss(one, other):
    own, teacher = [[2.0, 1.0, 0.5]], [[1.0, 5.0, 2.0]]
    assert abs(value(one, own, teacher) - value(other, own, teacher)) > 1e-3


def test_bad_values_are_refused():
    with pytest.raises(InputError, match="temperature"):
        ListMLE(1.0, 0.0)
    with pytest.raises(InputError, match="weight"):
        RankNet(-1.0, 1.0)
    with pytest.raises(InputError, match="'highest_grade' is 0"):
        ApproxNDCG(1.0, 1.0, 0)
