"""Files that are read many times lie on the machine's own disk if it is named, and nothing stays there."""

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support import shrunk, tiny_folder

from colbertv2 import lifetime, scratch
from colbertv2.configuration.composition import build, compose, plan
from colbertv2.errors import InputError
from colbertv2.lifetime import own_temporary_directory
from colbertv2.scratch import local_copy, use_scratch

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def disk(tmp_path, monkeypatch) -> Path:
    """A place for scratch; temporary files are in ``tmp_path / "tmp"`` before it is used."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(lifetime.atexit, "register", lambda *_, **__: None)
    return tmp_path / "disk"


def test_temporary_files_move_and_go_with_the_run(disk, tmp_path, monkeypatch):
    monkeypatch.setenv("DISK", str(disk))
    with own_temporary_directory():
        for _ in range(2):
            use_scratch("$DISK/mine")
            (own,) = (disk / "mine").iterdir()
            assert Path(tempfile.mkdtemp()).parent == own
            assert Path(subprocess.run(["mktemp"], capture_output=True, text=True).stdout.strip()).parent == own
    assert not list((disk / "mine").iterdir()) and not list((tmp_path / "tmp").iterdir())
    assert os.environ["TMPDIR"] == str(tmp_path / "tmp")


def test_a_python_program_and_a_killed_run_leave_nothing(tmp_path):
    code = "import sys, tempfile, time; from colbertv2.scratch import use_scratch; use_scratch(sys.argv[1]); "
    code += "tempfile.mkdtemp(); print('ready', flush=True); sys.stdin.readline()"
    command = [sys.executable, "-c", code, str(tmp_path / "disk")]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    for number in (signal.SIGKILL, None):
        with subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            (own,) = (tmp_path / "disk").iterdir()  # what the killed one left is gone
            assert list(own.iterdir())
            if number:
                process.send_signal(number)
    assert not list((tmp_path / "disk").iterdir())


@pytest.mark.parametrize("place", ["$NO_SUCH_VARIABLE/x", "{file}/x"])
def test_a_place_that_is_none_is_refused(disk, tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"runtime\.scratch is '.*', .* directory"):
        use_scratch(place.format(file=tmp_path / "file"))


def copy_in_child(disk: Path, directory: Path, begin) -> None:
    begin.wait(30)
    assert (local_copy(directory) / "numbers.npy").stat().st_size == 1000


def test_several_processes_of_a_run_make_one_copy(disk, tmp_path, monkeypatch):
    (tmp_path / "index-1").mkdir()
    (tmp_path / "index-1" / "numbers.npy").write_bytes(bytes(1000))
    made, copytree = tmp_path / "made", shutil.copytree

    def counted(*arguments, **keywords):
        with made.open("a") as file:
            file.write("copy\n")
        time.sleep(0.2)
        return copytree(*arguments, **keywords)

    monkeypatch.setattr(shutil, "copytree", counted)
    with own_temporary_directory():
        use_scratch(str(disk))
        context = multiprocessing.get_context("fork")
        begin = context.Barrier(3)
        processes = [context.Process(target=copy_in_child, args=(disk, tmp_path / "index-1", begin)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * 3 and made.read_text() == "copy\n"
        assert [path.name for path in Path(tempfile.gettempdir()).iterdir()] == ["index-1"]
    assert not list(disk.iterdir())


def test_a_run_reads_its_index_from_there_and_says_when_it_is_full(disk, tmp_path, monkeypatch):
    """The ranking is the same; a copy that does not fit is refused before or while it is made, and leaves nothing."""
    base = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "pipeline=untrained", "target=ranking"]
    with own_temporary_directory():
        plain = build(compose(base))
        ranking = plain.file("run.trec").read_bytes()
        words = [*base, f"runtime.scratch={disk}"]
        assert all(step.cached for step in plan(compose(words)))
        shutil.rmtree(plain.path)

        free_disk = scratch.free_disk
        monkeypatch.setattr(scratch, "free_disk", lambda path: 10)
        with pytest.raises(
            InputError, match=r"stage search.* has [\d.]+ MB, but runtime\.scratch .* free\. Make space"
        ):
            build(compose(words))
        monkeypatch.setattr(scratch, "free_disk", free_disk)
        (own,) = disk.iterdir()
        assert not [path for path in own.rglob("*") if "index-" in path.name]

        def no_space(_, destination, **__):
            (Path(destination) / "half.npy").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device", str(destination))

        with monkeypatch.context() as patched:
            patched.setattr(shutil, "copytree", no_space)
            with pytest.raises(InputError, match=rf"The disk is full where {own}.*runtime\.scratch"):
                build(compose(words))
        assert not [path for path in own.rglob("*") if "index-" in path.name]

        again = build(compose(words))
        assert again.address == plain.address and again.file("run.trec").read_bytes() == ranking
        assert [path.name for path in own.iterdir() if path.name.startswith("index-")] == [
            again.record["parents"]["index"]
        ]
    assert not list(disk.iterdir())
