"""Leases: one holder at a time, whoever is killed, stopped or requeued, and whatever the clocks say."""

import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time
import zlib
from itertools import pairwise
from pathlib import Path

import pytest

from colbertv2 import lease
from colbertv2.lease import Lease, LeaseLost, held, holder, is_alive

PROJECT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT)}
HOLD = """
import os, sys, time
from pathlib import Path
from colbertv2.lease import Lease
claimed = Lease.claim(Path(sys.argv[1]), float(sys.argv[2]))
print("held" if claimed else "refused", flush=True)
sys.stdin.readline()
claimed.check()
print("published", flush=True)
claimed.release()
"""


def holding(file: Path, patience: float, **environment: str) -> subprocess.Popen:
    """Another process that holds the lease ``file``; it checks and releases it after a line on its standard input."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file), str(patience)],
        env={**ENVIRONMENT, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def claimed_within(file: Path, seconds: float, patience: float = lease.PATIENCE) -> Lease | None:
    deadline = time.monotonic() + seconds
    while (found := Lease.claim(file, patience)) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


@pytest.fixture
def elsewhere(monkeypatch):
    """Leases that this process looks at from now on seem to be those of another machine."""
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")


def take_turns(file: Path, log: Path, turns: int, kills: bool) -> None:
    for turn in range(turns):
        with held(file, "log") as mine, log.open("a", encoding="utf-8") as stream:
            stream.write(f"begin {os.getpid()} {turn}\n")
            stream.flush()
            if kills and turn == turns - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.002)
            mine.check()
            stream.write(f"end {os.getpid()} {turn}\n")


def test_there_is_one_holder_at_a_time_even_when_holders_are_killed(tmp_path):
    """Eight processes, of which every second one is killed in its last turn; the log shows no turn within another."""
    context = multiprocessing.get_context("fork")
    turns, file, log = 15, tmp_path / "lease", tmp_path / "log"
    processes = [context.Process(target=take_turns, args=(file, log, turns, number % 2)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sum(what == "begin" for what, *_ in lines) == 8 * turns
    assert sum(what == "end" for what, *_ in lines) == 8 * turns - 4
    for (what, *who), (then, *next_one) in pairwise(lines):
        killed = what == "begin" and int(who[1]) == turns - 1 and ["end", *who] not in lines
        assert (then, next_one) == ("end", who) or (then == "begin" and (what == "end" or killed))
    with held(file, "log"):  # the last holder may have been killed
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def claim_once(file: Path, begin, got) -> None:
    begin.wait(30)
    while True:
        if Lease.claim(file) is not None:
            with got.get_lock():
                got.value += 1
            begin.wait(30)
            os._exit(0)  # without a release
        if holder(file) is not None:
            begin.wait(30)
            os._exit(0)


def test_of_many_that_take_over_at_once_one_wins(tmp_path):
    context = multiprocessing.get_context("fork")
    process = holding(tmp_path / "lease", lease.PATIENCE)
    process.kill()
    process.communicate()
    begin, got = context.Barrier(6), context.Value("i", 0)
    processes = [context.Process(target=claim_once, args=(tmp_path / "lease", begin, got)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert got.value == 1 and [process.exitcode for process in processes] == [0] * 6


def test_a_holder_that_was_killed_here_is_replaced_at_once(tmp_path):
    process = holding(tmp_path / "lease", 1000.0)
    assert Lease.claim(tmp_path / "lease") is None and is_alive(tmp_path / "lease")
    found = holder(tmp_path / "lease")
    assert found is not None and str(found).startswith(f"process {process.pid} on {platform.node()}, since 20")
    process.kill()
    while not Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].startswith(" Z"):
        time.sleep(0.01)
    mine = Lease.claim(tmp_path / "lease")  # its parent has not noticed yet
    assert mine is not None and not is_alive(tmp_path / "none")
    mine.check()
    mine.release()
    process.communicate()
    assert not list(tmp_path.iterdir())


def test_a_stopped_holder_is_overtaken_and_does_not_publish(tmp_path):
    file = tmp_path / "lease"
    process = holding(file, 1.0)
    process.send_signal(signal.SIGSTOP)
    mine = claimed_within(file, 30)
    assert mine is not None
    process.send_signal(signal.SIGCONT)
    out, error = process.communicate("\n", timeout=30)
    assert "published" not in out and process.returncode in (1, lease.LOST)
    assert f"is lost, as this process stood still for more than 1 s: process {os.getpid()} on" in error
    mine.check()
    mine.release()
    assert not list(tmp_path.iterdir())


def test_a_stopped_holder_that_nobody_overtook_goes_on(tmp_path):
    process = holding(tmp_path / "lease", 0.5)
    process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    process.send_signal(signal.SIGCONT)
    assert process.communicate("\n", timeout=30) == ("published\n", "") and not list(tmp_path.iterdir())


def test_a_lost_lease_is_noticed_whether_it_was_removed_or_taken(tmp_path, monkeypatch):
    stopped = []
    monkeypatch.setattr(lease, "stop", lambda line, code: stopped.append((line, code)))
    for content in (None, b'{"token": "1", "process": 7, "machine": "node7"}\n1\n'):
        mine = Lease.claim(tmp_path / "lease", 100.0)
        assert mine is not None
        mine.file.unlink()
        if content:
            mine.file.write_bytes(content)
        with pytest.raises(LeaseLost, match="it was removed" if content is None else "process 7 on node7, .* has it"):
            mine.check()
        mine.release()
        assert mine.file.exists() == bool(content), "another's lease must stay"
    mine.file.unlink()
    mine = Lease.claim(tmp_path / "lease", 0.5)
    assert mine is not None
    mine.file.unlink()
    while not stopped:
        time.sleep(0.01)
    assert stopped[0][1] == lease.LOST and "it was removed" in stopped[0][0]
    mine.release()


@pytest.mark.parametrize("hours", [-5, 5])
def test_clocks_of_other_machines_do_not_matter(tmp_path, monkeypatch, elsewhere, hours):
    """A holder whose clock and file times are hours off is neither given up while alive nor kept when it is silent."""
    file = tmp_path / "lease"
    process = holding(file, 2.0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600 * hours)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        os.utime(file, (now + 3600 * hours, now + 3600 * hours))
        assert Lease.claim(file) is None
        time.sleep(0.05)
    assert is_alive(file)
    process.kill()
    process.communicate()
    assert Lease.claim(file) is None, "from elsewhere, its end can't be seen at once"
    mine = claimed_within(file, 30)
    assert mine is not None
    mine.release()


def test_a_watcher_that_stood_still_itself_gives_nobody_up(tmp_path, monkeypatch, elsewhere):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    (tmp_path / "lease").write_bytes(b'{"token": "1", "patience": 100}\n1\n')
    looks = []
    while not looks or looks[-1] is None:
        looks.append(Lease.claim(tmp_path / "lease"))
        clock[0] += 1e6
    assert len(looks) == lease.GAPS + 1
    looks[-1].release()


def test_a_requeued_job_takes_over_its_own_lease_soon_and_no_others(tmp_path, monkeypatch, elsewhere):
    file, job = tmp_path / "lease", {"SLURM_JOB_ID": "12", "SLURM_CLUSTER_NAME": "c"}
    process = holding(file, 1000.0, **job)
    process.kill()
    process.communicate()
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def tries(**environment: str) -> int | None:
        for name, value in {**job, **environment}.items():
            monkeypatch.setenv(name, value)
        lease._sights.clear()
        for number in range(8):
            if (mine := Lease.claim(file)) is not None:
                mine.release()
                return number
            clock[0] += 1000 / lease.BEATS
        return None

    assert tries() is None, "another process of the same job"
    assert tries(SLURM_JOB_ID="13", SLURM_RESTART_COUNT="1") is None
    assert tries(SLURM_RESTART_COUNT="1") == 2


def test_a_requeued_job_does_not_take_over_what_still_runs(tmp_path, monkeypatch, elsewhere):
    """A node that Slurm can't reach may still run the job that was requeued elsewhere."""
    process = holding(tmp_path / "lease", 2.0, SLURM_JOB_ID="12")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert claimed_within(tmp_path / "lease", 1.5) is None
    assert process.communicate("\n", timeout=30) == ("published\n", "")


def test_a_process_that_died_while_it_took_over_holds_nobody_up(tmp_path):
    """The right to remove a lease is a lease, so it can be taken over as well."""
    first = holding(tmp_path / "lease", 1000.0)
    (line, _) = (tmp_path / "lease").read_bytes().splitlines()
    name = f"lease.{zlib.crc32(line):08x}"
    second = holding(tmp_path / name, 1000.0)
    first.kill()
    first.communicate()
    assert Lease.claim(tmp_path / "lease") is None, "the second process is removing it"
    second.kill()
    second.communicate()
    mine = Lease.claim(tmp_path / "lease")
    assert mine is not None
    mine.release()
    assert not list(tmp_path.iterdir())


def test_a_lease_that_was_never_written_is_given_up_in_time(tmp_path, monkeypatch):
    (tmp_path / "lease").touch()
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for _ in range(lease.GAPS):
        assert Lease.claim(tmp_path / "lease") is None and str(holder(tmp_path / "lease")) == "another process"
        clock[0] += lease.PATIENCE
    assert Lease.claim(tmp_path / "lease") is not None


def test_a_signal_releases_what_a_process_holds(tmp_path):
    code = (
        "from colbertv2.commands.command_line import exit_cleanly\n"
        f"def main(words):\n exec({HOLD!r}, globals())\n"
        "exit_cleanly(main, [])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lease"), "1000"],
        env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    process.terminate()
    assert process.wait(30) == 143 and not list(tmp_path.iterdir())
    process.communicate()


def test_a_waiting_process_says_for_whom(tmp_path, capsys):
    process = holding(tmp_path / "lease", 1000.0)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    with held(tmp_path / "lease", "index-1") as mine:
        mine.check()
    out = capsys.readouterr().out
    assert out == "" or out.startswith(f"index-1 waits: process {process.pid} on {platform.node()}, since 20")
    process.communicate(timeout=30)
