"""Denoising removes the right candidates, and counts them."""

import math
import re
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbertv2.artifacts.node import Component
from colbertv2.errors import InputError
from colbertv2.stages.examples import check
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


@pytest.mark.parametrize(
    ("ratio", "left"),
    [(0.39, ["n4"]), (0.95, ["n3", "n4"]), (0.96, ["n2", "n3", "n4"]), (1.2, ["n1", "n2", "n3", "n4"])],
)
def test_ratio_drops_what_the_teacher_scores_near_the_positive(ratio, left):
    (example,), removed = run(ratio=ratio)
    assert example.documents == ["pos", *left]
    assert removed["suspected"] == 4 - len(left)


SCORES = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(-50, 50), max_size=12)


@settings(max_examples=40)
@given(SCORES, st.floats(0.1, 30), st.floats(0.5, 1.5), st.floats(0.125, 8))
def test_a_ratio_does_not_depend_on_the_scale_of_the_teacher(scores, positive, ratio, scale):
    denoising = Denoising(1, 100, None, "drop", ratio=ratio)
    near = {doc for doc, score in scores.items() if math.isclose(score, ratio * positive, rel_tol=1e-9)}
    first = denoising.suspects("positive!", {"positive!": positive, **scores})
    scaled = denoising.suspects(
        "positive!", {"positive!": scale * positive, **{d: scale * s for d, s in scores.items()}}
    )
    assert set(first) - near == set(scaled) - near == {d for d, s in scores.items() if s > ratio * positive} - near


@settings(max_examples=40)
@given(SCORES, st.floats(-50, 50), st.floats(0.5, 0.99))
def test_a_ratio_of_logits_compares_probabilities(scores, positive, ratio):
    denoising = Denoising(1, 100, None, "drop", ratio=ratio, activation="sigmoid")
    found = denoising.suspects("positive!", {"positive!": positive, **scores})
    assert found == sorted(found, key=lambda doc: -scores[doc])
    for doc, score in scores.items():  # sigmoid(a) > r · sigmoid(b), without a division
        left, right = 1 + math.exp(-positive), ratio * (1 + math.exp(-score))
        assert math.isclose(left, right, rel_tol=1e-9) or (doc in found) == (left > right)


def test_a_margin_may_compare_probabilities_too():
    (example,), _ = run(margin=0.1, activation="sigmoid")  # sigmoid(2.5) = .924, sigmoid(1) = .731
    assert example.documents == ["pos", "n3", "n4"]
    assert example.scores == [2.5, 1.0, -1.0], "examples keep the logits"
    assert Denoising(1, 9, 0.0, "drop", activation="sigmoid").suspects("p", {"p": -800.0, "a": 800.0}) == ["a"]


@pytest.mark.parametrize("positive", [0.0, -2.0])
def test_a_ratio_to_a_score_that_is_not_positive_is_refused(positive):
    settings = Denoising(1, 9, None, "drop", ratio=0.95)
    with pytest.raises(InputError, match=r"scores above 0\. Set denoising\.activation=sigmoid"):
        settings.suspects("p", {"p": positive, "a": 1.0})
    assert settings.suspects("p", {"p": None, "a": 1.0}) == [], "a positive without a score has no suspects"


def node(stage: str, values: dict | None = None, **parents) -> Any:
    """Replaces a node of a graph."""
    return SimpleNamespace(stage=SimpleNamespace(name=stage), values=values or {}, parents=parents)


@pytest.mark.parametrize(
    ("head", "knobs", "refused"),
    [
        ("classifier", {"ratio": 0.95}, True),
        ("classifier", {"ratio": 0.95, "activation": "sigmoid"}, False),
        ("classifier", {"margin": 0.0}, False),
        ("late_interaction", {"ratio": 0.95}, False),
    ],
)
def test_a_ratio_of_logits_is_refused_before_any_work(head, knobs, refused):
    scored = node("score", teacher=SimpleNamespace(values={"scoring_head": head}))
    denoising = Denoising(**{"first_rank": 1, "last_rank": 9, "margin": None, "action": "drop", **knobs})
    assert bool([*check(scored, denoising)]) == refused  # pyright: ignore
    assert not [*check(node("search"), denoising)]  # pyright: ignore
    both = node("ensemble", {"normalisation": "none"}, **{"scored.a": scored, "scored.b": node("search")})
    assert bool([*check(both, denoising)]) == refused, "unless they are normalised, the same is true of an ensemble"


@pytest.mark.parametrize(
    ("normalisation", "knobs", "message"),
    [
        ("minmax", {"margin": 0.99}, None),
        ("minmax", {"margin": 1.0}, r"from 0 to 1, so it would drop all candidates"),
        ("minmax", {"margin": -3.0}, r"from 0 to 1, so it would drop no candidates"),
        ("zscore", {"margin": 2.0}, None),
        ("zscore", {"ratio": 0.95}, r"the zero of .*zscore depends on the other candidates"),
        ("minmax", {"ratio": 0.95}, r"the zero of .*minmax depends on the other candidates"),
        ("minmax", {"activation": "sigmoid"}, r"are no logits; set it to none"),
        ("none", {"margin": 5.0, "activation": "sigmoid"}, None),
    ],
)
def test_thresholds_without_meaning_for_normalised_scores_are_refused(normalisation, knobs, message):
    denoising = Denoising(**{"first_rank": 1, "last_rank": 9, "margin": None, "action": "drop", **knobs})
    problems = [*check(node("ensemble", {"normalisation": normalisation}), denoising)]  # pyright: ignore
    assert bool(problems) == bool(message) and (not message or re.search(message, problems[0]))


def test_the_new_settings_leave_addresses_as_they_were():
    values = {"first_rank": 1, "last_rank": 9, "margin": 0.0, "action": "drop"}
    target = "colbertv2.training.denoising.Denoising"
    before, now, other = (
        Component("denoising", target, values | more).identity
        for more in ({}, {"ratio": None, "activation": "none"}, {"activation": "sigmoid"})
    )
    assert before == now != other


def test_bad_values_are_refused():
    with pytest.raises(InputError, match="first_rank"):
        Denoising(5, 2, None, "drop")
    with pytest.raises(InputError, match="drop, relabel"):
        Denoising(1, 2, None, "erase")
    with pytest.raises(InputError, match="teacher scores"):
        Denoising(1, 2, 0.0, "drop").check_scored([1.0, None])
    with pytest.raises(InputError, match=r"denoising\.ratio needs teacher scores"):
        Denoising(1, 2, None, "drop", ratio=0.9).check_scored([1.0, None])
    with pytest.raises(InputError, match=r"margin is 0 and denoising\.ratio is 0\.9; expected one threshold"):
        Denoising(1, 2, 0.0, "drop", ratio=0.9)
    with pytest.raises(InputError, match="'ratio' is 0; expected a number"):
        Denoising(1, 2, None, "drop", ratio=0)
    with pytest.raises(InputError, match="none, sigmoid"):
        Denoising(1, 2, 0.0, "drop", activation="softmax")
