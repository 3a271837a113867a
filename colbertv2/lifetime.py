"""How processes end, and how the next run finds what those that were killed left behind.

Any run may be stopped at any moment: what is finished stays, no unfinished file is taken for a finished one, and the
same command goes on from there. So a signal need not unwind anything: it ends the command at once, whatever library is
at work, and what a run leaves bears its owner's name, by which a later run sees that the owner is gone.
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
PREFIX = "colbertv2-"  # of the directories for temporary files
PATIENCE = 1.0  # seconds that a stopped process has for its last line, where its output goes nowhere


def owner() -> str:
    """The name of this process, short, for files and directories that are its own: machine and process number."""
    return f"{zlib.crc32(platform.node().encode()):08x}-{os.getpid()}"


def is_gone(name: str) -> bool:
    """Whether the process of this name (of :func:`owner`) has ended; false of another machine's.

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
    except OSError:  # it is another user's
        pass
    return False


@contextmanager
def locked(file: Path, name: str) -> Iterator[None]:
    """Hold the lock ``file``; who waits for it is told by whom it is held and since when.

    The system frees a lock when its holder ends, however it ends; no process that the holder starts inherits it.

    Args:
        name: what is locked, for the message.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{name} waits: {_holder(file)} is building it", flush=True)
        lock.acquire()
    if not isinstance(lock, SoftFileLock):  # which, where a file system knows no locks, writes its holder itself
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        with suppress(OSError):  # a full disk
            file.write_text(json.dumps({"process": os.getpid(), "machine": platform.node(), "since": since}))
    try:
        yield
    finally:
        lock.release()


def _holder(lock: Path) -> str:
    try:
        found = json.loads(lock.read_text(encoding="utf-8"))
        return f"process {found['process']} on {found['machine']}, since {found['since']},"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just begun
        return "another process"


_pipes: list[int] = []  # to which Python writes the signals that this process receives; at most one


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """A context in which Ctrl-C (SIGINT) and SIGTERM end the process at once with a line and exit code 130 or 143.

    Python itself would wait until the main thread is back from whatever library it is in. What others install as
    handlers is not asked; a signal that is ignored (by ``nohup``, of a shell's background jobs) stays ignored.
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
    """Read the numbers of signals, which Python writes as they come, until one of them stops this process."""
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
        begin = "\n" if sys.stderr.isatty() else ""  # below a progress bar
        name = signal.Signals(number).name
        print(f"{begin}Stopped by {name}. What is finished is kept; the same command goes on.", file=sys.stderr)
        sys.stderr.flush()
    if (own := Path(tempfile.gettempdir())).name.startswith(PREFIX + owner()):
        shutil.rmtree(own, ignore_errors=True)
    os._exit(code)


def _as_if_alone() -> None:
    """In a fork: its signals are not the parent's."""
    if _pipes:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_as_if_alone)


def end_with_parent() -> None:
    """Let this process end as soon as the one that started it through ``multiprocessing`` has, however that ended.

    Ctrl-C, which a terminal sends to all, is left to the parent. Does nothing in any other process, or twice.
    """
    parent = parent_process()
    if parent is None or any(thread.name == "parent" for thread in threading.enumerate()):
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, name="parent", daemon=True).start()


@contextmanager
def own_temporary_directory() -> Iterator[None]:
    """A context in which all temporary files, other libraries' too, go into a directory that goes with this process.

    What runs that were killed left in theirs is removed. The directory lies where ``TMPDIR`` says, or in the next usual
    place that can be written to; where there is none, nothing changes.
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
    tempfile.tempdir = os.environ["TMPDIR"] = own  # the variable is for processes that this one starts
    try:
        yield
    finally:
        tempfile.tempdir = former
        os.environ.pop("TMPDIR")
        if variable is not None:
            os.environ["TMPDIR"] = variable
        shutil.rmtree(own, ignore_errors=True)
