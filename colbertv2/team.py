"""A team: the processes of one job on several machines, one process on each.

``torchrun`` or ``srun`` starts them with the same command. Process 0 leads: it alone reads the configuration, takes
locks, builds and prints. The others serve ``parallel.run_on``: they start processes on their machines when the leader
asks for it. This module finds out whether this process is of a team, and connects the team.

Each of the others has one connection to the leader. Messages are pickled; a connection is accepted only with a key that
the leader made and that the team reads in a file which only its user can read, or in the store of ``torchrun``.
"""

import json
import os
import platform
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge, wait
from pathlib import Path
from typing import Any

from colbertv2.errors import InputError
from colbertv2.lifetime import PREEMPTED, Preempted

TEAM = "COLBERTV2_TEAM"  # a directory that all tasks of an srun see: with it, they are a team
TORCHRUN = "TORCHELASTIC_RUN_ID"
AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
PATIENCE = 300.0  # seconds to wait until all processes of a team have started
STOP = "stop"  # a message: give up the task that you are working on
DETAILS = "colbertv2/team"  # key in torchrun's store


class ElsewhereError(Exception):
    """The traceback of an error on another machine, which is the cause of the error that is raised here."""


@dataclass(frozen=True)
class Ended:
    """A message: the leader has ended, with this exit code."""

    code: int


@dataclass(frozen=True)
class FailedCall:
    """An answer: a task failed, with this error and with a traceback, as errors lose theirs when they are sent."""

    error: BaseException
    traceback: str


@dataclass(frozen=True)
class PlaceInTeam:
    """The place of this process in a team.

    Args:
        rank: its number; 0 leads.
        size: the number of machines, with one process each.
        file: where the leader says how to reach it; ``None`` for the store of ``torchrun``.
    """

    rank: int
    size: int
    file: Path | None


def place_of_this_process() -> PlaceInTeam | None:
    """The place of this process in the team of its job; ``None`` if it runs by itself, also within an allocation.

    Raises:
        InputError: there are several processes per machine, or COLBERTV2_TEAM is set outside of ``srun``.
    """
    environment = os.environ
    if TORCHRUN in environment:
        if (started := int(environment["LOCAL_WORLD_SIZE"])) != 1:
            raise InputError(
                f"torchrun started {started} processes on this machine; expected one, which starts the others: use "
                f"--nproc-per-node 1 and runtime.devices={started}."
            )
        place = PlaceInTeam(int(environment["RANK"]), int(environment["WORLD_SIZE"]), None)
    elif directory := environment.get(TEAM):
        try:
            rank, tasks = int(environment["SLURM_PROCID"]), int(environment["SLURM_NTASKS"])
            machines = int(environment.get("SLURM_STEP_NUM_NODES") or environment["SLURM_NNODES"])
        except KeyError as missing:
            raise InputError(
                f"{TEAM} is set, but {missing} is not, so this is no task of srun; start the command with srun, or "
                f"unset {TEAM}."
            ) from None
        if tasks != machines:
            raise InputError(
                f"srun started {tasks} tasks on {machines} machines; expected one task per machine, which starts the "
                f"others: use --ntasks-per-node=1 and runtime.devices={-(-tasks // machines)}."
            )
        names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")  # a job that is requeued keeps its number
        job = ".".join(environment.get(name, "0") for name in names)
        place = PlaceInTeam(rank, tasks, Path(directory) / f".colbertv2-team-{job}")
    else:
        return None
    return place if place.size > 1 else None


@dataclass
class Leader:
    """The leader's connections to the other processes of its team.

    Args:
        host: the name of the leader's machine, by which the others reach it.
        others: connection → name of the machine, in order of their ranks.
    """

    host: str
    others: dict[Connection, str]
    unanswered: list[Connection] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The number of machines."""
        return 1 + len(self.others)

    def ask(self, task: Any) -> None:
        """Send a task to all others. Each of them answers once."""
        for one, machine in self.others.items():
            try:
                one.send(task)
            except OSError as error:
                raise self.lost(machine) from error
            self.unanswered.append(one)

    def failures(self, seconds: float | None) -> list[BaseException]:
        """The errors among the answers that arrive until all have answered, one has failed, or the time has passed.

        Args:
            seconds: how long to wait; ``None`` for as long as it takes.
        """
        found: list[BaseException] = []
        while self.unanswered and not found and (ready := wait(self.unanswered, seconds)):
            for one in ready:
                assert isinstance(one, Connection)
                self.unanswered.remove(one)
                try:
                    answer = one.recv()
                except (OSError, EOFError):
                    found.append(self.lost(self.others[one]))
                    continue
                if isinstance(answer, FailedCall):
                    answer.error.__cause__ = ElsewhereError(f"on {self.others[one]}\n{answer.traceback}")
                    found.append(answer.error)
        return found

    def stop(self) -> list[BaseException]:
        """Make the others give up their task; the errors that it had meanwhile failed with."""
        for one in self.unanswered:
            with suppress(OSError):
                one.send(STOP)
        found: list[BaseException] = []
        while self.unanswered:
            found += self.failures(None)
        return found

    def lost(self, machine: str) -> RuntimeError:
        """The error that another process has ended."""
        return RuntimeError(
            f"The process of this job on {machine} has ended, perhaps because memory ran out or the machine failed. "
            "Run the same command again; finished work is kept."
        )


_leaders: list[Leader] = []  # of this process, if it leads a team now


def leader() -> Leader | None:
    """The connections to the team that this process leads, if it leads one."""
    return _leaders[-1] if _leaders else None


def machines() -> int:
    """The number of machines that work together under the lead of this process."""
    return _leaders[-1].size if _leaders else 1


@contextmanager
def leading(place: PlaceInTeam) -> Iterator[None]:
    """A context in which this process leads the team; at its end, the others end too, with the same exit code.

    Raises:
        InputError: not all of the others came.
    """
    own = gathered_team(place)
    _leaders.append(own)
    code = 1
    try:
        yield
        code = 0
    except Preempted:
        code = PREEMPTED
        raise
    finally:
        _leaders.remove(own)
        for one in own.others:
            with suppress(OSError):
                one.send(Ended(code))
                one.close()


def gathered_team(place: PlaceInTeam) -> Leader:
    """Wait until all other processes of the team have connected.

    Raises:
        InputError: some have not after some minutes.
    """
    host, key = socket.gethostname(), secrets.token_hex(16)
    if place.file is None:
        host = os.environ["MASTER_ADDR"]  # torchrun knows it to be reachable
    found: dict[int, tuple[Connection, str]] = {}
    with socket.create_server(("", 0), backlog=place.size) as server, posted(place, host, server.getsockname()[1], key):
        deadline = time.monotonic() + PATIENCE
        while len(found) < place.size - 1:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                one = connection_of(server.accept()[0])
                deliver_challenge(one, key.encode())
                answer_challenge(one, key.encode())
                rank, machine = one.recv()
                one.send(os.getcwd())
                found[rank] = one, machine
            except TimeoutError:
                raise InputError(
                    f"{len(found) + 1} of the {place.size} processes of this job have started within {PATIENCE:.0f} s; "
                    f"expected all. See the output of the others, and whether their machines can reach {host}."
                ) from None
            except (AuthenticationError, EOFError, OSError):  # a stranger, who may look for open ports
                continue
    return Leader(host, dict(found[rank] for rank in sorted(found)))


def joined(place: PlaceInTeam) -> Connection:
    """Connect to the leader, and work in the same directory, so that relative paths mean the same.

    Raises:
        InputError: the leader has not started after some minutes or can't be reached, or this machine does not see its
            directory.
    """
    host, port, key = details(place)
    try:
        one = connection_of(socket.create_connection((host, port), PATIENCE))
    except OSError as error:
        raise InputError(
            f"Process {place.rank} of this job, on {platform.node()}, can't reach process 0 at {host}, port {port} "
            f"({error}); expected machines that can connect to each other by their names."
        ) from error
    answer_challenge(one, key.encode())
    deliver_challenge(one, key.encode())
    one.send((place.rank, platform.node()))
    directory = one.recv()
    try:
        os.chdir(directory)
    except OSError as error:
        raise InputError(
            f"{platform.node()} can't enter {directory} ({error.strerror}), where process 0 of this job works; "
            "expected a directory on a file system that all machines share."
        ) from error
    return one


def connection_of(connected: socket.socket) -> Connection:
    """A connection that reports within some minutes that the other machine has failed."""
    connected.settimeout(None)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    return Connection(connected.detach())


@contextmanager
def posted(place: PlaceInTeam, host: str, port: int, key: str) -> Iterator[None]:
    """A context in which the others can read how to reach the leader."""
    text = json.dumps([host, port, key])
    if place.file is None:
        store = torchrun_store(place)
        store.set(details_key(), text)
        yield
        return
    partial = place.file.with_name(f"{place.file.name}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        partial.replace(place.file)
    except OSError as error:
        raise InputError(
            f"{TEAM} is {place.file.parent}, which can't be written to ({error.strerror}); expected a directory on a "
            "file system that all machines share."
        ) from error
    try:
        yield
    finally:
        place.file.unlink(missing_ok=True)


def details(place: PlaceInTeam) -> tuple[str, int, str]:
    """Host, port and key of the leader, once it has posted them.

    Raises:
        InputError: it has not after some minutes.
    """
    if place.file is None:
        return tuple(json.loads(torchrun_store(place).get(details_key())))
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            return tuple(json.loads(place.file.read_text(encoding="utf-8")))
        except OSError:
            time.sleep(0.2)
    raise InputError(
        f"Process 0 of this job has not written {place.file} within {PATIENCE:.0f} s; see its output, and whether "
        f"{TEAM} is a directory on a file system that all machines share."
    )


def details_key() -> str:
    """The key in torchrun's store, which stays the same when torchrun starts all processes again."""
    return f"{DETAILS}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def torchrun_store(place: PlaceInTeam) -> Any:
    """The store by which the processes of torchrun meet; its own, or one of process 0."""
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    serves = place.rank == 0 and os.environ.get(AGENT_STORE) != "True"
    return TCPStore(address, port, is_master=serves, timeout=timedelta(seconds=PATIENCE), wait_for_workers=False)
