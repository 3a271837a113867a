"""A built wheel provides a working ``colbertv2`` in any directory, and writes nothing to where it is installed."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import shrunk, tiny_folder

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "colbertv2", "conf", "experiments")


def pip(*words: str | Path) -> None:
    flags = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", *words, *flags], check=True, timeout=300)


@dataclass(frozen=True)
class Environment:
    """A virtual environment: the command in it, and where the package is installed."""

    command: Path
    packages: Path


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Environment:
    """A new virtual environment with the wheel of a copy of the checkout; it borrows the dependencies from this one.

    A path file does not read the path files of the directory that it names: an editable install there is not seen.
    """
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    source.mkdir()
    for name in SOURCES:
        if (PROJECT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "results")
            shutil.copytree(PROJECT / name, source / name, ignore=ignored)
        else:
            shutil.copyfile(PROJECT / name, source / name)
    pip("wheel", source, "--no-build-isolation", "--wheel-dir", directory)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory / "environment"], check=True, timeout=300)
    pip("--python", directory / "environment", "install", *directory.glob("*.whl"))
    (packages,) = (directory / "environment" / "lib").glob("python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Environment(directory / "environment" / "bin" / "colbertv2", packages)


@pytest.fixture
def run(tmp_path) -> Callable[..., str]:
    """What a command prints, run in an empty directory and without the variables that lead to the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    (tmp_path / "empty").mkdir()

    def call(*words: str | Path) -> str:
        done = subprocess.run(
            words, env=environment, cwd=tmp_path / "empty", capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.fixture
def command(installed, run) -> Callable[..., str]:
    """What the installed command prints."""
    return lambda *words: run(installed.command, *words)


def files(directory: Path) -> set[Path]:
    return {path.relative_to(directory) for path in directory.rglob("*") if path.is_file()}


def test_the_wheel_holds_the_configuration(installed):
    for folder in ("conf", "experiments"):
        expected = {path for path in files(PROJECT / folder) if path.suffix == ".yaml"}
        assert expected and files(installed.packages / "colbertv2" / folder) == expected


def test_the_package_is_that_of_the_wheel(installed, run):
    program = "import colbertv2, importlib.metadata as m; print(colbertv2.__file__, m.version('colbertv2'))"
    place, version = run(installed.command.parent / "python", "-c", program).split()
    assert Path(place) == installed.packages / "colbertv2" / "__init__.py" and version


def test_it_helps_plans_runs_and_reproduces_in_an_empty_directory(installed, command, tmp_path):
    before = files(installed.packages)
    assert command("--help").startswith("usage: colbertv2")
    small = ["pipeline=untrained", *shrunk(tiny_folder(tmp_path / "folder"), Path("artifacts"))]
    assert "pipeline.metrics" in command("plan", "+budget=two_cores", *small)
    printed = command("+budget=two_cores", *small)
    assert "RR@10" in printed and "experiments/budget/two_cores.yaml" in printed
    record = next((tmp_path / "empty" / "artifacts" / "evaluate").glob("*/artifact.json"))
    assert json.loads(record.read_text())["commit"] is None, "a checkout's code knows its commit"
    command("reproduce", "msmarco", "hours=0")
    assert (tmp_path / "empty" / "outputs" / "reproduce" / "msmarco.md").is_file()
    assert files(installed.packages) == before
