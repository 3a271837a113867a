"""Several machines: two processes of a job, each as if on its own, work on one training."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from team_training import STEPS, train
from trainings import weights

from colbertv2 import team
from colbertv2.errors import InputError
from colbertv2.lifetime import PREEMPTED
from colbertv2.modeling.colbert import ColBERT
from colbertv2.team import gathered_team, place_of_this_process

HERE = Path(__file__).resolve().parent
LAUNCHERS = ("SLURM", "TORCHELASTIC", "COLBERTV2_TEAM", "RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "GROUP_")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)},
    "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
    "OMP_NUM_THREADS": "1",
}
TIMEOUT = 600


def started(*words: object, variables: Mapping[str, str], runner: Sequence[str] = ("-m",)) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *runner, "team_process", *map(str, words)],
        env={**ENVIRONMENT, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def as_tasks(directory: Path, *words: object) -> list[subprocess.Popen]:
    """Two processes with the variables that ``srun`` sets for its tasks."""
    job = {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_NODES": "2", "SLURM_JOB_ID": "7", "COLBERTV2_TEAM": str(directory)}
    return [started(*words, variables={**job, "SLURM_PROCID": str(rank)}) for rank in range(2)]


def outputs(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each process."""
    found = [process.communicate(timeout=TIMEOUT) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, found, strict=True)]


def losses(out: Path) -> np.ndarray:
    logs = [pandas.read_csv(log / "metrics.csv") for log in sorted(out.glob("log*"))]
    return pandas.concat(logs)["train/loss"].dropna().to_numpy()


def wait_for(file: Path, *processes: subprocess.Popen) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not file.exists() and time.monotonic() < deadline:
        assert [process.poll() for process in processes] == [None] * len(processes)
        time.sleep(0.05)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The training in one process."""
    out = tmp_path_factory.mktemp("alone") / "out"
    train(out, None)
    return out


@pytest.fixture(scope="module")
def on_two(tmp_path_factory) -> Path:
    """The training on two machines that ``torchrun`` brings together."""
    out = tmp_path_factory.mktemp("two") / "out"
    place = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{find_free_network_port()}", "--rdzv-id", "test")
    runner = ("-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *place, "-m")
    for code, _, error in outputs([started("train", out, variables={}, runner=runner) for _ in range(2)]):
        assert code == 0, error
    return out


def test_two_machines_learn_what_one_process_does(alone, on_two):
    assert len(losses(alone)) and np.allclose(losses(alone), losses(on_two), atol=1e-5)
    one, two = weights(ColBERT.load(alone)), weights(ColBERT.load(on_two))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_training_that_was_warned_and_resumed_ends_with_the_same_weights(alone, tmp_path, step):
    """At step 1 there is no best checkpoint yet, and a validation follows on step 2."""
    number = signal.SIGTERM if step == 3 else signal.SIGUSR1
    process = started("train", tmp_path / "out", step, variables={"SLURM_JOB_ID": "7"})
    wait_for(tmp_path / "out" / "reached", process)
    process.send_signal(number)
    ((code, _, error),) = outputs([process])
    assert code == PREEMPTED and f"stopped at step {step}" in error and "Traceback" not in error
    kept = torch.load(tmp_path / "out" / "checkpoints" / "preempted.ckpt", weights_only=True)
    assert kept["global_step"] == step < STEPS
    train(tmp_path / "out", None)
    assert torch.equal(weights(ColBERT.load(tmp_path / "out")), weights(ColBERT.load(alone)))
    assert (tmp_path / "out" / "summary.json").read_bytes() == (alone / "summary.json").read_bytes()


def test_a_warning_on_one_machine_stops_all_at_the_same_step_and_they_resume_exactly(on_two, tmp_path):
    processes = as_tasks(tmp_path, "train", tmp_path / "out", 3)
    wait_for(tmp_path / "out" / "reached", *processes)
    processes[1].send_signal(signal.SIGUSR2)
    for code, _, error in outputs(processes):
        assert code == PREEMPTED and "Traceback" not in error, error
    for code, _, error in outputs(as_tasks(tmp_path, "train", tmp_path / "out")):
        assert code == 0, error
    assert (tmp_path / "out" / "log-from-step-3").is_dir()
    assert torch.equal(weights(ColBERT.load(tmp_path / "out")), weights(ColBERT.load(on_two)))
    assert [file.name for file in tmp_path.iterdir()] == ["out"], "the file by which they met is removed"


def test_errors_of_another_machine_arrive_and_the_team_goes_on(tmp_path):
    (code, out, error), (other, _, _) = outputs(as_tasks(tmp_path, "errors", tmp_path))
    refused, failed, died = out.splitlines()
    assert refused.startswith("refuse: InputError: Expected one thing, found another. ")
    assert failed.startswith("fail: KeyError: 'a bug' | on ") and "in fail " in failed
    assert died.startswith("die: KilledError: One of 1 processes was killed")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{rank} of 4" for rank in range(4)]
    assert code and "has ended, perhaps because memory ran out" in error
    assert other == -signal.SIGKILL


def test_two_machines_divide_the_parts_of_a_stage(tmp_path):
    (tmp_path / "out").mkdir()
    for code, _, error in outputs(as_tasks(tmp_path, "parts", tmp_path / "out")):
        assert code == 0, error
    found = [file.read_text().split() for file in sorted(tmp_path.glob("out/.parts/*/0*/square"))]
    assert [(int(square), device) for square, device, _ in found] == [(n**2, "cpu") for n in range(5)]
    processes = [process for _, _, process in found]
    assert processes[0] == processes[2] == processes[4] != processes[1] == processes[3]


def test_a_signal_that_nothing_listens_to_ends_at_once():
    code = "import time\nfrom colbertv2.lifetime import stopped_by_signals\n"
    code += "with stopped_by_signals():\n    "
    code += "print('ready', flush=True)\n    time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR1)
    ((ended, out, error),) = outputs([process])
    assert (ended, out) == (PREEMPTED, "") and error.startswith("Stopped by SIGUSR1. Finished work is kept")


SRUN = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "3"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}


@pytest.fixture
def variables(monkeypatch):
    for name in os.environ:
        if name.startswith(LAUNCHERS):
            monkeypatch.delenv(name)
    return lambda chosen: [monkeypatch.setenv(name, value) for name, value in chosen.items()]


@pytest.mark.parametrize(
    "chosen, rank_and_size",
    [
        ({}, None),
        (SRUN, None),  # each task is a run of its own
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, None),
        ({**SRUN, "COLBERTV2_TEAM": "/shared"}, (1, 2)),
        ({**SRUN, "COLBERTV2_TEAM": "/shared", "SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, None),
        (TORCHRUN, (1, 2)),
    ],
)
def test_only_torchrun_and_a_variable_make_a_team(variables, chosen, rank_and_size):
    variables(chosen)
    place = place_of_this_process()
    assert (place and (place.rank, place.size)) == rank_and_size


def test_a_job_that_is_requeued_meets_at_another_file(variables):
    variables({**SRUN, "COLBERTV2_TEAM": "/shared"})
    first = place_of_this_process()
    variables({"SLURM_RESTART_COUNT": "1"})
    again = place_of_this_process()
    assert first and again and first.file != again.file


@pytest.mark.parametrize(
    "chosen, message",
    [
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "4"}, "use --nproc-per-node 1 and runtime.devices=4"),
        ({**SRUN, "COLBERTV2_TEAM": "x", "SLURM_NTASKS": "8"}, "use --ntasks-per-node=1 and runtime.devices=4"),
        ({"COLBERTV2_TEAM": "x"}, "'SLURM_PROCID' is not, so this is no task of srun"),
    ],
)
def test_a_job_that_was_started_wrongly_says_how_to_start_it(variables, chosen, message):
    variables(chosen)
    with pytest.raises(InputError, match=message):
        place_of_this_process()


def test_a_stranger_is_turned_away(tmp_path):
    meeting = tmp_path / "meeting"
    with ThreadPoolExecutor(1) as other:
        gathering = other.submit(gathered_team, team.PlaceInTeam(0, 2, meeting))
        while not meeting.exists():
            time.sleep(0.01)
        host, port, key = team.details(team.PlaceInTeam(1, 2, meeting))
        with socket.create_connection((host, port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1")
        assert meeting.stat().st_mode & 0o077 == 0 and len(key) == 32
        connection = team.joined(team.PlaceInTeam(1, 2, meeting))
        leader = gathering.result(TIMEOUT)
    assert leader.size == 2
    leader.ask("a task")
    assert connection.recv() == "a task"


def test_a_leader_says_how_many_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(team, "PATIENCE", 0.5)
    place = team.PlaceInTeam(0, 3, tmp_path / "meeting")
    with pytest.raises(InputError, match=r"1 of the 3 processes of this job have started within 0 s"):
        gathered_team(place)
    with pytest.raises(InputError, match=r"has not written .*meeting within 0 s"):
        team.joined(place)
    with pytest.raises(InputError, match=r"COLBERTV2_TEAM is .*nowhere, which can't be written to"):
        gathered_team(team.PlaceInTeam(0, 2, tmp_path / "nowhere" / "meeting"))
