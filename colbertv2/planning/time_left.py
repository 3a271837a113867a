"""How long the rest of a run will take, corrected by what its finished steps took."""

from collections.abc import Iterable

from colbertv2.planning.prediction import StepCost
from colbertv2.planning.text import duration

TRUSTED_AT_FIRST = 10  # seconds of predictions that count as if they had been right, so that the first steps say little


class TimeLeft:
    """The steps of a run that remain.

    >>> steps = [StepCost("a", "a-1", "missing", seconds=50.0), StepCost("b", "b-2", "missing", seconds=100.0)]
    >>> left = TimeLeft(steps)
    >>> left.after("a-1", 110.0)
    'step 1 of 2, about 3 min 20 s left'
    >>> left.after("b-2", 190.0)
    'step 2 of 2'

    Args:
        steps: the plan of the run; only missing steps count.
    """

    def __init__(self, steps: Iterable[StepCost]) -> None:
        self.predicted = {step.address: step.seconds for step in steps if step.state == "missing"}
        self.total = len(self.predicted)
        self.expected = self.took = float(TRUSTED_AT_FIRST)

    def after(self, address: str, seconds: float) -> str:
        """Note a finished step, and say how many are done and how long the others will take.

        Args:
            address: the artifact of the step.
            seconds: how long it took; 0 if another process built it.
        """
        if (expected := self.predicted.pop(address, None)) is not None and seconds:
            self.expected += expected
            self.took += seconds
        done = f"step {self.total - len(self.predicted)} of {self.total}"
        rest = sum(seconds or 0 for seconds in self.predicted.values()) * self.took / self.expected
        return f"{done}, about {duration(rest)} left" if rest else done
