"""Errors in other processes."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from colbertv2.errors import InputError
from colbertv2.parallel import run_on


def refuse(rank: int, world: int, message: str) -> None:
    if rank == 1:
        raise InputError(message)


def fail(rank: int, world: int) -> None:
    raise KeyError("a bug")


def test_what_a_user_can_mend_arrives_as_such_from_another_process():
    with pytest.raises(InputError) as raised:
        run_on(2, refuse, "Expected one thing,\nfound another.")
    assert str(raised.value) == "Expected one thing,\nfound another."


def test_a_bug_arrives_with_its_traceback():
    with pytest.raises(KeyError, match="a bug") as raised:
        run_on(2, fail)
    assert "in fail\n" in str(raised.value.__cause__)


def die_or_wait(rank: int, world: int, killed: int) -> None:
    if rank == killed:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def test_that_one_was_killed_ends_all():
    with pytest.raises(RuntimeError, match="One of 2 processes was killed"):
        run_on(2, die_or_wait, 0)
    assert not multiprocessing.active_children()


def test_that_the_last_process_was_killed_is_noticed(monkeypatch):
    """The pool lists its processes when a task is submitted, but starts the process for the task after that."""
    spawn = ProcessPoolExecutor._spawn_process  # pyright: ignore[reportAttributeAccessIssue]

    def slowly(pool: ProcessPoolExecutor) -> None:
        time.sleep(1)
        spawn(pool)

    monkeypatch.setattr(ProcessPoolExecutor, "_spawn_process", slowly)
    with pytest.raises(RuntimeError, match="One of 2 processes was killed"):
        run_on(2, die_or_wait, 1)
    assert not multiprocessing.active_children()
