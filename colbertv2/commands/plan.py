"""``python -m colbertv2 plan …``: what ``python -m colbertv2 …`` would reuse and what it would build.

In the plan of a sweep, a step that several points share is listed once. Collections and models that are not on this
machine need not be downloaded if their sizes are declared (:mod:`colbertv2.planning.declared`).
"""

from collections.abc import Sequence

from colbertv2.ablation.linter import check_axes
from colbertv2.artifacts.node import Node
from colbertv2.commands.checks import check_places, check_point, print_doubts
from colbertv2.configuration.composition import runtime_of
from colbertv2.configuration.points import collect
from colbertv2.errors import InputError
from colbertv2.planning.cluster import Machines, estimate_on_cluster, is_cluster
from colbertv2.planning.declared import stand_ins, with_declared
from colbertv2.planning.prediction import estimate_nodes
from colbertv2.planning.text import notes_on, to_cluster_text, to_text


def main(arguments: Sequence[str]) -> None:
    """Print key, address, state and estimated cost of the targets and everything upstream; build nothing.

    What is likely not meant is a warning on standard error, as in a run.

    Raises:
        InputError: the configuration of a point is wrong, the sweep varies a value that no stage reads, or the runtime
            of a cluster names an unknown GPU.
    """
    points = [with_declared(point) for point in collect(arguments)]
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
        missing_here = [one for node in nodes for one in stand_ins(node)]
        if is_cluster(runtime):
            steps = estimate_on_cluster(nodes, runtime)
            print(to_cluster_text(steps, notes_on(missing_here, Machines.of(runtime, "encode"))))
        else:
            steps = estimate_nodes(nodes, runtime)
            print("\n".join([to_text(steps, runtime), *notes_on(missing_here, None)]))
        if len(points) > 1:
            missing = sum(step.state == "missing" for step in steps)
            print(f"{len(points)} points: {len(steps)} different steps, {missing} missing")
        print_doubts(nodes, runtime)
    if problems:
        raise InputError("\n".join(f"{command}\n{problem}" for problem, command in problems.items()))
