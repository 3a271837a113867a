"""``python -m colbertv2.plan …``: what ``python -m colbertv2 …`` would find and what it would have to build.

Of a sweep, every step once, however many points share it.
"""

from collections.abc import Sequence

from colbertv2.ablation.linter import check_axes
from colbertv2.ablation.points import collect
from colbertv2.artifacts import Step
from colbertv2.command_line import print_steps, run
from colbertv2.configuration import plan
from colbertv2.errors import InputError


def main(arguments: Sequence[str]) -> None:
    """Print key, address and state of the targets and everything upstream; build nothing.

    Raises:
        InputError: the configuration of a point is wrong, or the sweep is over what nothing reads.
    """
    points = collect(arguments)
    check_axes(points)
    steps: dict[str, Step] = {}
    problems: dict[str, str] = {}
    for point in points:
        try:
            steps.update({step.address: step for step in plan(point.config) if step.address not in steps})
        except InputError as error:
            problems.setdefault(str(error), point.command)
    if steps:
        print_steps(list(steps.values()))
    if len(points) > 1:
        missing = sum(not step.cached for step in steps.values())
        print(f"{len(points)} points: {len(steps)} different steps, {missing} missing")
    if problems:
        raise InputError("\n".join(f"{command}\n{problem}" for problem, command in problems.items()))


if __name__ == "__main__":
    run(main)
