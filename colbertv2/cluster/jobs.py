"""Submit the jobs of a run: one per phase of each missing stage, with a dependency on the jobs of its parents.

A job's name is ``colbertv2-ROOT-ADDRESS[.PHASE]``, where ROOT is a hash of the artifact root. So Slurm's queue itself
says what is under way: a second run, or the same one started again, finds the jobs of the first and depends on them.
"""

from __future__ import annotations

import json
import shlex
import zlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.build import forget_failure
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import Stage
from colbertv2.cluster.settings import Resources, SlurmSettings
from colbertv2.cluster.slurm import cancel, check_installed, queue
from colbertv2.division import Phase, forget_failures
from colbertv2.errors import InputError
from colbertv2.lease import held
from colbertv2.team import TEAM

ATTEMPTS = 3  # times that a task is started, if it ends with an error
SECONDS_TO_STOP = 120  # that a job gets before its time limit

# After the task: it is started again if it was warned of its end (85), or if it failed, for instance because it was
# killed; not for what fails in the same way each time (2), and not if the job was cancelled. Slurm itself requeues jobs
# that are preempted, and those of nodes that fail.
TRY_AGAIN = """\
code=$?
file={folder}/$SLURM_JOB_ID.failures
if [ $code -eq 0 ] || [ $code -eq 2 ]; then exit $code; fi
if ! scontrol show job $SLURM_JOB_ID | grep -q JobState=RUNNING; then exit $code; fi
if [ $code -eq 85 ]; then
  scontrol requeue $SLURM_JOB_ID && sleep 60
else
  echo "$(date -Iseconds) $SLURMD_NODENAME ended with $code" >> $file
  if [ $(wc -l < $file) -lt {attempts} ]; then scontrol requeue $SLURM_JOB_ID && sleep 60; fi
fi
exit $code"""


def submit(nodes: Sequence[Node], runtime: SlurmSettings) -> None:
    """Submit the jobs of ``nodes`` that are neither finished nor queued.

    Args:
        nodes: the nodes to build, parents first.
        runtime: what the jobs ask for.

    Raises:
        InputError: there is no Slurm here, or it refused a job; those submitted before it are cancelled.
    """
    check_installed()
    folder = folder_of(runtime.root)
    folder.mkdir(parents=True, exist_ok=True)
    submitted: list[str] = []
    finishing: dict[str, str] = {}  # address → number of the job that finishes it
    run = datetime.now().astimezone().isoformat("T", "seconds")
    with held(folder / "submit.lease", "the queue"):
        queued = {one.name: one.job for one in queue(prefix_of(runtime.root))}
        try:
            for node in nodes:
                if Artifact.present(path := location(runtime.root, node.address)):
                    continue
                name = name_of(runtime.root, node.address)
                if name in queued:
                    finishing[node.address] = queued[name]
                    continue
                forget_failure(path)
                forget_failures(path.with_name(f".{path.name}.partial"))
                addresses = {parent.address for parent in node.parents.values()}
                parents = sorted(finishing[one] for one in addresses if one in finishing)
                after = f"afterok:{':'.join(parents)}" if parents else ""
                for phase in phases_of(node.stage):
                    job = submit_phase(node, phase, runtime, after, run)
                    submitted.append(job)
                    # The finishing job itself checks that all parts are there, whichever tasks built them.
                    after = f"{'afterany' if phase == 'work' else 'afterok'}:{job}"
                finishing[node.address] = submitted[-1]
        except InputError:
            cancel(submitted)
            raise


def submit_phase(node: Node, phase: Phase, runtime: SlurmSettings, after: str, run: str) -> str:
    """Submit one phase of a node, and note its job next to the logs.

    Args:
        after: Slurm's dependency; empty for none.
        run: when this submission began, the same for all its jobs.

    Returns:
        The number of the job, or of the array.

    Raises:
        InputError: Slurm refused it.
    """
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from colbertv2.cluster.task import Task

    folder = folder_of(runtime.root)
    executor = SlurmExecutor(folder)
    resources = runtime.resources(node.stage.name)
    executor.update_parameters(**options(node, phase, resources, folder, after))
    number = resources.tasks if phase == "work" else 1
    try:
        with executor.batch():
            jobs = [executor.submit(Task(node, phase, runtime)) for _ in range(number)]
    except (FailedJobError, FailedSubmissionError) as error:
        said = str(error).strip().splitlines()
        reason = next((line for line in said if line.startswith("sbatch: error")), said[-1] if said else "no reason")
        raise InputError(
            f"Slurm refused the job of {node.key} (stage {node.stage.name}): {reason.removeprefix('sbatch: ')}. Change "
            f"runtime.partition, runtime.account, runtime.extra or runtime.stages.{node.stage.name}; `sinfo` lists "
            "what this cluster has."
        ) from None
    job = jobs[0].job_id.partition("_")[0]
    note = {"run": run, "job": job, "phase": phase, "tasks": number}
    with notes_of(runtime.root, node.address).open("a", encoding="utf-8") as notes:
        notes.write(json.dumps(note) + "\n")
    return job


def options(node: Node, phase: Phase, resources: Resources, folder: Path, after: str) -> dict[str, object]:
    """The options of ``sbatch`` for one phase of a node, by submitit's names."""
    gpus = resources.gpus_per_node if node.stage.spans_nodes else min(1, resources.gpus_per_node)
    nodes = resources.nodes if node.stage.spans_nodes else 1
    team = [f"export {TEAM}={shlex.quote(str(folder))}"] if nodes > 1 else []
    teardown = TRY_AGAIN.format(folder=shlex.quote(str(folder)), attempts=ATTEMPTS)
    own = {
        "job_name": name_of(folder.parent, node.address, phase),
        "partition": resources.partition,
        "account": resources.account,
        "nodes": nodes,
        "ntasks_per_node": 1,  # it starts a process for each GPU
        "gpus_per_node": gpus or None,
        "cpus_per_task": resources.cpus_per_task * max(1, gpus),
        "mem": f"{int(resources.memory_gb * 1024)}M",
        "time": max(1, round(resources.hours * 60)),
        "signal_delay_s": min(SECONDS_TO_STOP, round(resources.hours * 3600 / 5)),
        "dependency": after or None,
        "setup": [*resources.setup, *team] or None,
        "teardown": teardown.splitlines(),
        "stderr_to_stdout": True,
        "array_parallelism": resources.tasks,
    }
    extra = {"requeue": True, "kill-on-invalid-dep": "yes", **resources.extra}
    return {**{name: value for name, value in own.items() if value is not None}, "additional_parameters": extra}


def phases_of(stage: Stage) -> tuple[Phase, ...]:
    """The phases of a stage, each a job: one if it does not divide."""
    if not stage.divided:
        return ("all",)
    return ("prepare", "work", "finish") if stage.prepares else ("work", "finish")


def folder_of(root: Path) -> Path:
    """Where the logs of the jobs of an artifact root are, and what was submitted."""
    return root / ".slurm"


def notes_of(root: Path, address: str) -> Path:
    """The file that lists the jobs that were submitted for an artifact, one JSON mapping per line."""
    return folder_of(root) / f"{address}.jobs.jsonl"


def prefix_of(root: Path) -> str:
    """How the names of all jobs of an artifact root begin."""
    return f"colbertv2-{zlib.crc32(str(root).encode()):08x}-"


def name_of(root: Path, address: str, phase: Phase = "all") -> str:
    """The name of a job; that of the job that completes the artifact has no phase in it."""
    return f"{prefix_of(root)}{address}{f'.{phase}' if phase in ('prepare', 'work') else ''}"
