"""A process of a team, for tests: ``python -m team_process train OUT [STEP]``, ``errors DIRECTORY`` or ``parts OUT``.

It imports little, as the processes that it starts import it too.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from colbertv2.commands.command_line import exit_cleanly
from colbertv2.division import divide
from colbertv2.errors import InputError
from colbertv2.parallel import run_on
from colbertv2.parts import WorkPart


def refuse(rank: int, world: int) -> None:
    if rank == 1:
        raise InputError("Expected one thing,\nfound another.")
    time.sleep(600)


def fail(rank: int, world: int) -> None:
    if rank == 1:
        raise KeyError("a bug")
    time.sleep(600)


def die(rank: int, world: int) -> None:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def note(rank: int, world: int, directory: Path) -> None:
    (directory / f"{rank} of {world}").touch()


def die_as_machine(rank: int, world: int) -> None:
    if rank == 1:
        os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def errors(directory: Path) -> None:
    """Print how tasks fail, and that the team still works afterwards, until a machine is lost."""
    for task in (refuse, fail, die):
        try:
            run_on(1, task)
        except Exception as error:
            what = f"{task.__name__}: {type(error).__name__}: {error} | {error.__cause__}"
            print(what.replace("\n", " "), flush=True)
    run_on(2, note, directory)
    run_on(1, die_as_machine)


def square(parts: Iterable[WorkPart], device: str) -> None:
    for part in parts:
        (part.directory / "square").write_text(f"{part.number**2} {device} {os.getpid()}")


def main(words: Sequence[str]) -> None:
    if words[0] == "errors":
        errors(Path(words[1]))
        return
    if words[0] == "parts":
        divide(5, square, out=Path(words[1]), devices=["cpu"])
        return
    from team_training import train

    train(Path(words[1]), int(words[2]) if words[2:] else None)


if __name__ == "__main__":
    exit_cleanly(main, sys.argv[1:])
