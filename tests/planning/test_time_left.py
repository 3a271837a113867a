"""The time left of a run follows the plan, and what its finished steps took."""

import re

from colbertv2.planning.prediction import StepCost
from colbertv2.planning.time_left import TRUSTED_AT_FIRST, TimeLeft


def plan(*seconds: float | None) -> list[StepCost]:
    return [StepCost(f"{place}", f"step-{place}", "missing", one) for place, one in enumerate(seconds)]


def test_a_slow_machine_is_noticed():
    left = TimeLeft(plan(90, 100, 200))
    assert left.after("step-0", 190) == "step 1 of 3, about 10 min left"
    assert left.after("step-1", 200) == "step 2 of 3, about 6 min 40 s left"
    assert left.after("step-2", 400) == "step 3 of 3"


def test_a_first_step_of_a_moment_says_little():
    left = TimeLeft(plan(0.1, 100))
    found = left.after("step-0", 1)  # ten times as slow as predicted
    seconds = re.fullmatch(r"step 1 of 2, about (\d) min (\d+) s left", found)
    assert seconds and 60 * int(seconds[1]) + int(seconds[2]) == round(100 * (TRUSTED_AT_FIRST + 1) / (10 + 0.1))


def test_what_exists_or_was_built_elsewhere_does_not_count():
    cached = StepCost("cached", "cached-1", "cached")
    left = TimeLeft([cached, *plan(100, 100)])
    assert left.after("step-0", 0) == "step 1 of 2, about 1 min 40 s left"
    assert left.after("other-9", 50) == "step 1 of 2, about 1 min 40 s left"


def test_steps_of_unknown_time_are_only_counted():
    left = TimeLeft(plan(10, None))
    assert left.after("step-0", 10) == "step 1 of 2"
    assert left.after("step-1", 70) == "step 2 of 2"
