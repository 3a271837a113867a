"""Denoising removes the right candidates, and counts them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.errors import InputError
from colbertv2.training.denoising import Denoising

RANKED = [("n1", 3.0), ("pos", 2.5), ("n2", 2.4), ("n3", 1.0), ("n4", -1.0)]


def run(**knobs) -> tuple[list, Counter]:
    removed: Counter = Counter()
    settings = {"first_rank": 1, "last_rank": 10, "margin": None, "action": "drop", **knobs}
    return list(Denoising(**settings).examples("q", RANKED, {"pos": 2.5}, removed)), removed


def test_without_filters_all_unlabelled_candidates_are_negatives():
    (example,), removed = run()
    assert example.documents == ["pos", "n1", "n2", "n3", "n4"]
    assert example.scores == [2.5, 3.0, 2.4, 1.0, -1.0]
    assert removed["kept"] == 4 and removed["suspected"] == 0


def test_rank_window():
    (example,), removed = run(first_rank=3, last_rank=4)
    assert example.documents == ["pos", "n2", "n3"]
    assert removed["outside_window"] == 3


@pytest.mark.parametrize(
    ("margin", "left"),
    [(0.0, ["n2", "n3", "n4"]), (0.2, ["n3", "n4"]), (2.0, ["n4"]), (-1.0, ["n1", "n2", "n3", "n4"])],
)
def test_margin_drops_suspected_false_negatives(margin, left):
    (example,), removed = run(margin=margin)
    assert example.documents == ["pos", *left]
    assert removed["suspected"] == 4 - len(left)


def test_relabelling_makes_the_best_suspect_a_positive():
    examples, removed = run(margin=0.2, action="relabel")
    assert [example.documents for example in examples] == [["pos", "n3", "n4"], ["n1", "n3", "n4"]]
    assert examples[1].scores[0] == 3.0 and removed["relabelled"] == 1


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.floats(-5, 5), max_size=12), st.floats(-2, 2))
def test_no_suspect_is_ever_a_negative(scores, margin):
    removed: Counter = Counter()
    settings = Denoising(1, 100, margin, "drop")
    ranked = [(doc, score) for doc, score in scores.items() if doc != "positive!"]
    (example,) = settings.examples("q", ranked, {"positive!": 0.0}, removed)
    assert all(score <= -margin for score in example.scores[1:])
    assert removed["kept"] + removed["suspected"] == len(ranked)


def test_bad_values_are_refused():
    with pytest.raises(InputError, match="first_rank"):
        Denoising(5, 2, None, "drop")
    with pytest.raises(InputError, match="drop, relabel"):
        Denoising(1, 2, None, "erase")
    with pytest.raises(InputError, match="teacher scores"):
        Denoising(1, 2, 0.0, "drop").check_scored([1.0, None])
