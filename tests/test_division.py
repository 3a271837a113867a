"""Work in parts: each is whole or absent, done once, by whoever claims it, and not again after an interruption."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from colbertv2 import parts as on_disk
from colbertv2.division import PARTS, Paused, clear, divide, forget_failures, once
from colbertv2.errors import InputError
from colbertv2.lease import Lease
from colbertv2.parts import Division, PartsFailed, wait_for_workers


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(on_disk, "WAIT", 0.05)


def write(parts, device, log: Path, fails: dict[int, str]) -> None:
    """Write one file per part, in two writes; a part may be killed, fail or be refused between them."""
    for part in parts:
        with log.open("a") as lines:
            lines.write(f"{part.number} {device} {os.getpid()}\n")
        with (part.directory / "squares.txt").open("w") as file:
            file.write("the square is ")
            file.flush()
            kind = fails.get(part.number)
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "refuse":
                raise InputError("a text is missing.")
            if kind == "fail":
                raise KeyError(f"bug in {part.number}")
            file.write(f"{part.number**2}")


class Stage:
    """Six parts, and a finish that joins them into one file and moves the parts' files away."""

    def __init__(self, path: Path) -> None:
        self.out, self.log = path / "out", path / "log"
        self.out.mkdir()

    def run(self, phase: Any = "all", *, number=6, layout=None, stop_at=None, **fails: str) -> str:
        by_number = {int(name.removeprefix("part")): kind for name, kind in fails.items()}
        parts = divide(
            number, write, self.log, by_number, out=self.out, devices=["cpu"], phase=phase, layout=layout
        )  # fmt: skip
        for part in parts:
            if part.number == stop_at:
                raise KeyboardInterrupt
            if (file := part.directory / "squares.txt").exists():
                file.rename(self.out / f"{part.number}.txt")
        return " ".join((self.out / f"{part.number}.txt").read_text() for part in parts)

    def worker(self, *, node="here", **settings) -> Any:
        process = multiprocessing.get_context("fork").Process(target=self.work, args=(node, settings))
        process.start()
        return process

    def work(self, node: str, settings: dict[str, Any]) -> None:
        os.environ["SLURMD_NODENAME"] = node
        with pytest.raises(Paused):
            self.run("work", **settings)

    @property
    def done(self) -> list[int]:
        return [int(line.split()[0]) for line in self.log.read_text().splitlines()] if self.log.exists() else []


WHOLE = " ".join(f"the square is {number**2}" for number in range(6))


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


def test_phases_give_what_one_process_gives_and_do_each_part_once(stage, tmp_path):
    (tmp_path / "other").mkdir()
    assert Stage(tmp_path / "other").run() == WHOLE
    with pytest.raises(Paused):
        stage.run("prepare")
    workers = [stage.worker() for _ in range(3)]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(stage.done) == [*range(6)]
    assert stage.run("finish") == WHOLE and len(stage.done) == 6
    clear(stage.out)
    assert sorted(path.name for path in stage.out.iterdir()) == [f"{number}.txt" for number in range(6)]


def test_a_killed_workers_part_is_absent_and_done_by_another(stage):
    killed = stage.worker(part2="kill")
    killed.join()
    assert killed.exitcode == -signal.SIGKILL and stage.done == [0, 1, 2]
    with pytest.raises(PartsFailed, match=r"4 of 6 parts are missing in .*: 2, 3, 4, 5\."):
        stage.run("finish")
    with pytest.raises(Paused):
        stage.run("work")
    assert stage.done == [0, 1, 2, 2, 3, 4, 5] and stage.run("finish") == WHOLE


def test_a_worker_waits_for_the_part_of_another(stage):
    division = Division(stage.out, 6, {})
    division.path.mkdir(parents=True)
    with Lease.claim(division.path / "00004.lease") or pytest.fail("not free"):
        worker = stage.worker()
        while len(stage.done) < 5:
            time.sleep(0.01)
        time.sleep(0.2)
        assert worker.is_alive() and 4 not in stage.done
    worker.join()
    assert worker.exitcode == 0 and stage.run("finish") == WHOLE


def test_one_machine_waits_for_the_workers_of_others_before_it_clears_up(stage, capfd):
    division = Division(stage.out, 6, {})
    division.path.mkdir(parents=True)
    leases = [Lease.claim(division.path / f"0000{number}.lease") or pytest.fail("not free") for number in (1, 4)]
    timers = [threading.Timer(1.0 + delay, lease.release) for delay, lease in enumerate(leases)]
    for timer in timers:
        timer.start()
    wait_for_workers(stage.out)
    assert not any(lease.file.exists() for lease in leases) and "part 00004 of out waits" in capfd.readouterr().out
    assert stage.run() == WHOLE


def test_on_one_machine_a_failed_run_goes_on_where_it_failed(stage):
    with pytest.raises(KeyError, match="bug in 3"):
        stage.run(part3="fail")
    assert not list(stage.out.rglob("*.partial"))
    assert stage.run() == WHOLE
    assert stage.done == [0, 1, 2, 3, 3, 4, 5]


def test_an_interrupted_finish_is_repeated_from_its_files(stage):
    with pytest.raises(KeyboardInterrupt):
        stage.run(stop_at=3)
    assert stage.run() == WHOLE
    assert len(stage.done) == 6


def test_after_three_attempts_the_worker_and_the_finish_name_the_part(stage):
    with pytest.raises(PartsFailed, match=r"Part 1 failed 3 times, last on .* at .*:(.|\n)*KeyError: 'bug in 1'"):
        stage.run("work", part1="fail")
    assert sorted(stage.done) == [0, 1, 1, 1, 2, 3, 4, 5]  # the others first: the node may be what fails
    with pytest.raises(PartsFailed, match=r"1 of 6 parts are missing in .*: 1\.\nPart 1 failed 3 times"):
        stage.run("finish")
    with pytest.raises(PartsFailed):  # other workers do not try again
        stage.run("work")
    assert len(stage.done) == 8
    forget_failures(stage.out)
    with pytest.raises(Paused):
        stage.run("work")
    assert stage.run("finish") == WHOLE


def test_what_a_user_must_mend_is_not_tried_again(stage):
    with pytest.raises(InputError, match="a text is missing"):
        stage.run("work", part1="refuse")
    with pytest.raises(PartsFailed, match="a text is missing"):
        stage.run("work")
    assert stage.done == [0, 1]


def test_a_node_on_which_two_parts_failed_takes_no_more(stage, capfd):
    bad = stage.worker(node="bad", part0="fail", part1="fail")
    bad.join()
    assert bad.exitcode == 0 and stage.done == [0, 1]
    assert "bad takes no more parts, as 2 different parts failed here." in capfd.readouterr().out
    good = stage.worker(node="good")
    good.join()
    assert stage.run("finish") == WHOLE


def test_work_that_ends_early_is_a_failure(stage):
    def abandon(parts, device):
        next(parts)

    with pytest.raises(PartsFailed, match=r"1 of 1 parts are missing"):
        divide(1, abandon, out=stage.out, devices=["cpu"])
    with pytest.raises(PartsFailed, match="abandon ended before its parts were done"):
        divide(1, abandon, out=stage.out, devices=["cpu"], phase="work")


def test_nothing_of_another_layout_is_left(stage):
    with pytest.raises(KeyboardInterrupt):
        stage.run(number=9, layout={"documents": 4}, stop_at=8)
    (stage.out / ".lock").touch()
    assert (stage.out / "7.txt").exists()
    assert stage.run(layout={"documents": 6}) == WHOLE
    assert sorted(path.name for path in stage.out.iterdir()) == sorted(
        [".lock", PARTS, *(f"{number}.txt" for number in range(6))]
    )
    assert len(list((stage.out / PARTS).iterdir())) == 1
    assert stage.done == [*range(9), *range(6)]


def test_workers_of_another_layout_do_not_see_old_parts(stage):
    with pytest.raises(KeyError):
        stage.run(layout={"documents": 4}, part3="fail")
    with pytest.raises(Paused):
        stage.run("work", layout={"documents": 6})
    assert stage.done == [0, 1, 2, 3, *range(6)]
    assert stage.run("finish", layout={"documents": 6}) == WHOLE


def test_what_precedes_the_parts_is_done_once_and_survives(stage):
    calls = []

    def learn() -> dict[str, int]:
        calls.append(1)
        (stage.out / "model.txt").write_text("learned")
        if len(calls) == 1:
            raise KeyError("a bug")
        return {"documents": 7}

    with pytest.raises(PartsFailed, match="not prepared"):
        once(stage.out, learn, "work")
    with pytest.raises(KeyError):
        once(stage.out, learn)
    assert once(stage.out, learn, "prepare") == {"documents": 7}
    assert stage.run() == WHOLE
    assert once(stage.out, learn, "finish") == {"documents": 7} and len(calls) == 2
    assert (stage.out / "model.txt").read_text() == "learned"


def test_no_parts_are_no_work(stage):
    assert stage.run(number=0) == "" and stage.done == []
