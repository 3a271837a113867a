"""``make cluster``: what a run on Slurm does when something fails, tried on a real Slurm on this machine.

``python -m experiments.cluster.failures [case …]`` starts a cluster of its own, builds an index of a part of the
standard library in it while something is killed, and compares every file with those of one process. Without cases it
tries all and writes the table. It needs root and Slurm's packages. The nodes share this machine, so the seconds show
what a failure costs on top, and nothing about speed.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from colbertv2.cluster.jobs import prefix_of
from colbertv2.reporting.rendering import markdown_rows
from experiments.agree.environments import ROOT
from experiments.cluster.local import ON_SLURM, LocalCluster, tasks_of
from experiments.speed.machine import described
from experiments.torture.campaign import digests

WORDS = ["collection=stdlib_small", "pipeline=untrained", "target=index", "document_maxlen=64", "logger=none"]
WORDS += ["runtime.shard_documents=150", "runtime.threads=1"]
RESULTS = ROOT / "experiments" / "results" / "cluster.md"
TIMEOUT = 1200  # seconds of one case
SCRATCH = Path("/tmp/colbertv2-scratch")  # where the case full-scratch mounts a small disk
LONGER = ["collection=stdlib", "document_maxlen=180"]  # encoding takes more than a minute
BEGUN = 2  # finished parts of encoding after which something happens


@dataclass
class Try:
    """A run on the cluster that something happens to.

    Args:
        cluster: where it runs.
        root: its artifact root.
        process: the process that submits and waits.
        words: its command line.
    """

    cluster: LocalCluster
    root: Path
    process: subprocess.Popen[str]
    words: list[str]

    def parts(self) -> int:
        """The number of finished parts of encoding."""
        return len([path for path in self.root.glob("encode/.*.partial/.parts/*/?????") if path.is_dir()])

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is so.

        Raises:
            RuntimeError: it is not so in time, or the run has ended before.
        """
        end = time.monotonic() + TIMEOUT
        while not reached():
            if self.process.poll() is not None:
                _, error = self.process.communicate()
                raise RuntimeError(f"The run ended before {reached.__name__}; see {self.root}. {error}")
            if time.monotonic() > end:
                raise RuntimeError(f"Not reached in time: {reached.__name__}; see {self.root}.")
            time.sleep(0.2)

    def until_begun(self) -> None:
        """Wait until some parts are finished."""
        self.until(lambda: self.parts() >= BEGUN)

    def start_again(self) -> None:
        """Start the same command again."""
        self.process = started(self.words, self.cluster)


def started(words: list[str], cluster: LocalCluster | None) -> "subprocess.Popen[str]":
    """Start a run; on the cluster if one is given."""
    environment = cluster.environment if cluster else dict(os.environ)
    return subprocess.Popen(
        [sys.executable, "-m", "colbertv2", *words],
        env=environment,
        cwd=ROOT,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def nothing(run: Try) -> str:
    """Nothing."""
    return ""


def kill_task(run: Try) -> str:
    """kill -9 of a task that encodes."""
    run.until_begun()
    process, node = tasks_of(run.root)[0]
    os.kill(process, signal.SIGKILL)
    return node


def cancel_task(run: Try) -> str:
    """scancel of a task that encodes."""
    run.until_begun()
    line = run.cluster.run("squeue", "--noheader", "--array", "--states=R", "--format", "%i").split()[0]
    run.cluster.run("scancel", line)
    return line


def kill_node_daemon(run: Try) -> str:
    """kill -9 of slurmd, which is started again after 20 s."""
    run.until_begun()
    node = tasks_of(run.root)[0][1]
    run.cluster.kill(f"slurmd-{node}")
    time.sleep(20)
    run.cluster.start_node(node)
    return node


def node_down(run: Try) -> str:
    """A node is set down, and is back after 20 s."""
    run.until_begun()
    node = tasks_of(run.root)[0][1]
    run.cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    time.sleep(20)
    run.cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
    return node


def kill_controller(run: Try) -> str:
    """kill -9 of slurmctld, which is started again after 10 s."""
    run.until_begun()
    run.cluster.kill("slurmctld")
    time.sleep(10)
    run.cluster.start_controller()
    return ""


def kill_submitter(run: Try) -> str:
    """kill -9 of the command that submitted, and the same command again."""
    run.until_begun()
    run.process.kill()
    run.process.wait()
    time.sleep(5)
    run.start_again()
    return ""


def time_out(run: Try) -> str:
    """Encoding reaches its time limit of a minute, and is started again until it is done."""

    def has_started_again() -> bool:
        jobs = run.cluster.run("scontrol", "show", "jobs").split("\n\n")
        return any(prefix_of(run.root) in job and "Restarts=0" not in job for job in jobs)

    run.until(has_started_again)
    return ""


def full_scratch(run: Try) -> str:
    """runtime.scratch has no space for the index; then it has, and the same command again."""
    SCRATCH.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", SCRATCH], check=True)
    _, error = run.process.communicate(timeout=TIMEOUT)
    if run.process.returncode != 2 or "runtime.scratch" not in error:
        raise RuntimeError(f"Expected an error about runtime.scratch, found: {error}")
    subprocess.run(["mount", "-o", "remount,size=1g", SCRATCH], check=True)
    run.start_again()
    return error.strip().splitlines()[-1]


CASES: dict[str, tuple[Callable[[Try], str], list[str]]] = {
    "nothing": (nothing, []),
    "kill-task": (kill_task, []),
    "cancel-task": (cancel_task, []),
    "kill-slurmd": (kill_node_daemon, []),
    "node-down": (node_down, []),
    "kill-slurmctld": (kill_controller, []),
    "kill-submitter": (kill_submitter, []),
    "time-out": (time_out, ["+runtime.stages.encode.hours=0.02", "runtime.array_width=1", *LONGER]),
    "full-scratch": (full_scratch, ["target=ranking", f"runtime.scratch={SCRATCH}"]),
}


def tried(name: str, work: Path, cluster: LocalCluster, alone: dict[str, dict[str, dict[str, str]]]) -> dict[str, str]:
    """Try one case, and return its row of the table."""
    happens, words = CASES[name]
    own = [word for word in WORDS if word.partition("=")[0] not in {one.partition("=")[0] for one in words}]
    key = " ".join(word for word in words if not word.lstrip("+").startswith("runtime."))
    root = work / name
    command = [*own, *ON_SLURM, *words, f"runtime.root={root}"]
    if key not in alone:
        place = work / f"alone{len(alone)}"
        one = started([*own, *(key.split()), f"runtime.root={place}"], None)
        _, error = one.communicate(timeout=TIMEOUT)
        if one.returncode:
            raise RuntimeError(error)
        alone[key] = digests(place)
    begun = time.monotonic()
    run = Try(cluster, root, started(command, cluster), command)
    detail = happens(run)
    _, error = run.process.communicate(timeout=TIMEOUT)
    seconds = time.monotonic() - begun
    if run.process.returncode:
        print(error, file=sys.stderr)
    time.sleep(10)  # a job that has ended stays in the queue for some seconds
    left = [line for line in cluster.run("squeue", "--noheader", "--format", "%j").split() if prefix_of(root) in line]
    stray = [path for path in root.glob("*/.*") if path.name.endswith((".partial", ".failed.json", ".lease"))]
    same = digests(root) == alone[key]
    row = {
        "what happens": str(happens.__doc__).rstrip("."),
        "exit code": str(run.process.returncode),
        "files": "the same" if same else "DIFFER",
        "jobs left": str(len(left)),
        "files left": str(len(stray)),
        "seconds": f"{seconds:.0f}",
    }
    print(name, detail, row, flush=True)
    if same:
        shutil.rmtree(root)
    return row


def main() -> None:
    """Try the cases, and write the table if all were tried."""
    parser = argparse.ArgumentParser(prog="python -m experiments.cluster.failures", description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES])
    given = parser.parse_args()
    rows, alone = [], {}
    with TemporaryDirectory(prefix="cluster-") as directory, LocalCluster(Path(directory) / "slurm", 2) as cluster:
        try:
            for name in given.cases or CASES:
                rows.append(tried(name, Path(directory), cluster, alone))
        finally:
            if SCRATCH.is_mount():
                subprocess.run(["umount", "--lazy", SCRATCH], check=True)
    table = "\n".join(markdown_rows(list(rows[0]), [list(row.values()) for row in rows], left=1))
    print(table)
    if not given.cases:
        heading = (
            f"# Failures on a cluster\n\nMeasured by `make cluster`, finished on {date.today()}, on a real Slurm of "
            f"two nodes on one machine. {described()} Encoding has 18 parts; something happens after {BEGUN} of them. "
            "`files` compares every file of every artifact with those of one process without Slurm. The seconds hold "
            "Slurm's own waiting times, and whatever else ran on the machine."
        )
        RESULTS.write_text(f"{heading}\n\n{table}\n", encoding="utf-8")
    raise SystemExit(any(row["files"] != "the same" or row["jobs left"] != "0" for row in rows))


if __name__ == "__main__":
    main()
