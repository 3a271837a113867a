"""What a job does: one phase of one stage, in the process that submitit starts on a node."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from colbertv2.artifacts.build import BuildError, build_phase
from colbertv2.artifacts.node import Node
from colbertv2.cluster.settings import SlurmSettings
from colbertv2.division import Phase
from colbertv2.errors import InputError
from colbertv2.lifetime import PREEMPTED, Preempted, own_temporary_directory, stopped_by_signals
from colbertv2.parallel import together
from colbertv2.parts import PartsFailed

NOT_AGAIN = 2  # exit code after which a job is not tried again, as it would fail in the same way


@dataclass(frozen=True)
class Task:
    """One phase of a node, as a function that submitit can call.

    Args:
        node: the node to build; its parents are built already.
        phase: ``all`` builds it alone; a stage that divides is prepared, worked on by several tasks, and finished.
        runtime: the settings of the run that submitted it.
    """

    node: Node
    phase: Phase
    runtime: SlurmSettings

    def __call__(self) -> str:
        """Build, and return the address. Ends with an exit code that says whether Slurm is to start it again."""
        try:
            # Signals are taken from submitit, which would requeue the job before a training has written a checkpoint.
            with stopped_by_signals(), own_temporary_directory():
                together(self.build)
        except Preempted as reason:
            print(reason, file=sys.stderr, flush=True)
            raise SystemExit(PREEMPTED) from None
        except (InputError, BuildError) as error:
            if isinstance(error, BuildError) and not isinstance(error.__cause__, PartsFailed):
                raise
            print(error, file=sys.stderr, flush=True)
            raise SystemExit(NOT_AGAIN) from None
        return self.node.address

    def build(self) -> None:
        """Build in this process, with the help of the others if the job has several machines."""
        build_phase(self.node, self.runtime.inside(self.node, self.phase))
