"""Slurm's commands: which jobs are queued, and how to cancel them."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from colbertv2.errors import InputError

ACTIVE = ("RUNNING", "COMPLETING", "CONFIGURING", "STOPPED", "SUSPENDED")
PATIENCE = 60  # seconds that a command may take


class NoAnswer(InputError):
    """One of Slurm's commands failed or did not end, perhaps because the controller is down for a while."""


@dataclass(frozen=True)
class Queued:
    """A job, or one task of an array, that Slurm has in its queue.

    Args:
        job: the number of the job; of an array, that of the whole array.
        task: the number of the task in its array; ``None`` if it is not in one.
        name: the job's name.
        state: such as ``PENDING`` or ``RUNNING``.
        node: where it runs; empty if it does not run.
        reason: why it does not run, such as ``Dependency`` or ``Resources``.
    """

    job: str
    task: int | None
    name: str
    state: str
    node: str
    reason: str

    @property
    def runs(self) -> bool:
        """Whether it has started and not ended."""
        return self.state in ACTIVE


def queue(prefix: str) -> list[Queued]:
    """This user's queued jobs whose names begin with ``prefix``, one entry per task of an array.

    Raises:
        InputError: there is no Slurm here, or it does not answer.
    """
    form = "%F|%K|%T|%N|%r|%j"  # the name is last: it is the only one that could hold the separator
    said = command("squeue", "--noheader", "--array", "--user", getpass.getuser(), "--format", form)
    found = []
    for line in said.splitlines():
        job, task, state, node, reason, name = line.split("|", 5)
        if name.startswith(prefix):
            found.append(Queued(job, int(task) if task.isdecimal() else None, name, state, node, reason))
    return found


def cancel(jobs: Iterable[str]) -> None:
    """Cancel jobs by their numbers; those that have ended are ignored.

    Raises:
        InputError: there is no Slurm here, or it does not answer.
    """
    if numbers := sorted(set(jobs)):
        command("scancel", "--quiet", *numbers)


def command(*words: str) -> str:
    """Run one of Slurm's commands, and return what it prints.

    Raises:
        NoAnswer: it failed, which is told in its own words, or it did not end.
        InputError: it is not installed.
    """
    check_installed()
    try:
        ran = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{words[0]} did not answer within {PATIENCE} seconds; is slurmctld running?") from None
    if ran.returncode:
        raise NoAnswer(f"{words[0]} failed: {ran.stderr.strip() or ran.stdout.strip()}")
    return ran.stdout


def check_installed() -> None:
    """Check that Slurm's commands are here.

    Raises:
        InputError: one is missing.
    """
    if missing := [name for name in ("sbatch", "srun", "squeue", "scancel", "scontrol") if shutil.which(name) is None]:
        raise InputError(
            f"runtime=slurm needs Slurm's commands, but {', '.join(missing)} can't be found. Run this on a login node "
            "of the cluster, or use runtime=cpu or runtime=gpu."
        )
