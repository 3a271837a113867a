"""A built wheel provides a working ``colbertv2`` in any directory, and writes nothing to where it is installed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from support import shrunk, tiny_folder

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "colbertv2", "conf", "experiments")
BACKEND = (77, 0)  # first setuptools that builds wheels by itself and accepts the name of a licence


def can_build() -> bool:
    try:
        return tuple(int(part) for part in version("setuptools").split(".")[:2]) >= BACKEND
    except PackageNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not can_build(), reason=f"needs setuptools {BACKEND[0]}.{BACKEND[1]} to build a wheel")


def pip(*words: str | Path) -> None:
    flags = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", *words, *flags], check=True, timeout=300)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The unpacked wheel of a copy of the checkout; its dependencies come from this environment."""
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
    pip("install", *directory.glob("*.whl"), "--target", directory / "installed")
    return directory / "installed"


@pytest.fixture
def command(installed, tmp_path) -> Callable[..., str]:
    """The output of the installed command, run in an empty directory."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    (tmp_path / "empty").mkdir()

    def call(*words: str) -> str:
        done = subprocess.run(
            [installed / "bin" / "colbertv2", *words],
            env=environment,
            cwd=tmp_path / "empty",
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def files(directory: Path) -> set[Path]:
    return {path.relative_to(directory) for path in directory.rglob("*") if path.is_file()}


def test_the_wheel_holds_the_configuration(installed):
    for folder in ("conf", "experiments"):
        expected = {path for path in files(PROJECT / folder) if path.suffix == ".yaml"}
        assert expected and files(installed / "colbertv2" / folder) == expected


def test_it_helps_plans_runs_and_reproduces_in_an_empty_directory(installed, command, tmp_path):
    before = files(installed)
    assert command("--help").startswith("usage: colbertv2")
    small = ["pipeline=untrained", *shrunk(tiny_folder(tmp_path / "folder"), Path("artifacts"))]
    assert "pipeline.metrics" in command("plan", "+budget=two_cores", *small)
    printed = command("+budget=two_cores", *small)
    assert "RR@10" in printed and "experiments/budget/two_cores.yaml" in printed
    record = next((tmp_path / "empty" / "artifacts" / "evaluate").glob("*/artifact.json"))
    assert json.loads(record.read_text())["commit"] is None, "a checkout's code knows its commit"
    command("reproduce", "msmarco", "hours=0")
    assert (tmp_path / "empty" / "outputs" / "reproduce" / "msmarco.md").is_file()
    assert files(installed) == before
