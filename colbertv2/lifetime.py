"""How processes end, and how a later run finds the files that killed processes left behind.

A run may be stopped at any moment: finished work is kept, an unfinished file is never taken for a finished one, and the
same command continues from there. A signal can therefore end the process at once, without any cleanup, whichever
library is running. Temporary files carry the name of the process that owns them, so a later run can see that their
owner has ended and remove them.

A cluster warns a job before it ends it. A training, which would lose much if it ended at once, listens to that warning
(:func:`listening`), saves what it has, and raises :class:`Preempted`.
"""

import atexit
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import parent_process, resource_tracker
from pathlib import Path
from typing import Any, NoReturn

STOPPING = (signal.SIGINT, signal.SIGTERM)
# What clusters send some time before they end a job (Slurm: --signal=USR1@120). They do not exist on Windows.
USER_SIGNALS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
IN_JOB = ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID")  # variables of a job, in which SIGTERM is a warning too
PREEMPTED = 85  # exit code: the job was ended before its work was done; run it again
PREFIX = "colbertv2-"  # of the names of the directories for temporary files
PATIENCE = 1.0  # seconds that a stopped process may spend on its last line, in case its output is blocked


class Preempted(BaseException):
    """The work stopped because this job is about to be ended. What is done is saved; the same job continues from there.

    It is no ``Exception``, as a stage that raises it has not failed.
    """


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
    return not is_running(int(number))


def is_running(process: int) -> bool:
    """Whether a process of this machine runs; one that has ended does not, even while its parent has not noticed."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it runs, but belongs to another user
        pass
    with suppress(OSError, IndexError):  # only Linux has these files
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    return True


before_stop: set[Callable[[], object]] = set()  # what a process does last when a signal or :func:`stop` ends it
_pipes: list[int] = []  # the pipe, if any, to which Python writes the numbers of received signals
_listeners: list[Any] = []  # events that a warning sets, instead of ending this process
_warning: Any = threading.Event()  # in a process that ``run_on`` started, an event that it shares with its parent


def is_in_job() -> bool:
    """Whether this process belongs to a job of Slurm or torchrun."""
    return any(name in os.environ for name in IN_JOB)


def warnings() -> tuple[signal.Signals, ...]:
    """The signals that warn of the end: SIGUSR1, SIGUSR2, and in a job also SIGTERM."""
    return (*USER_SIGNALS, *([signal.SIGTERM] if is_in_job() else []))


@contextmanager
def listening(event: Any = None) -> Iterator[None]:
    """A context in which a warning does not end this process at once.

    The work in it asks :func:`is_warned` often. When that is true, it saves what it has and raises :class:`Preempted`.

    Args:
        event: what a warning sets; by default, what ``is_warned`` reads.
    """
    listener = _warning if event is None else event
    _listeners.append(listener)
    if is_warned():
        listener.set()
    try:
        yield
    finally:
        _listeners.remove(listener)


def is_listening() -> bool:
    """Whether a warning would be heard, rather than end this process."""
    return bool(_listeners)


def is_warned() -> bool:
    """Whether this process, or the one that started it by ``run_on``, has been warned that it is about to be ended."""
    return _warning.is_set()


@contextmanager
def warnings_blocked() -> Iterator[None]:
    """A context whose child processes never receive warnings, not even while they start: they inherit this.

    This process receives them in its other threads.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, warnings())
    try:
        resource_tracker.ensure_running()  # a child process of Python's own; it unblocks SIGTERM here
        signal.pthread_sigmask(signal.SIG_BLOCK, warnings())
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def begin_child(warning: Any) -> None:
    """Prepare a process that ``run_on`` started: end with the parent, and hear its warnings from it.

    Args:
        warning: the event that the parent sets, or None if it ends at a warning.
    """
    global _warning
    end_with_parent()
    if warning is not None:
        _warning = warning


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """A context in which Ctrl-C (SIGINT) and SIGTERM print one line and end the process at once (code 130 or 143).

    So do SIGUSR1 and SIGUSR2 (code 85, ``PREEMPTED``). A warning (:func:`warnings`) that something listens to does not
    end the process. Python's own handlers would wait until the main thread returns from the library it is in. Handlers
    that libraries install later are bypassed. A signal that is ignored (under ``nohup``, or in a shell's background
    jobs) stays ignored.
    """
    caught = [number for number in (*STOPPING, *USER_SIGNALS) if signal.getsignal(number) is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread() or not caught:
        yield
        return
    if is_in_job():  # in which all child processes get the signals
        with warnings_blocked():
            pass  # starts Python's resource tracker
    read, write = os.pipe()
    os.set_blocking(write, False)
    former = {number: signal.signal(number, _nothing) for number in caught}
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


def retake_signals() -> None:
    """Undo the handlers that a library has installed since :func:`stopped_by_signals`; does nothing outside of it."""
    if _pipes and threading.current_thread() is threading.main_thread():
        for number in (*STOPPING, *USER_SIGNALS):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _nothing)


def _nothing(*_: object) -> None:
    """A handler: the thread that reads the pipe does the work."""


def _await_signal(pipe: int) -> None:
    """Read signal numbers, which Python writes to ``pipe`` as they arrive, until one of them stops this process."""
    while number := os.read(pipe, 1):
        if number[0] in warnings() and _listeners:
            for listener in list(_listeners):
                listener.set()
        elif number[0] in (*STOPPING, *USER_SIGNALS):
            _stop(number[0])
    os.close(pipe)


def _stop(number: int) -> None:
    begin = "\n" if sys.stderr.isatty() else ""  # a line of its own, below any progress bar
    name = signal.Signals(number).name
    kept = "Finished work is kept; run the same command again to continue."
    stop(f"{begin}Stopped by {name}. {kept}", PREEMPTED if number in USER_SIGNALS else 128 + number)


def stop(line: str, code: int) -> NoReturn:
    """Print one line and end this process at once, whichever library is running; called in any thread.

    Args:
        line: printed to standard error.
        code: the exit code.
    """
    last_moment = threading.Timer(PATIENCE, os._exit, [code])
    last_moment.daemon = True
    last_moment.start()
    with suppress(Exception):
        sys.stdout.flush()
        print(line, file=sys.stderr)
        sys.stderr.flush()
    if (own := Path(tempfile.gettempdir())).name.startswith(PREFIX + owner()):
        shutil.rmtree(own, ignore_errors=True)
    for act in list(before_stop):
        with suppress(Exception):
            act()
    os._exit(code)


def _as_if_alone() -> None:
    """In a forked child: restore the default handlers, so that its signals do not reach the parent's pipe."""
    if _pipes:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, *USER_SIGNALS):
            signal.signal(number, signal.SIG_DFL)


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
        own = _new_directory(Path(tempfile.gettempdir()))
    except OSError:
        yield
        return
    former, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(own)  # the variable is for child processes
    try:
        yield
    finally:
        last, tempfile.tempdir = Path(tempfile.gettempdir()), former
        os.environ.pop("TMPDIR")
        if variable is not None:
            os.environ["TMPDIR"] = variable
        for directory in {own, last}:
            shutil.rmtree(directory, ignore_errors=True)


def move_temporary_files(place: Path) -> None:
    """From now on, put temporary files into a directory below ``place``, which is removed when this process ends.

    Without effect if they are there already, also in the child processes of one that called this.

    Raises:
        OSError: nothing can be created below ``place``.
    """
    place = Path(os.path.abspath(place))
    current = Path(tempfile.gettempdir())
    if current.parent == place and current.name.startswith(PREFIX):
        return
    place.mkdir(parents=True, exist_ok=True)
    own = _new_directory(place)
    tempfile.tempdir = os.environ["TMPDIR"] = str(own)
    atexit.register(shutil.rmtree, own, ignore_errors=True)


def _new_directory(place: Path) -> Path:
    """A new directory for temporary files below ``place``; those left behind by killed runs are removed first."""
    for left in place.glob(f"{PREFIX}*-*-*"):
        if is_gone(left.name.removeprefix(PREFIX).rpartition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{owner()}-", dir=place))
