"""Leases: locks between processes of several machines that share a file system.

NFS and Lustre often lack ``flock`` and ``fcntl`` locks, or keep them to one machine. A lease needs neither. It is a
small file that exists while it is held. Its first line names the holder; behind it stands a counter that the holder
raises every few seconds.

- *Claim.* The file is created with ``O_EXCL``, which one of several processes achieves, on NFS since version 3. A hard
  link of a finished file would do as well, but some file systems have none, and killed processes would leave files.
- *Expiry.* A holder that ended on this machine is seen at once. Elsewhere, a holder is given up if its counter stands
  still for its ``patience``, measured by the clock of the process that watches. Clocks are never compared between
  machines, nor are times of files, which NFS caches.
- *Takeover.* Who removes the lease of a holder that is given up needs the right to do so, which is itself a lease,
  named after the one to be removed. So nobody removes the lease of the next holder by mistake.
- *Loss.* A holder that stood still for too long finds its lease taken when it goes on. It ends at once, since another
  process writes to its files now. :meth:`Lease.check` makes sure before a result is published.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import secrets
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from colbertv2.lifetime import before_stop, is_running, stop

PATIENCE = 120.0  # seconds; a library may keep the thread that raises the counter waiting for many seconds
BEATS = 20  # times that the counter is raised within the patience
GAPS = 4  # looks, at least, before a holder is given up, as the watcher or the file system may have stood still itself
LONGEST_WAIT = 1.0  # seconds between two looks while waiting
SILENT = 0.5  # seconds of waiting that are not announced
LOST = 75  # exit code of a process whose lease was taken: EX_TEMPFAIL, worth another try


class LeaseLost(RuntimeError):
    """This process no longer holds a lease that it held; another process may hold it."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, as its first line says.

    Args:
        machine: the name of the machine.
        kernel: what tells its boot and its process numbers from others of the same name.
        process: the process number.
        since: when it claimed the lease, for messages only.
        job: the Slurm job, if it runs in one.
        restart: how many times Slurm has requeued the job.
        patience: seconds without a sign after which it may be given up.
        token: random.
    """

    machine: str = ""
    kernel: str = ""
    process: int = 0
    since: str = ""
    job: str = ""
    restart: int = 0
    patience: float = PATIENCE
    token: str = ""

    @classmethod
    def this_process(cls, patience: float) -> Holder:
        """This process, with a new token."""
        job = os.environ.get("SLURM_JOB_ID", "")
        return cls(
            machine=platform.node(),
            kernel=_kernel(),
            process=os.getpid(),
            since=datetime.now().astimezone().isoformat(timespec="seconds"),
            job=job and f"{os.environ.get('SLURM_CLUSTER_NAME', '')}:{job}",
            restart=int(os.environ.get("SLURM_RESTART_COUNT") or 0),
            patience=patience,
            token=secrets.token_hex(8),
        )

    @classmethod
    def of(cls, content: bytes) -> Holder:
        """The holder that a lease names; an unknown one if it was just created, or is damaged."""
        try:
            return cls(**json.loads(_head(content)))
        except (ValueError, TypeError):
            return cls()

    def __str__(self) -> str:
        if not self.token:
            return "another process"
        return f"process {self.process} on {self.machine}, since {self.since},"

    def has_ended(self, silence: float) -> bool:
        """Whether it is given up after ``silence`` seconds without a sign."""
        me = Holder.this_process(self.patience)
        if (self.machine, self.kernel) == (me.machine, me.kernel) and not is_running(self.process):
            return True
        # Slurm ends a job before it requeues it, except on a node that it can't reach: there, a sign would be seen.
        requeued = self.job and self.job == me.job and self.restart < me.restart
        return silence >= (2 * self.patience / BEATS if requeued else self.patience)


@dataclass(frozen=True)
class _Sight:
    """What this process has seen of a lease: its content, when, for how long unchanged, and whether it ever changed."""

    content: bytes
    at: float
    silence: float = 0.0
    changed: bool = False


_sights: dict[Path, _Sight] = {}


def _kernel() -> str:
    """Equal for two processes of the same machine name only if they see each other's process numbers."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _head(content: bytes) -> bytes:
    return content.partition(b"\n")[0]


def _read(file: Path) -> bytes | None:
    """The content of a lease; ``None`` if there is none."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ESTALE:  # NFS: removed by another machine while it was read
            return None
        raise


def _look(file: Path) -> _Sight | None:
    """Look at a lease and remember what was seen; ``None`` if nobody holds it."""
    content, now, former = _read(file), time.monotonic(), _sights.pop(file, None)
    if content is None:
        return None
    if former is None or _head(former.content) != _head(content):
        sight = _Sight(content, now)
    elif former.content != content:
        sight = _Sight(content, now, changed=True)
    else:
        gap = min(now - former.at, Holder.of(content).patience / GAPS)
        sight = replace(former, at=now, silence=former.silence + gap)
    _sights[file] = sight
    return sight


def holder(file: Path) -> Holder | None:
    """Who holds the lease ``file``; ``None`` if nobody does, or if the holder is known to have ended."""
    sight = _look(_absolute(file))
    found = None if sight is None else Holder.of(sight.content)
    return None if found is None or sight is None or found.has_ended(sight.silence) else found


def is_alive(file: Path) -> bool:
    """Whether the holder of the lease ``file`` is known to be alive: seen to raise its counter, or on this machine."""
    found, sight = holder(file), _sights.get(_absolute(file))
    if found is None or sight is None:
        return False
    return sight.changed or (found.machine, found.kernel) == (platform.node(), _kernel())


def _absolute(file: Path) -> Path:
    return Path(os.path.abspath(file))


class Lease:
    """A lease that this process holds; made by :meth:`claim`. As a context manager, it is released at exit.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "part.lease"
    >>> with Lease.claim(file) as lease:
    ...     print(Lease.claim(file), holder(file).process == os.getpid())
    ...     lease.check()
    None True
    >>> file.exists()
    False
    """

    def __init__(self, file: Path, descriptor: int, head: bytes, patience: float) -> None:
        self.file, self.patience = file, patience
        self._descriptor: int | None = descriptor
        self._head, self._process = head, os.getpid()
        self._count, self._raised = 0, time.monotonic()
        self._over, self._busy = threading.Event(), threading.Lock()

    @classmethod
    def claim(cls, file: Path, patience: float = PATIENCE) -> Lease | None:
        """Claim the lease ``file`` without waiting; ``None`` if another holds it.

        It is not always known at once whether the holder still runs. Then this returns ``None`` and remembers what it
        saw, so that later calls in this process can tell.

        Args:
            file: the file of the lease, in an existing directory; removed when the lease is released.
            patience: seconds without a sign of this process after which others may give it up.

        Raises:
            OSError: the file can't be created.
        """
        file = _absolute(file)
        if (lease := cls._created(file, patience)) is not None:
            return lease
        sight = _look(file)
        if sight is not None:
            if not Holder.of(sight.content).has_ended(sight.silence):
                return None
            with suppress(LeaseLost), _right_to_remove(file, sight.content, patience) as right:
                if right is not None and _read(file) == sight.content:
                    right.check()
                    file.unlink(missing_ok=True)
        return cls._created(file, patience)

    @classmethod
    def _created(cls, file: Path, patience: float) -> Lease | None:
        begun = time.monotonic()
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return None
        head = json.dumps(vars(Holder.this_process(patience))).encode()
        lease = cls(file, descriptor, head, patience)
        try:
            os.write(descriptor, head + b"\n")
            lease._raise_counter()
        except OSError:  # a full disk
            os.close(descriptor)
            file.unlink(missing_ok=True)
            raise
        if time.monotonic() - begun > patience / 2:  # it stood still, and others may have given it up already
            os.close(descriptor)
            return None
        _sights.pop(file, None)
        threading.Thread(target=lease._keep, name="lease", daemon=True).start()
        before_stop.add(lease.release)
        return lease

    def _raise_counter(self) -> None:
        """Raise the counter in place: if the lease was taken over, the new file stays as it is."""
        assert self._descriptor is not None
        now, self._count = time.monotonic(), self._count + 1
        os.pwrite(self._descriptor, b"%020d\n" % self._count, len(self._head) + 1)
        os.close(os.dup(self._descriptor))  # NFS sends what was written when a descriptor is closed
        self._raised = now

    def _keep(self) -> None:
        while not self._over.wait(self.patience / BEATS):
            with self._busy:
                if self._over.is_set():
                    return
                try:
                    self._raise_counter()
                    present = _read(self.file)
                except OSError:  # an outage of the file server
                    present = None if self._is_unlinked() else self._head
            if present is None or _head(present) != self._head:
                stop(f"{self._loss(present)} This process ends.", LOST)

    def _is_unlinked(self) -> bool:
        assert self._descriptor is not None
        try:
            return os.fstat(self._descriptor).st_nlink == 0
        except OSError as error:
            return error.errno == errno.ESTALE

    def _loss(self, present: bytes | None) -> str:
        now = "it was removed" if present is None else f"{str(Holder.of(present)).rstrip(',')}, has it"
        return f"The lease {self.file} is lost, as this process stood still for more than {self.patience:g} s: {now}."

    def check(self) -> None:
        """Make sure that this process still holds the lease; to be called before what it protects is published.

        Raises:
            LeaseLost: it does not.
        """
        with self._busy:
            stood_still = time.monotonic() - self._raised > self.patience / 2
            present = _read(self.file)
            if stood_still and present is not None:
                with _right_to_remove(self.file, present, self.patience) as right:  # nobody is about to remove it
                    present = None if right is None else _read(self.file)
                    if present is not None and _head(present) == self._head:
                        self._raise_counter()
            if present is None or _head(present) != self._head:
                raise LeaseLost(self._loss(present))

    def release(self) -> None:
        """Give up the lease. Without effect if it was released or lost before, or in a child process."""
        if self._process != os.getpid() or self._over.is_set():
            return
        before_stop.discard(self.release)
        with suppress(LeaseLost, OSError):
            self.check()
            with self._busy:
                self._over.set()
                self.file.unlink(missing_ok=True)
        with self._busy:
            self._over.set()
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@contextmanager
def _right_to_remove(file: Path, content: bytes, patience: float) -> Iterator[Lease | None]:
    """Hold the right to remove the lease with this content, if it can be had at once; else ``None``."""
    right = Lease.claim(file.with_name(f"{file.name}.{zlib.crc32(_head(content)):08x}"), patience)
    if right is None:
        yield None
        return
    with right:
        yield right


@contextmanager
def held(file: Path, name: str, patience: float = PATIENCE) -> Iterator[Lease]:
    """Hold the lease ``file`` within the context. If another process holds it, print which and since when, and wait.

    Args:
        file: the file of the lease; its directory is created if missing.
        name: what is protected, for the message.
        patience: as for :meth:`Lease.claim`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    wait, begun, announced = 0.01, time.monotonic(), False
    while (lease := Lease.claim(file, patience)) is None:
        if not announced and time.monotonic() - begun > SILENT:
            print(f"{name} waits: {holder(file) or 'another process'} is building it", flush=True)
            announced = True
        time.sleep(wait)
        wait = min(1.5 * wait, LONGEST_WAIT, patience / BEATS)
    with lease:
        yield lease
