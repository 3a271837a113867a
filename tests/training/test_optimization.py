"""The learning rate of every schedule begins with the warm-up, peaks at 1, has no jumps and ends near 0."""

import math
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbertv2.artifacts.node import Component
from colbertv2.errors import InputError
from colbertv2.training.optimization import Optimization, Schedule

SCHEDULES = get_args(Schedule)
VALUES = {"learning_rate": 1e-3, "weight_decay": 0.0, "dropout": None}


def schedule(name: Schedule, steps: int, warmup: int, fraction: float = 0.1) -> Optimization:
    return Optimization(**VALUES, steps=steps, warmup_steps=warmup, schedule=name, decay_fraction=fraction)


@st.composite
def schedules(draw):
    steps, fraction = draw(st.integers(2, 300)), draw(st.floats(0.01, 1))
    warmup = draw(st.integers(0, steps - 1))
    name = draw(st.sampled_from(SCHEDULES))
    if name == "wsd":
        warmup = min(warmup, steps - math.ceil(round(fraction * steps, 6)))
    return schedule(name, steps, warmup, fraction)


@settings(max_examples=40)
@given(schedules())
def test_every_schedule_warms_up_peaks_at_one_and_decays_to_zero_without_jumps(chosen):
    steps, warmup = chosen.steps, chosen.warmup_steps
    factors = [chosen.factor(step) for step in range(steps + 1)]
    assert factors[:warmup] == [(step + 1) / warmup for step in range(warmup)]
    assert factors[warmup] == max(factors) == 1
    after = factors[warmup:]
    assert all(now >= later >= 0 for now, later in pairwise(after)), "it never rises again"
    largest = (math.pi / 2 if chosen.schedule == "cosine" else 1) / chosen.decay_steps
    assert all(now - later <= largest + 1e-9 for now, later in pairwise(after))
    assert factors[steps] == chosen.factor(steps + 7) == 0, "the step after the last would be 0"


@settings(max_examples=40)
@given(st.integers(2, 60), st.floats(0.01, 1))
def test_wsd_is_stable_until_its_decay(steps, fraction):
    chosen = schedule("wsd", steps, 0, fraction)
    falling = [step for step in range(steps) if chosen.factor(step) < 1]
    assert len(falling) == chosen.decay_steps - 1, "the first step of the decay still has the peak"
    assert falling == [*range(steps - len(falling), steps)]
    assert fraction * steps - 1e-5 <= chosen.decay_steps < fraction * steps + 1


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(0, 59))
def test_without_a_stable_phase_wsd_is_linear(steps, warmup):
    linear, wsd = schedule("linear", steps, 0), schedule("wsd", steps, 0, 1.0)
    assert [linear.factor(step) for step in range(steps)] == [wsd.factor(step) for step in range(steps)]
    warmup = min(warmup, steps)
    expected = [  # of versions before there was a choice
        (step + 1) / warmup if step < warmup else max(0.0, (steps - step) / max(1, steps - warmup))
        for step in range(steps + 1)
    ]
    assert [schedule("linear", steps, warmup).factor(step) for step in range(steps + 1)] == expected


def test_cosine_is_half_a_period():
    factors = [schedule("cosine", 110, 10).factor(step) for step in (10, 35, 60, 85, 109)]
    expected = [(1 + math.cos(math.pi * share)) / 2 for share in (0, 0.25, 0.5, 0.75, 0.99)]
    assert factors == pytest.approx(expected, abs=1e-12)


def test_the_neutral_schedule_leaves_addresses_as_they_were():
    target = "colbertv2.training.optimization.Optimization"
    old = {**VALUES, "steps": 9, "warmup_steps": 1}
    identity = Component("optimization", target, old).identity
    assert Component("optimization", target, old | {"schedule": "linear", "decay_fraction": 0.1}).identity == identity
    assert Component("optimization", target, old | {"schedule": "cosine"}).identity != identity


def test_bad_values_are_refused():
    with pytest.raises(InputError, match="linear, cosine, wsd"):
        schedule("constant", 10, 0)  # pyright: ignore
    with pytest.raises(InputError, match="'decay_fraction' is 0"):
        schedule("wsd", 10, 0, 0.0)
    with pytest.raises(InputError, match=r"warmup_steps is 6; expected at most 5, .* last 5 of 10 steps"):
        schedule("wsd", 10, 6, 0.5)
    assert schedule("linear", 10, 6, 0.5).decay_steps == 4
