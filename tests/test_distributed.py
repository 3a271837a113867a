"""Errors of other processes."""

import pytest
from torch.multiprocessing.spawn import ProcessRaisedException

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
    with pytest.raises(ProcessRaisedException, match="a bug"):
        run_on(2, fail)
