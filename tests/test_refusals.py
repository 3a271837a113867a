"""Errors of the machine become messages that a user can act on, and lose no finished work."""

import errno
import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support import shrunk, tiny_folder

from colbertv2 import refusals
from colbertv2.artifacts.artifact import Artifact
from colbertv2.commands import run
from colbertv2.configuration.composition import build, compose, runtime_of, target_node
from colbertv2.errors import InputError
from colbertv2.kernels import compiled
from colbertv2.planning.prediction import estimate_nodes
from colbertv2.refusals import machine_refusals, refusal
from experiments.torture import disks

PLACE = "/data/store"


@pytest.mark.parametrize(
    "error, words",
    [
        (OSError(errno.ENOSPC, "No space left", PLACE), ["disk is full where /data/store is", "runtime.root"]),
        (OSError(errno.EDQUOT, "Disk quota exceeded", PLACE), ["disk is full where /data/store is"]),
        (OSError(errno.EROFS, "Read-only file system", PLACE), ["/data/store is on a file system", "read-only"]),
        (PermissionError(errno.EACCES, "Permission denied", PLACE), ["/data/store is not accessible to this user"]),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", PLACE), ["/data/store has a file where a directory"]),
        (OSError(errno.ENAMETOOLONG, "File name too long", PLACE), ["name that is too long"]),
        (OSError(errno.EMFILE, "Too many open files"), ["ulimit -n"]),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), ["Set TMPDIR"]),
        (MemoryError("Unable to allocate 3.2 TiB"), ["Memory ran out (Unable to allocate 3.2 TiB)", "batch_tokens"]),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …"), ["Memory ran out"]),
    ],
)  # fmt: skip
def test_each_refusal_names_place_and_remedy(error, words, monkeypatch):
    monkeypatch.setattr(refusals, "free_disk", lambda path: 10**9)
    text = refusal(error)
    assert text is not None and all(word in text for word in words), text
    assert "\n" not in text


def test_a_wrapped_refusal_is_found_and_other_errors_stay(monkeypatch):
    monkeypatch.setattr(refusals, "free_disk", lambda path: 10**9)
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", PLACE)
        except OSError as error:
            raise RuntimeError("the library failed") from error
    except RuntimeError as error:
        assert PLACE in str(refusal(error))
    assert refusal(KeyError("a bug")) is None
    assert refusal(FileNotFoundError(errno.ENOENT, "No such file or directory", PLACE)) is None
    with pytest.raises(KeyError), machine_refusals():
        raise KeyError("a bug")


def test_an_error_without_a_number_is_a_full_disk_where_one_is_full(monkeypatch, tmp_path):
    monkeypatch.setattr(refusals, "free_disk", lambda path: 10 if path == tmp_path else 10**9)
    with pytest.raises(InputError, match=f"The disk is full where {tmp_path} is "), machine_refusals(tmp_path):
        raise OSError("3000 requested and 1000 written")  # the words of numpy's tofile
    monkeypatch.setattr(refusals, "free_disk", lambda path: 10**9)
    with pytest.raises(OSError), machine_refusals(tmp_path):
        raise OSError("3000 requested and 1000 written")


@pytest.fixture
def small(tmp_path) -> list[str]:
    return [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "pipeline=untrained", "target=index"]


def test_a_stage_that_finds_no_space_says_so_and_the_same_command_goes_on(small, monkeypatch):
    from colbertv2.indexing import embeddings

    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    config = compose(small)
    with monkeypatch.context() as patched:
        patched.setattr(embeddings.EmbeddingsWriter, "add", no_space)
        patched.setattr("colbertv2.artifacts.build.write_json", no_space)  # the note of the failure fails, too
        with pytest.raises(
            InputError, match=r"^pipeline.embeddings \(stage encode, .*The disk is full where .* MB free"
        ):
            build(config)
    assert build(config).stage == "index"


def test_a_record_that_finds_no_space_is_not_taken_for_whole(small, monkeypatch):
    def no_space(file, *_):
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    config = compose([*small, "target=initial"])
    with monkeypatch.context() as patched:
        patched.setattr("colbertv2.artifacts.integrity.write_json", no_space)
        with pytest.raises(InputError, match="The disk is full"):
            build(config)
    assert not list(runtime_of(config).root.glob("*/*/artifact.json"))
    assert build(config).stage == "initialise"


def test_a_run_says_beforehand_that_it_will_not_fit(small, monkeypatch, capsys):
    config = compose(small)
    costs = estimate_nodes([target_node(config)], runtime_of(config))
    run.print_shortages(costs, runtime_of(config))
    assert "Warning" not in capsys.readouterr().err
    monkeypatch.setattr("colbertv2.planning.text.free_disk", lambda path: 2000)
    run.print_shortages(costs, runtime_of(config))
    said = capsys.readouterr().err
    assert said.startswith("Warning: this needs about ") and str(runtime_of(config).root) in said
    assert "only 2.0 kB of disk are free" in said and said.count("\n") == 1


def test_a_home_directory_is_found_in_every_path(small, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = compose([*small, "runtime.root='~/artifacts'", "collection.path='~/folder'"])
    assert runtime_of(config).root == tmp_path / "artifacts"
    assert target_node(config).address == target_node(compose(small)).address
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda user: {}[user])
    with pytest.raises(InputError, match=r"runtime.root: ~/artifacts is in a home directory, but this user has none"):
        runtime_of(config)


@pytest.mark.parametrize("writable", ["checkout", "cache", "temporary", "nothing"])
def test_compiled_loops_are_kept_where_something_can_be_written(writable, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    order = ["checkout", "cache", "temporary", "nothing"]
    asked = []
    monkeypatch.setattr(compiled, "_is_writable", lambda path: asked.append(path) or order[len(asked) - 1] == writable)
    if writable == "nothing":
        monkeypatch.setattr(compiled.tempfile, "mkdtemp", lambda **_: (_ for _ in ()).throw(FileNotFoundError()))
    found = compiled.cache_directory()
    expected = {"checkout": compiled.PACKAGE / "__pycache__", "cache": tmp_path / "cache" / "colbertv2"}
    if writable in expected:
        assert found is not None and found.parent == expected[writable]
    elif writable == "temporary":
        assert found is not None and stat.S_IMODE(found.stat().st_mode) == 0o700
    else:
        assert found is None


def test_a_finished_store_of_another_user_is_read_and_what_is_missing_says_why(small, tmp_path):
    if not shutil.which("setpriv") or os.geteuid():
        pytest.skip("needs root and setpriv, to run without the right to write anywhere")
    index = build(compose(small))
    store = index.path.parents[1]
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    words = [*without, sys.executable, "-m", "colbertv2", *small]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "IR_DATASETS_HOME": str(tmp_path / "collections")}
    for directory in [store, *store.rglob("*")]:
        directory.chmod(0o555 if directory.is_dir() else 0o444)
    try:
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        done = subprocess.run(
            [*words, "codec.nbits=1"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        assert "pipeline.index (stage index, index-" in done.stderr and "not accessible to this user" in done.stderr
    finally:
        for directory in [store, *store.rglob("*")]:
            directory.chmod(0o755)
    assert Artifact.open(index.path).address == index.address


def test_a_full_disk_is_survived(tmp_path, monkeypatch):
    """A case of the campaign ``make torture``: the disk is full where compiled loops are kept."""
    monkeypatch.setattr(disks, "PIPELINES", (disks.PIPELINES[0],) * len(disks.PIPELINES))  # the one that is drawn
    assert compiled.CACHE is not None
    ready = tmp_path / "compiled" / compiled.CACHE.name  # compiling takes ten seconds
    shutil.copytree(compiled.CACHE, ready, ignore=shutil.ignore_patterns("*.tmp.*"))  # others may be writing there
    setting = disks.prepare(tmp_path)
    outcome = disks.run(setting, random.Random("test 0"), tmp_path)
    assert outcome.verdict in ("same", "refused"), outcome
    assert not [path for path in Path(tmp_path).iterdir() if path.name.startswith("tmp")]
