"""Tests of the numbers in the report on a round's supervision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.analysis.supervision import agreement, by_rank, candidate_table, false_negative_bound
from colbertv2.training.examples import Example

SCORED = [Example("q", ["a", "p", "b", "s"], [5.0, 4.0, 1.0, 3.0]), Example("r", ["c", "d"], [1.0, 2.0])]
RELEVANT = {"q": ["p", "s", "elsewhere"], "r": []}


def test_margins_are_to_the_best_labelled_document_or_the_teachers_best():
    candidates, positives = candidate_table(SCORED, RELEVANT.__getitem__)
    assert candidates.values.tolist() == [["q", "a", 1, 5.0, -1.0], ["q", "b", 3, 1.0, 3.0], ["r", "c", 1, 1.0, 1.0]]
    assert positives.tolist() == [4.0, 3.0, 2.0]


def test_by_rank_counts_what_stands_above_the_positive():
    ranks = by_rank(candidate_table(SCORED, RELEVANT.__getitem__)[0])
    assert ranks.loc[1].tolist() == [2, 0.0, 0.5] and ranks.loc[3].tolist() == [1, 3.0, 0.0]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_the_bound_finds_the_share_of_planted_positives(share):
    generator = np.random.default_rng(0)
    positives = generator.normal(3, 1, 2000)
    planted = int(20_000 * share)
    candidates = np.concatenate([generator.normal(3, 1, planted), generator.normal(-1, 1, 20_000 - planted)])
    assert share - 0.03 <= false_negative_bound(candidates, positives) <= share + 0.05


def test_few_positives_bound_nothing():
    assert np.isnan(false_negative_bound(np.ones(10), np.ones(19)))


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=8, unique=True), st.integers(-5, 5))
def test_agreement_knows_order_and_distribution(scores, shift):
    teacher = np.array(scores, dtype=float)
    same, moved, reverse = (agreement([teacher], [one]).iloc[0] for one in (teacher, teacher + shift, -teacher))
    assert same["tau"] == pytest.approx(1) and same["kl"] == pytest.approx(0, abs=1e-9) and same["top1"]
    assert moved["kl"] == pytest.approx(0, abs=1e-6)  # softmax is invariant to a shift
    assert reverse["tau"] == pytest.approx(-1) and reverse["kl"] > 0 and not reverse["top1"]
