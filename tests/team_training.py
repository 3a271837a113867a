"""The training that tests of a team run, alone or on several machines."""

import time
from pathlib import Path

from trainings import EXAMPLES, LOOKUP, ranker, recipe

from colbertv2.lifetime import is_warned
from colbertv2.parallel import rank_and_world
from colbertv2.runtime import Runtime
from colbertv2.training.data import TextLookup
from colbertv2.training.fit import fit

STEPS, INTERVAL = 6, 2


class Warned(TextLookup):
    """A lookup that waits in the last process, at a given batch, until the process has been warned of its end."""

    def __init__(self, after: int, reached: Path):
        super().__init__(LOOKUP.queries, LOOKUP.documents)
        self.left, self.reached = after, reached

    def __call__(self, examples):
        rank, world = rank_and_world()
        self.left -= 1
        if self.left == 0 and rank == world - 1:
            self.reached.touch()
            deadline = time.monotonic() + 60
            while not is_warned() and time.monotonic() < deadline:
                time.sleep(0.01)
        return super().__call__(examples)


def train(out: Path, step: int | None) -> None:
    """Train in ``out``; in step ``step``, counted from 1, a warning is waited for."""
    out.mkdir(exist_ok=True)
    lookup = LOOKUP if step is None else Warned(step + 1, out / "reached")  # the loader reads one batch ahead
    runtime = Runtime(root=out.parent, device="cpu", wandb="disabled", progress=False)
    plan = recipe(steps=STEPS, interval=INTERVAL)
    fit(ranker(), plan, EXAMPLES, EXAMPLES[:4], lookup, LOOKUP, seed=0, out=out, runtime=runtime)
