"""``colbertv2 cancel runtime=slurm …``: cancel the jobs that ``colbertv2 … runtime=slurm`` has in Slurm's queue.

Finished stages and finished parts are kept: the run that is started again goes on from there. A job that another run
waits for as well is cancelled, too.
"""

from collections.abc import Sequence

from colbertv2.cluster.slurm import cancel
from colbertv2.cluster.watch import states
from colbertv2.commands.status import missing_of


def main(words: Sequence[str]) -> None:
    """Cancel the jobs of every stage that the target still needs, and print how many.

    Raises:
        InputError: the configuration is wrong, it does not run on a cluster, or Slurm does not answer.
    """
    nodes, runtime = missing_of(words)
    found = {one.job: state.node.key for state in states(nodes, runtime) for one in state.queued}
    cancel(found)
    for job, key in found.items():
        print(f"{key}: job {job} cancelled")
    print(f"{len(found)} jobs cancelled")
