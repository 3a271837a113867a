"""How processes end, by signals and with their parents, and how the next run removes what they leave behind."""

import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from colbertv2 import lifetime
from colbertv2.files import atomic_path, write_atomically
from colbertv2.lifetime import is_gone, own_temporary_directory, owner

PROJECT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
STOPPED = "Finished work is kept; run the same command again to continue.\n"

IN_KMEANS = """
import faiss, numpy
points = numpy.random.default_rng(0).normal(size=(200_000, 64)).astype("float32")
print("ready", flush=True)
faiss.Kmeans(64, 4_000, niter=1000, max_points_per_centroid=1_000).train(points)
"""
IN_TORCH = """
import torch
print("ready", flush=True)
matrix = torch.randn(3_000, 3_000)
torch.linalg.svd(matrix @ matrix @ matrix)
torch.linalg.svd(matrix @ matrix)
"""
IN_NUMBA = """
import numba, time
@numba.njit(nogil=True)
def turn(n):
    x = 0.0
    for i in range(n):
        x = x * 0.5 + i % 3
    return x
turn(1)
print("ready", flush=True)
turn(10**12)
"""


def command(code: str) -> list[str]:
    inner = "\n    ".join(code.strip().splitlines())
    around = f"def main(words):\n    {inner}\n"
    call = "from colbertv2.commands.command_line import exit_cleanly; exit_cleanly(main, [])"
    return [sys.executable, "-c", f"{around}if __name__ == '__main__':\n    {call}"]


def started(code: str, **environment: str) -> subprocess.Popen:
    """A process that runs ``code`` as a verb of the command line, and has printed that it is ready."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # else a child of a background job ignores it
    process = subprocess.Popen(
        command(code), env={**ENVIRONMENT, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, handler)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("code", [IN_KMEANS, IN_TORCH, IN_NUMBA], ids=["k-means", "torch", "numba"])
@pytest.mark.parametrize("number, code_of_exit", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_any_work_at_once_with_one_line(tmp_path, code, number, code_of_exit):
    process = started(code, TMPDIR=str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    time.sleep(0.5)
    assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(number)
    out, error = process.communicate(timeout=30)
    assert time.monotonic() - begun < 2
    assert (process.returncode, out, error) == (code_of_exit, "", f"Stopped by {number.name}. {STOPPED}")
    assert not list(tmp_path.iterdir())


def test_a_line_that_nobody_reads_does_not_hold_it_up():
    process = started("import sys\nprint('ready', flush=True)\nwhile True: print('x' * 1000)")
    time.sleep(0.5)  # the pipe is full, and the main thread holds the lock of standard output
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=2 + lifetime.PATIENCE) == 130


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=str)
@pytest.mark.parametrize("phase", ["importing", "working"])
def test_children_end_with_their_parent(tmp_path, phase, number):
    """Two processes that ``run_on`` started; each writes its number once it runs, on import of its task or in it."""
    module = tmp_path / "children_task.py"
    note = f"Path({str(tmp_path)!r}, f'child-{{os.getpid()}}').touch()"
    body = "time.sleep(600)"
    if phase == "importing":
        text = (
            f"import os, time\nfrom pathlib import Path\nimport multiprocessing\n"
            f"if multiprocessing.parent_process(): {note}; {body}\ndef task(rank, world): pass\n"
        )
    else:
        text = f"import os, time\nfrom pathlib import Path\ndef task(rank, world):\n    {note}\n    {body}\n"
    module.write_text(text)
    imports = "from colbertv2.parallel import run_on\nfrom children_task import task\n"
    code = f"{imports}print('ready', flush=True)\nrun_on(2, task)"
    process = started(code, PYTHONPATH=f"{PROJECT}{os.pathsep}{tmp_path}")
    deadline = time.monotonic() + 120
    while len(children := list(tmp_path.glob("child-*"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    pids = [int(child.name.partition("-")[2]) for child in children]
    assert len(pids) == 2 and all(is_alive(pid) for pid in pids)
    process.send_signal(number)
    process.communicate(timeout=30)  # the two processes keep its output open
    deadline = time.monotonic() + 5
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in pids)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone() -> str:
    """The name of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return f"{owner().partition('-')[0]}-{process.pid}"


def test_an_owner_is_known_by_machine_and_number(monkeypatch):
    ended = gone()
    assert is_gone(ended) and not is_gone(owner()) and not is_gone("no owner") and not is_gone("")
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    assert not is_gone(ended), "another machine's process can't be seen from here"


def test_what_a_killed_process_was_writing_goes_when_the_same_is_written_again(tmp_path):
    left = tmp_path / f".note.txt.{gone()}.partial"
    living = f"{owner().partition('-')[0]}-{os.getppid()}"
    others = [tmp_path / name for name in (f".note.txt.{living}.partial", f".other.txt.{gone()}.partial", ".note.txt")]
    for path in (left, *others):
        path.write_text("half")
    write_atomically(tmp_path / "note.txt", "whole")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "note.txt", *others])
    directory = tmp_path / f".index.{gone()}.partial"
    (directory / "codec").mkdir(parents=True)
    with pytest.raises(KeyError), atomic_path(tmp_path / "index") as partial:
        (partial / "file").touch()
        raise KeyError
    with atomic_path(tmp_path / "index") as partial:
        (partial / "file").touch()
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "note.txt", tmp_path / "index", *others])


def test_temporary_files_lie_in_a_directory_of_the_run_that_goes_with_it_or_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / f"colbertv2-{gone()}-abc" / "staged").mkdir(parents=True)
    for name in ("colbertv2-notes", f"colbertv2-{owner()}-abc"):
        (tmp_path / name).mkdir()
    with own_temporary_directory():
        (own,) = {path.name for path in tmp_path.iterdir()} - {"colbertv2-notes", f"colbertv2-{owner()}-abc"}
        assert Path(tempfile.mkdtemp()).parent == tmp_path / own
        found = subprocess.run(["mktemp"], capture_output=True, text=True).stdout.strip()
        assert Path(found).parent == tmp_path / own
    assert {path.name for path in tmp_path.iterdir()} == {"colbertv2-notes", f"colbertv2-{owner()}-abc"}
    assert os.environ["TMPDIR"] == str(tmp_path)
