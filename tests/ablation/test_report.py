"""``python -m colbertv2 report``, from artifacts to files, and its sweep, on the command line."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import shrunk, tiny_folder

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("report")
    overrides = shrunk(tiny_folder(directory / "folder"), directory / "artifacts")
    return [*overrides, "runtime.device=cpu", "pipeline=untrained", "search=exhaustive"]


def run(module: str, *arguments: str, directory: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *module.split(), *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_from_a_sweep_to_its_report(small, tmp_path):
    arguments = ["-m", "codec.nbits=1,2,3,4", "kmeans_seed=1,2", *small]
    before = run("colbertv2 report", *arguments, directory=tmp_path)
    assert (
        before.returncode == 2
        and "Build all of them with:\n  python -m colbertv2 -m codec.nbits=1,2,3,4" in before.stderr
    )
    planned = run("colbertv2 plan", *arguments, directory=tmp_path)
    assert planned.returncode == 2 and "'nbits' is 3" in planned.stderr  # the others are planned
    assert "8 points: 22 different steps, 22 missing" in planned.stdout  # k-means is run twice, for any number of bits
    sweep = run("colbertv2", *arguments, "runtime.wandb=offline", directory=tmp_path)
    assert sweep.returncode == 2 and "'nbits' is 3" in sweep.stderr  # the other points are run
    assert (
        sweep.stdout.count("pipeline.index.centroids: ") == 6
        and sweep.stdout.count("\npipeline.index.centroids: centroids") == 6
    )
    root = next(word.partition("=")[2] for word in small if word.startswith("runtime.root="))
    (tmp_path / "out").mkdir()
    for earlier in (
        "training.png",
        "effects.svg",
        "notes.txt",
    ):  # figures of another sweep, a file of ours
        (tmp_path / "out" / earlier).write_text("earlier")
    made = run(
        "colbertv2 report",
        *arguments,
        "runtime.wandb=offline",
        "report.out=out",
        "report.title=Bits",
        directory=tmp_path,
    )
    assert made.returncode == 0, made.stderr
    (logged,) = Path(root).glob("wandb/offline-run-*/files/media/html/report*.html")
    assert "<svg" in logged.read_text()
    assert "## Bits" in made.stdout and "codec.nbits=2 against 1: " in made.stdout
    out = tmp_path / "out"
    rows = {row["codec.nbits"]: row for row in csv.DictReader((out / "cells.csv").open())}
    assert list(rows) == ["1", "2", "3", "4"] and rows["3"]["RR@10"] == "" and "'nbits' is 3" in rows["3"]["problem"]
    text = (out / "report.md").read_text()
    assert "| 3 " in text and "—" in text and "Run: `python -m colbertv2 codec.nbits=3 kmeans_seed=1" in text
    assert {file.name for file in out.iterdir()} >= {
        "report.html", "report.md", "cells.csv", "cells.tex", "seeds.csv", "seeds.tex", "differences.svg",
        "pareto_bytes_per_token.png", "pareto_bytes_per_token.svg",
    }  # fmt: skip
    assert "1 of 4 cells has no values" in text
    kept = {file.name for file in out.iterdir() if file.read_bytes() == b"earlier"}
    assert kept == {"notes.txt"}, "no figure of another sweep stays beside the new tables"


def test_runs_of_a_sweep_share_a_group_in_wandb(small, tmp_path):
    done = run(
        "colbertv2", "-m", "codec.nbits=1,2", *small, "runtime.wandb=offline", f"runtime.root={tmp_path}",
        directory=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(runs) == 2
    groups = {
        content[content.index(b"bits-") : content.index(b"bits-") + 15]
        for content in (file.read_bytes() for file in runs)
    }
    assert len(groups) == 1


@pytest.mark.parametrize("module", ["colbertv2", "colbertv2 plan", "colbertv2 report"])
def test_a_sweep_over_what_nothing_reads_ends_before_any_work(small, tmp_path, module):
    done = run(
        module, "-m", "denoising.margin=0.1,0.2", *small, f"runtime.root={tmp_path / 'artifacts'}", directory=tmp_path
    )
    assert done.returncode == 2 and "reads denoising.margin (0.1, 0.2)" in done.stderr
    assert not (tmp_path / "artifacts").exists()


def test_a_misspelt_key_is_said_before_any_work(small, tmp_path):
    for module in ("colbertv2", "colbertv2 plan", "colbertv2 report"):
        done = run(module, "-m", "codec.bitz=1,2", *small, directory=tmp_path)
        assert done.returncode == 2 and "codec.bitz" in done.stderr and "Traceback" not in done.stderr
