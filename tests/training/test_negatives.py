"""Sampling negatives: what is true for every strategy, and what each one prefers."""

from collections import Counter
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.errors import InputError
from colbertv2.training.examples import Example
from colbertv2.training.negatives import NegativeSampling, Strategy

EXAMPLE = Example("q", list("pabcdef"), [9.0, 3.0, 1.0, 2.0, -1.0, 8.0, 0.0])


def drawn(strategy: str, n: int, temperature: float = 1.0, draws: int = 400) -> list[list[str]]:
    sampling = NegativeSampling(strategy, temperature)
    return [sampling.draw(EXAMPLE, n, np.random.default_rng(seed)).documents for seed in range(draws)]


@given(st.sampled_from(get_args(Strategy)), st.integers(1, 40), st.data())
def test_positive_first_then_different_negatives_with_their_scores(strategy, size, data):
    n = data.draw(st.integers(1, size + 1))
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    example = Example("q", [str(i) for i in range(size + 1)], [float(i) for i in range(size + 1)])
    found = NegativeSampling(strategy, 0.5).draw(example, n, generator)
    assert found.documents[0] == "0" and len(found.documents) == len(set(found.documents)) == n
    assert [float(name) for name in found.documents] == found.scores


def test_top_is_always_the_first_ranks():
    assert set(map(tuple, drawn("top", 4))) == {("p", "a", "b", "c")}


def test_stratified_takes_one_of_each_stretch_and_all_of_them_in_time():
    found = drawn("stratified", 4)
    assert all(a in "ab" and b in "cd" and c in "ef" for _, a, b, c in found)
    assert {name for row in found for name in row} == set("pabcdef")


def test_uniform_draws_all_alike_and_teacher_the_best_scored():
    uniform = Counter(row[1] for row in drawn("uniform", 2, draws=1200))
    assert set(uniform) == set("abcdef") and max(uniform.values()) < 1.5 * min(uniform.values())
    hot, cold = (Counter(row[1] for row in drawn("teacher", 2, temperature)) for temperature in (100.0, 1.0))
    assert cold["e"] > 380 and set(hot) == set("abcdef")


def test_bad_values_are_refused():
    with pytest.raises(InputError, match="'strategy' is 'best'"):
        NegativeSampling("best", 1.0)
    with pytest.raises(InputError, match="'temperature' is 0"):
        NegativeSampling("teacher", 0.0)
