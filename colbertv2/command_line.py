"""What the commands have in common: wrong input ends with its message and exit code 2, plans are printed alike."""

import sys
from collections.abc import Callable, Sequence

from colbertv2.artifacts import Step
from colbertv2.errors import InputError


def run(task: Callable[[Sequence[str]], None]) -> None:
    """Call ``task`` with the command line's arguments."""
    try:
        task(sys.argv[1:])
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def print_steps(steps: Sequence[Step]) -> None:
    """Key, address and state of each step."""
    key_width, address_width = max(len(step.key) for step in steps), max(len(step.address) for step in steps)
    for step in steps:
        print(f"{step.key:{key_width}}  {step.address:{address_width}}  {'cached' if step.cached else 'missing'}")
