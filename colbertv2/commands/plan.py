"""``python -m colbertv2 plan …``: what ``python -m colbertv2 …`` would reuse and what it would build.

In the plan of a sweep, a step that several points share is listed once.
"""

from collections.abc import Sequence

from colbertv2.ablation.linter import check_axes
from colbertv2.artifacts.node import Node
from colbertv2.commands.checks import check_places, check_point
from colbertv2.configuration.composition import runtime_of
from colbertv2.configuration.points import collect
from colbertv2.errors import InputError
from colbertv2.planning.prediction import estimate_nodes
from colbertv2.planning.text import to_text


def main(arguments: Sequence[str]) -> None:
    """Print key, address, state and estimated cost of the targets and everything upstream; build nothing.

    Raises:
        InputError: the configuration of a point is wrong, or the sweep varies a value that no stage reads.
    """
    points = collect(arguments)
    check_axes(points)
    check_places(points)
    nodes: list[Node] = []
    problems: dict[str, str] = {}
    for point in points:
        try:
            check_point(point)
            runtime = runtime_of(point.config)  # all points have the same root
            nodes.append(point.node)
        except InputError as error:
            problems.setdefault(str(error), point.command)
    if nodes:
        steps = estimate_nodes(nodes, runtime)
        print(to_text(steps, runtime))
        if len(points) > 1:
            missing = sum(step.state == "missing" for step in steps)
            print(f"{len(points)} points: {len(steps)} different steps, {missing} missing")
    if problems:
        raise InputError("\n".join(f"{command}\n{problem}" for problem, command in problems.items()))
