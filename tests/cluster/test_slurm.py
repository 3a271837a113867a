"""Runs on a real Slurm, which is started on this machine. `make test-slurm` installs it and runs these tests."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colbertv2.cluster.jobs import folder_of
from experiments.cluster.local import ON_SLURM, LocalCluster, missing, tasks_of
from experiments.torture.campaign import digests
from tests.support import shrunk, tiny_folder

REASON = missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no Slurm: {REASON}")
HERE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    one = LocalCluster(tmp_path_factory.mktemp("s"), nodes=2)
    try:
        one.start()
    except (RuntimeError, subprocess.CalledProcessError) as error:  # the packages are here, but daemons may not run
        one.stop()
        pytest.skip(f"Slurm does not start here: {error}")
    yield one
    one.stop()


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A small pipeline whose encoding has five parts."""
    folder = tiny_folder(tmp_path_factory.mktemp("data") / "folder")
    own = [word for word in shrunk(folder, Path()) if not word.startswith("runtime.root=")]
    return [*own, "pipeline=untrained", "target=metrics", "runtime.shard_documents=6", "runtime.threads=1"]


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(cluster: LocalCluster) -> Start:
    """Start a verb with words; the process is returned."""

    def started(*words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "colbertv2", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=cluster.environment, cwd=HERE, **pipes)

    return started


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, error = process.communicate(timeout=900)
    return process.returncode, out, error


def submitted(root: Path) -> Counter[str]:
    """How many jobs were submitted for each artifact."""
    return Counter(
        file.name.removesuffix(".jobs.jsonl")
        for file in folder_of(root).glob("*.jobs.jsonl")
        for _ in file.read_text().splitlines()
    )


def queued(cluster: LocalCluster) -> list[str]:
    return cluster.run("squeue", "--noheader", "--format", "%j").split()


def left(cluster: LocalCluster) -> list[str]:
    """The jobs that stay in the queue: one that has ended is in it for some seconds."""
    end = time.monotonic() + 30
    while (found := queued(cluster)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def alone(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The digests of a run in one process, without Slurm."""
    root = tmp_path_factory.mktemp("alone")
    subprocess.run(
        [sys.executable, "-m", "colbertv2", *words, f"runtime.root={root}"], cwd=HERE, check=True, capture_output=True
    )
    return digests(root)


def test_a_run_whose_submitter_and_task_are_killed_builds_the_same(
    cluster: LocalCluster, words: list[str], alone: dict[str, dict[str, str]], start: Start, tmp_path: Path
):
    root = tmp_path / "artifacts"
    command = [*words, *ON_SLURM, f"runtime.root={root}"]
    first = start(*command)
    end = time.monotonic() + 120
    while not (tasks := tasks_of(root)) and time.monotonic() < end:
        time.sleep(0.05)
    first.kill()
    os.kill(tasks[0][0], signal.SIGKILL)
    first.communicate()
    state, out, _ = ended(start("status", *command))
    assert state == 0 and "stages to build; tasks: " in out
    code, out, error = ended(start(*command))
    assert code == 0, error
    assert "nDCG@10" in out
    assert digests(root) == alone
    assert left(cluster) == []
    assert max(submitted(root).values()) <= 3  # prepare, work, finish: nothing was submitted twice
    assert [*folder_of(root).glob("*.failures")]


def test_points_of_a_sweep_share_jobs(
    cluster: LocalCluster, words: list[str], alone: dict[str, dict[str, str]], start: Start, tmp_path: Path
):
    root = tmp_path / "artifacts"
    code, _, error = ended(start("-m", *words, *ON_SLURM, f"runtime.root={root}", "depth=5,20"))
    assert code == 0, error
    assert Counter(one.rpartition("-")[0] for one in submitted(root))["encode"] == 1
    found = digests(root)
    assert all(found[address] == files for address, files in alone.items())
    assert left(cluster) == []


def test_a_wrong_partition_is_refused_before_anything_is_queued(
    cluster: LocalCluster, words: list[str], start: Start, tmp_path: Path
):
    root = tmp_path / "artifacts"
    other = "+runtime.stages.search.partition=nowhere"
    code, _, error = ended(start(*words, *ON_SLURM, f"runtime.root={root}", other))
    assert code == 2
    assert "Slurm refused the job of pipeline.ranking (stage search)" in error and "nowhere" in error
    assert "Traceback" not in error
    assert left(cluster) == []


def test_wrong_input_is_told_as_on_one_machine(cluster: LocalCluster, words: list[str], start: Start, tmp_path: Path):
    run = tmp_path / "run.trec"
    run.write_text("q1 Q0 d1 1 0.5\n")
    own = [word for word in words if not word.startswith(("pipeline=", "target="))]
    more = ["pipeline=two_stage", "first_stage=external", f"first_stage.file.path={run}", "target=first_stage_metrics"]
    code, _, error = ended(start(*own, *more, *ON_SLURM, f"runtime.root={tmp_path / 'artifacts'}"))
    assert code == 2
    assert f"{run}, line 1: expected 6 columns" in error and "Traceback" not in error
    assert left(cluster) == []


def test_cancel_empties_the_queue(cluster: LocalCluster, words: list[str], start: Start, tmp_path: Path):
    root = tmp_path / "artifacts"
    command = [*words, *ON_SLURM, f"runtime.root={root}"]
    first = start(*command)
    end = time.monotonic() + 120
    while not queued(cluster) and time.monotonic() < end:
        time.sleep(0.1)
    first.kill()
    first.communicate()
    code, out, error = ended(start("cancel", *command))
    assert code == 0 and "jobs cancelled" in out, error
    assert left(cluster) == []
    note = json.loads(next(folder_of(root).glob("*.jobs.jsonl")).read_text().splitlines()[0])
    assert set(note) == {"run", "job", "phase", "tasks"}
