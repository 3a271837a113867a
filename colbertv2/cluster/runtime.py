"""The runtime of the process that was started: it submits the jobs of a run, and waits for them."""

from __future__ import annotations

from collections.abc import Sequence

from colbertv2.artifacts.node import Node
from colbertv2.cluster.jobs import submit
from colbertv2.cluster.settings import SlurmSettings
from colbertv2.cluster.watch import failed_here, wait


class SlurmRuntime(SlurmSettings):
    """A run whose stages are jobs of Slurm: the choice ``runtime=slurm``. Its settings are those of its base class."""

    def provide(self, nodes: Sequence[Node]) -> None:
        """Submit the jobs of the nodes that are missing, as far as they are not queued yet, and wait for them.

        Ending the process that waits ends no job: the same command waits for them again. Nodes whose jobs failed are
        not submitted again by the same process; :meth:`failure` says why.

        Args:
            nodes: the nodes that are missing, parents first.

        Raises:
            InputError: there is no Slurm here, or it refused a job; then none of these jobs stays queued.
        """
        if wanted := [node for node in nodes if node.address not in failed_here]:
            submit(wanted, self)
            wait(wanted, self)

    def failure(self, node: Node) -> Exception | None:
        """Why the jobs of a missing node did not build it."""
        return failed_here.get(node.address)
