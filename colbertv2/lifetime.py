"""How processes end, and how a later run finds the files that killed processes left behind.

A run may be stopped at any moment: finished work is kept, an unfinished file is never taken for a finished one, and the
same command continues from there. A signal can therefore end the process at once, without any cleanup, whichever
library is running. Temporary files carry the name of the process that owns them, so a later run can see that their
owner has ended and remove them.
"""

import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from multiprocessing import parent_process
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

STOPPING = (signal.SIGINT, signal.SIGTERM)
PREFIX = "colbertv2-"  # of the names of the directories for temporary files
PATIENCE = 1.0  # seconds that a stopped process may spend on its last line, in case its output is blocked


def owner() -> str:
    """A short name for this process, for the files and directories it owns: a hash of the host name and the PID."""
    return f"{zlib.crc32(platform.node().encode()):08x}-{os.getpid()}"


def is_gone(name: str) -> bool:
    """Whether the process with this name (see :func:`owner`) has ended; ``False`` for processes of other machines.

    >>> is_gone(owner()), is_gone("another machine-1")
    (False, False)
    """
    machine, _, number = name.rpartition("-")
    if machine != owner().partition("-")[0] or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # it runs, but belongs to another user
        pass
    return False


@contextmanager
def locked(file: Path, name: str) -> Iterator[None]:
    """Hold the lock ``file`` within the context. If another process holds it, print which and since when, and wait.

    The operating system frees a lock when its holder ends, even by a kill. Child processes do not inherit it.

    Args:
        file: the lock file; created if missing.
        name: what is locked, for the message.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{name} waits: {_holder(file)} is building it", flush=True)
        lock.acquire()
    if not isinstance(lock, SoftFileLock):  # used on file systems without locks; it writes its holder by itself
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        with suppress(OSError):  # the disk may be full
            file.write_text(json.dumps({"process": os.getpid(), "machine": platform.node(), "since": since}))
    try:
        yield
    finally:
        lock.release()


def _holder(lock: Path) -> str:
    try:
        found = json.loads(lock.read_text(encoding="utf-8"))
        return f"process {found['process']} on {found['machine']}, since {found['since']},"
    except (OSError, ValueError, KeyError, TypeError):  # the holder has not written the file yet
        return "another process"


_pipes: list[int] = []  # the pipe, if any, to which Python writes the numbers of received signals


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """A context in which Ctrl-C (SIGINT) and SIGTERM print one line and end the process at once (code 130 or 143).

    Python's own handlers would wait until the main thread returns from the library it is in. Handlers that libraries
    install later are bypassed. A signal that is ignored (under ``nohup``, or in a shell's background jobs) stays
    ignored.
    """
    caught = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread() or not caught:
        yield
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    former = {number: signal.signal(number, lambda *_: None) for number in caught}
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    _pipes.append(write)
    threading.Thread(target=_await_signal, args=(read,), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in former.items():
            signal.signal(number, handler)
        os.close(_pipes.pop())


def _await_signal(pipe: int) -> None:
    """Read signal numbers, which Python writes to ``pipe`` as they arrive, until one of them stops this process."""
    while number := os.read(pipe, 1):
        if number[0] in STOPPING:
            _stop(number[0])
    os.close(pipe)


def _stop(number: int) -> None:
    code = 128 + number
    last_moment = threading.Timer(PATIENCE, os._exit, [code])
    last_moment.daemon = True
    last_moment.start()
    with suppress(Exception):
        sys.stdout.flush()
        begin = "\n" if sys.stderr.isatty() else ""  # a line of its own, below any progress bar
        name = signal.Signals(number).name
        print(
            f"{begin}Stopped by {name}. Finished work is kept; run the same command again to continue.", file=sys.stderr
        )
        sys.stderr.flush()
    if (own := Path(tempfile.gettempdir())).name.startswith(PREFIX + owner()):
        shutil.rmtree(own, ignore_errors=True)
    os._exit(code)


def _as_if_alone() -> None:
    """In a forked child: restore the default handlers, so that its signals do not reach the parent's pipe."""
    if _pipes:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_as_if_alone)


def end_with_parent() -> None:
    """Make this process end as soon as its ``multiprocessing`` parent ends, for whatever reason.

    Ctrl-C, which a terminal sends to every process, is ignored here and left to the parent. In a process without such a
    parent, and on a second call, this does nothing.
    """
    parent = parent_process()
    if parent is None or any(thread.name == "parent" for thread in threading.enumerate()):
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    with suppress(ValueError):  # handlers can only be set in the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, name="parent", daemon=True).start()


@contextmanager
def own_temporary_directory() -> Iterator[None]:
    """A context in which all temporary files, also those of libraries, go into one directory, which is removed at exit.

    Directories left behind by killed runs are removed first. The directory is created below ``TMPDIR``, or else in the
    next usual place that is writable; if there is none, nothing changes.
    """
    try:
        place = Path(tempfile.gettempdir())
        for left in place.glob(f"{PREFIX}*-*-*"):
            if is_gone(left.name.removeprefix(PREFIX).rpartition("-")[0]):
                shutil.rmtree(left, ignore_errors=True)
        own = tempfile.mkdtemp(prefix=f"{PREFIX}{owner()}-")
    except OSError:
        yield
        return
    former, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = own  # the variable is for child processes
    try:
        yield
    finally:
        tempfile.tempdir = former
        os.environ.pop("TMPDIR")
        if variable is not None:
            os.environ["TMPDIR"] = variable
        shutil.rmtree(own, ignore_errors=True)
