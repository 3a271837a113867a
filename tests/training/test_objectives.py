"""Every loss agrees with its formula and reacts to its settings."""

import math

import pytest
import torch

from colbertv2.errors import InputError
from colbertv2.training.objectives import CrossEntropy, InBatchNegatives, KLDivergence, MarginMSE, Scores

OWN = torch.tensor([[2.0, 1.0, 0.5], [0.3, 0.9, -1.0]])
TEACHER = torch.tensor([[5.0, 1.0, 2.0], [3.0, 3.5, -4.0]])
ALL = torch.tensor([[2.0, 1.0, 0.5, 0.7, 0.2, 0.1], [1.1, 0.4, 0.0, 0.3, 0.9, -1.0]])
EXCLUDED = torch.tensor([[True] * 3 + [False] * 3, [False] * 3 + [True] * 3])
SCORES = Scores(OWN, TEACHER, ALL, EXCLUDED)


def softmax(row: list[float]) -> list[float]:
    total = sum(map(math.exp, row))
    return [math.exp(value) / total for value in row]


def test_cross_entropy():
    expected = -sum(math.log(softmax([v / 0.5 for v in row])[0]) for row in OWN.tolist()) / 2
    assert CrossEntropy(1.0, 0.5)(SCORES).item() == pytest.approx(expected, abs=1e-5)


def test_kl_divergence_is_batchmean():
    expected = 0.0
    for student, teacher in zip(OWN.tolist(), TEACHER.tolist(), strict=True):
        p, q = softmax([2 * v for v in teacher]), softmax(student)
        expected += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 2
    assert KLDivergence(1.0, 1.0, 2.0)(SCORES).item() == pytest.approx(expected, abs=1e-5)
    same = Scores(OWN, OWN, None, EXCLUDED)
    assert KLDivergence(1.0, 1.0, 1.0)(same).item() == pytest.approx(0, abs=1e-6)


def test_margin_mse():
    margins = [
        (s[0] - s[i]) - (t[0] - t[i]) for s, t in zip(OWN.tolist(), TEACHER.tolist(), strict=True) for i in (1, 2)
    ]
    assert MarginMSE(1.0, 1.0)(SCORES).item() == pytest.approx(sum(m * m for m in margins) / 4, abs=1e-5)


def test_in_batch_leaves_own_negatives_out():
    first, second = [2.0, 0.7, 0.2, 0.1], [0.3, 1.1, 0.4, 0.0]
    expected = -(math.log(softmax(first)[0]) + math.log(softmax(second)[0])) / 2
    assert InBatchNegatives(1.0, 1.0)(SCORES).item() == pytest.approx(expected, abs=1e-5)


def test_own_negatives_count_beside_those_of_the_others():
    first, second = [2.0, 1.0, 0.5, 0.7, 0.2, 0.1], [0.3, 0.9, -1.0, 1.1, 0.4, 0.0]
    expected = -(math.log(softmax(first)[0]) + math.log(softmax(second)[0])) / 2
    assert InBatchNegatives(1.0, 1.0, own_negatives=True)(SCORES).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("normalisation", ["minmax", "zscore"])
def test_a_normalised_student_or_teacher_may_be_stretched_and_shifted(normalisation):
    student = KLDivergence(1.0, 0.5, 1.0, student_normalisation=normalisation)
    teacher = KLDivergence(1.0, 0.5, 1.0, teacher_normalisation=normalisation)
    moved = 7 * OWN - 3, 0.1 * TEACHER + 9
    assert student(SCORES._replace(own=moved[0])).item() == pytest.approx(student(SCORES).item(), abs=1e-5)
    assert teacher(SCORES._replace(teacher=moved[1])).item() == pytest.approx(teacher(SCORES).item(), abs=1e-5)
    assert abs(student(SCORES._replace(teacher=moved[1])).item() - student(SCORES).item()) > 1e-3
    equal = Scores(torch.ones(1, 3), torch.ones(1, 3), None, EXCLUDED)
    assert student(equal).item() == teacher(equal).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CrossEntropy(1.0, 1.0), CrossEntropy(1.0, 0.5)),
        (KLDivergence(1.0, 1.0, 1.0), KLDivergence(1.0, 0.5, 1.0)),
        (KLDivergence(1.0, 1.0, 1.0), KLDivergence(1.0, 1.0, 0.5)),
        (KLDivergence(1.0, 1.0, 1.0), KLDivergence(1.0, 1.0, 1.0, teacher_normalisation="zscore")),
        (KLDivergence(1.0, 1.0, 1.0), KLDivergence(1.0, 1.0, 1.0, teacher_normalisation="minmax")),
        (MarginMSE(1.0, 1.0), MarginMSE(1.0, 0.5)),
        (InBatchNegatives(1.0, 1.0), InBatchNegatives(1.0, 0.5)),
    ],
)
def test_every_knob_moves_the_loss(one, other):
    assert abs(one(SCORES) - other(SCORES)) > 1e-3


def test_bad_values_are_refused():
    with pytest.raises(InputError, match="temperature"):
        CrossEntropy(1.0, 0.0)
    with pytest.raises(InputError, match="teacher_scale"):
        KLDivergence(1.0, 1.0, -1.0)
    with pytest.raises(InputError, match="'teacher_normalisation' is 'max'"):
        KLDivergence(1.0, 1.0, 1.0, teacher_normalisation="max")
