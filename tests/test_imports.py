"""Which heavy libraries a verb loads: none for its help, few to plan and to find an existing result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import shrunk, tiny_folder

from colbertv2.commands.command_line import VERBS
from colbertv2.configuration.composition import build, compose

PROJECT = Path(__file__).resolve().parents[1]
HEAVY = ["torch", "transformers", "pytorch_lightning", "lightning", "faiss", "numba", "wandb", "matplotlib"]
HEAVY += ["scipy.stats", "pandas", "ir_datasets", "sklearn"]
LOADED = f"""
import atexit, json, sys
atexit.register(lambda: print("loaded:" + json.dumps([name for name in {HEAVY} if name in sys.modules])))
"""
MAIN = f"{LOADED}from colbertv2.commands.command_line import main; main()"


def loaded(code: str, *words: str, directory: Path | None = None) -> set[str]:
    """The heavy modules that a new Python process has loaded after ``code``, with these words on its command line."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.rpartition("loaded:")[2]))


@pytest.mark.parametrize("verb", VERBS)
def test_to_import_a_command_and_to_ask_for_its_help_loads_nothing_heavy(verb):
    assert loaded(f"{LOADED}import colbertv2.commands.{verb}") == set()
    assert loaded(MAIN, verb, "--help") == set()


def test_the_command_alone_helps_and_loads_nothing_heavy():
    assert loaded(MAIN) == loaded(MAIN, "--help") == set()


def test_the_help_of_run_composes_nothing_and_lists_every_choice(tmp_path):
    (tmp_path / "codec").mkdir()
    (tmp_path / "codec" / "halves.yaml").touch()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "colbertv2", "run", "--config-dir", str(tmp_path), "--help"],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    lines = {line.strip() for line in done.stdout.splitlines()}
    assert done.returncode == 0 and "codec: halves" in lines and "runtime: cpu, gpu, slurm" in lines
    assert "quality: recipe, scifact" in lines
    assert "hydra" not in done.stderr and "omegaconf" not in done.stderr  # these alone take half a second


@pytest.fixture
def small(tmp_path) -> list[str]:
    return shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts")


@pytest.mark.parametrize("chosen", [[], ["codec=product", "search=cascade"]], ids=["default", "beyond the paper"])
def test_a_plan_loads_what_reads_collections(small, tmp_path, chosen):
    assert loaded(MAIN, "plan", *small, *chosen, directory=tmp_path) == {"ir_datasets"}


def test_a_run_that_finds_its_result_loads_what_reads_collections(small, tmp_path):
    overrides = ["pipeline=untrained", "target=metrics", *small]
    build(compose(overrides))
    assert loaded(MAIN, "run", *overrides, directory=tmp_path) == {"ir_datasets"}
