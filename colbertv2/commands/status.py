"""``colbertv2 status runtime=slurm …``: what the jobs of ``colbertv2 … runtime=slurm`` do.

One line per stage that is not built: its tasks, its finished parts, why it waits, or why it failed. Nothing is changed.
"""

from collections.abc import Sequence

from colbertv2.artifacts.build import to_build
from colbertv2.artifacts.node import Node
from colbertv2.cluster.runtime import SlurmRuntime
from colbertv2.cluster.watch import describe, noted, states
from colbertv2.configuration.composition import runtime_of
from colbertv2.configuration.points import collect
from colbertv2.errors import InputError


def main(words: Sequence[str]) -> None:
    """Print the state of every stage that the target still needs.

    Raises:
        InputError: the configuration is wrong, it does not run on a cluster, or Slurm does not answer.
    """
    nodes, runtime = missing_of(words)
    now = states(nodes, runtime)
    width = max((len(one.node.key) for one in now), default=0)
    for one in now:
        text = one.text()
        if one.failed and noted(one.node, runtime):
            text = describe(one.node, runtime)
        print(f"{one.node.key:{width}}  {text}")
    running = sum(one.runs for state in now for one in state.queued)
    waiting = sum(len(state.queued) for state in now) - running
    print(f"{len(now)} stages to build; tasks: {running} running, {waiting} waiting" if now else "Everything is built.")


def missing_of(words: Sequence[str]) -> tuple[list[Node], SlurmRuntime]:
    """The nodes that are still to be built for a configuration or a sweep, parents first, and its runtime.

    Raises:
        InputError: the configuration is wrong, or does not run on a cluster.
    """
    points = collect(words)
    runtime = runtime_of(points[0].config)
    if not isinstance(runtime, SlurmRuntime):
        raise InputError(
            "This is for runs on a cluster; add runtime=slurm and the words that the run was started with."
        )
    return to_build([point.node for point in points], runtime.root), runtime
