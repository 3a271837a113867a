"""The files of experiments/ablation/: each moves what it says, and sweeps run in other processes and by Optuna."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import shrunk, tiny_folder

from colbertv2.ablation.linter import check_axes
from colbertv2.artifacts.node import Node
from colbertv2.commands.checks import check_objectives
from colbertv2.commands.run import objectives
from colbertv2.configuration.composition import EXPERIMENTS, build, compose, target_node
from colbertv2.configuration.points import axes_of, collect
from colbertv2.errors import InputError

PROJECT = EXPERIMENTS.parent
FILES = sorted((EXPERIMENTS / "ablation").glob("*.yaml"))
SIZES = ("training.round2.n_way", "mining.depth", "mining.score_depth", "model.dim")  # which a sweep may set itself


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("ablation")
    overrides = shrunk(tiny_folder(directory / "folder"), directory / "artifacts")
    return [*overrides, "runtime.device=cpu"]


def moved(nodes: list[Node]) -> set[str]:
    """The nodes of the pipeline whose address is not the same in all points, by key (equal nodes have one key)."""
    addresses = [{one.key.removeprefix("pipeline."): one.address for one in node.lineage()} for node in nodes]
    keys = {key for found in addresses for key in found}
    return {key for key in keys if len({found[key] for found in addresses if key in found}) > 1}


def stated(file: Path, nodes: list[Node]) -> set[str]:
    """The nodes that the file's comment names."""
    words = re.search(r"^# Moves: (.*)$", file.read_text(), re.MULTILINE)[1].split()
    if words[:2] == ["all", "but"]:
        return {one.key.removeprefix("pipeline.") for node in nodes for one in node.lineage()} - set(words[2:])
    return set(words)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_sweep_moves_what_its_file_says_and_every_axis_is_read(small, file):
    text = file.read_text()
    sweeps = [one for one in SIZES if f"{one}:" in text or f"  {one.partition('.')[2]}:" in text]
    overrides = [one for one in small if one.split("=")[0] not in sweeps]
    if file.stem == "search_optuna":  # whose points are not known beforehand: two that it may ask for
        values = ["codec.nbits=1,2", "clustering.centroid_factor=0.5,1.0", "search.nprobe=1,2", "search.ndocs=256,1024"]
        values += ["search.centroid_score_threshold=0.2,0.5"]
        points = collect(["-m", "search=plaid", *values, *overrides])
    elif file.stem == "training_collection":  # with collections that need no download
        overrides = [one for one in overrides if not one.startswith("collection")]
        own = ["collection=stdlib_small,stdlib", "suite.collections=[stdlib_small,stdlib]"]
        points = collect([f"+ablation={file.stem}", *own, *overrides])
        assert {key.rpartition(" ")[2] for key in moved([one.node for one in points]) if "metrics" in key} == {
            "(stdlib-small)", "(stdlib)"
        }  # fmt: skip
    else:
        points = collect([f"+ablation={file.stem}", *overrides])
        assert 2 <= len(points) <= 60 and axes_of(points)
    check_axes(points)
    if file.stem == "rounds":  # pipelines of other nodes: what they share stays
        assert moved([point.node for point in points]).isdisjoint({"initial", "round1", "bm25_train"})
        return
    nodes = [point.node for point in points]
    found = moved(nodes)
    assert {key for key in found if not key.startswith("teacher")} == {
        key for key in stated(file, nodes) if not key.startswith("teacher")
    }


def test_an_axis_of_the_file_can_be_replaced_from_the_command_line(small):
    points = collect(["+ablation=bits", "codec=fp16,residual", *small])
    assert axes_of(points) == {"codec": ["fp16", "residual"]}


def run(*arguments: str, directory: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "colbertv2", *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize(
    "launcher",
    [
        ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
        ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"],
    ],
    ids=["joblib", "submitit"],
)
def test_other_processes_build_what_they_share_once_and_one_wrong_point_stops_no_other(small, tmp_path, launcher):
    root = tmp_path / "artifacts"
    done = run(
        "-m", "codec.nbits=1,2,3", "pipeline=untrained", *launcher, *small, f"runtime.root={root}", directory=tmp_path
    )
    assert done.returncode == 2 and "'nbits' is 3" in done.stderr and "Traceback" not in done.stderr
    assert {stage.name: len(list(stage.glob("[a-z]*"))) for stage in root.glob("[a-z]*")} == {
        "initialise": 1, "encode": 1, "centroids": 1, "index": 2, "search": 2, "evaluate": 2
    }  # fmt: skip


def test_optuna_searches_and_its_study_can_be_reported(small, tmp_path):
    study = [f"hydra.sweeper.storage=sqlite:///{tmp_path}/study.db", "hydra.sweeper.study_name=tiny"]
    arguments = ["+ablation=search_optuna", "pipeline=untrained", *small]
    done = run(*arguments, *study, "hydra.sweeper.n_trials=3", directory=tmp_path)
    assert done.returncode == 0, done.stderr
    heading, *rows = done.stdout.rpartition("\n\n")[2].splitlines()
    rows = [row for row in rows if row[0].isdigit()]  # what follows are remarks
    assert {"codec.nbits", "search.nprobe", "nDCG@10", "bytes_per_token"} <= {*heading.split()} and len(rows) == 3
    points = collect([*arguments, *study])
    assert len(points) == 3 and all(0.2 <= point.config.search.centroid_score_threshold <= 0.7 for point in points)
    assert collect(arguments, searched=False) == []


def test_a_search_gets_back_what_its_target_has_and_nothing_else(small, tmp_path):
    config = compose(["pipeline=untrained", *small, f"runtime.root={tmp_path}"])
    with pytest.raises(InputError, match=r"pipeline\.metrics has no nDCG@7; known: RR@10, .*ms_per_query"):
        check_objectives(target_node(config), ["nDCG@10", "nDCG@7"])
    with pytest.raises(InputError, match=r"pipeline\.index has no nDCG@10; known: none"):
        check_objectives(target_node(compose(["pipeline=untrained", "target=index", *small])), ["nDCG@10"])
    metrics = build(config)
    quality, size = objectives(metrics, ["nDCG@10", "bytes_per_token"])
    assert 0 < quality < 1 and size == 4 + 16 * 2 // 8
    assert objectives(metrics, ["nDCG@10"]) == quality
