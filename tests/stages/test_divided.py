"""Stages whose parts are done by two workers, in phases, with exactly the same files as by one process."""

import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Timer

import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.build import BuildError, build_node, build_phase
from colbertv2.configuration.composition import build, compose, runtime_of, target_node
from colbertv2.indexing import building
from colbertv2.lease import Lease
from colbertv2.parts import PARTS
from colbertv2.stages import score, search

CHOSEN = ["pipeline=untrained", "codec=residual", "search=plaid", "reduction=idf", "runtime.shard_documents=12"]


def smaller_parts() -> None:
    """Several parts in every stage, although there are few documents."""
    building.BLOCK_VECTORS, search.QUERIES_AT_ONCE, score.PART_QUERIES = 24, 4, 4


@pytest.fixture(scope="module", autouse=True)
def several_parts():
    before = building.BLOCK_VECTORS, search.QUERIES_AT_ONCE, score.PART_QUERIES
    smaller_parts()
    yield
    building.BLOCK_VECTORS, search.QUERIES_AT_ONCE, score.PART_QUERIES = before


def phase(name: str, overrides: list[str], target: str) -> Path | None:
    """Do one phase of a stage; the path of its artifact if it is complete."""
    config = compose([*overrides, f"target={target}"])
    made = build_phase(target_node(config), runtime_of(config).in_phase(name))  # pyright: ignore[reportArgumentType]
    return None if made is None else made.path


def files(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in ("artifact.json", "timing.json")
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("divided") / "folder", splits=("test",))


def test_two_workers_make_what_one_process_makes(folder, tmp_path):
    ranking = build(compose([*CHOSEN, *shrunk(folder, tmp_path / "one"), "target=ranking"]))
    overrides = [*CHOSEN, *shrunk(folder, tmp_path / "many")]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn, smaller_parts) as workers:
        for target in ("embeddings", "reduced", "index.centroids", "index", "ranking"):
            config = compose([*overrides, f"target={target}"])
            node = target_node(config)
            for parent in node.parents.values():
                build_node(parent, runtime_of(config))
            assert node.stage.divided and node.stage.prepares == (target in ("index.centroids", "index"))
            if node.stage.prepares:
                with pytest.raises(BuildError, match="not prepared"):
                    phase("work", overrides, target)
                assert phase("prepare", overrides, target) is None
            with pytest.raises(BuildError, match="parts are missing"):
                phase("finish", overrides, target)
            assert [*workers.map(phase, ["work"] * 2, [overrides] * 2, [target] * 2)] == [None, None]
            partial = location(tmp_path / "many", node.address).with_name(f".{node.address}.partial")
            assert len([*(partial / PARTS).glob("*/0*/")]) >= 3
            made = phase("finish", overrides, target)
            one = ranking if target == "ranking" else next(a for a in ranking.lineage() if a.address == node.address)
            assert made is not None and files(made) == files(one.path)
            assert not any(path.name.startswith(".") for path in made.rglob("*"))
            assert phase("work", overrides, target) == made  # a worker that starts late finds the artifact


def test_a_run_on_one_machine_leaves_the_unfinished_part_of_a_worker(folder, tmp_path):
    config = compose([*CHOSEN, *shrunk(folder, tmp_path), "target=embeddings"])
    node = target_node(config)
    build_node(node.parents["checkpoint"], runtime_of(config))
    parts = location(tmp_path, node.address).with_name(f".{node.address}.partial") / PARTS / "0123456789"
    (parts / ".00000.partial").mkdir(parents=True)
    lease, left = Lease.claim(parts / "00000.lease"), []
    assert lease is not None

    def finish():
        left.append((parts / ".00000.partial").is_dir())
        lease.release()

    Timer(1.0, finish).start()
    assert build(config).path.is_dir() and left == [True]


def test_an_interrupted_index_goes_on_from_its_parts(folder, tmp_path, monkeypatch):
    config = compose([*CHOSEN, *shrunk(folder, tmp_path), "target=index"])
    whole = build(config)
    shutil.rmtree(whole.path)
    moved, move_rows = [], building.move_rows

    def killed_while_moving(source, target, start):
        move_rows(source, target, start)
        moved.append(source)
        if len(moved) == 2:
            raise KeyError("killed")

    monkeypatch.setattr(building, "move_rows", killed_while_moving)
    with pytest.raises(BuildError, match="killed"):
        build(config)
    monkeypatch.setattr(building, "move_rows", move_rows)
    monkeypatch.setattr(building, "encode_parts", None)  # nothing is encoded again
    monkeypatch.setattr(building, "save_codec", None)  # nor learned
    again = build(config)
    assert files(again.path) == files(whole.path) and again.record["resumed"]


@pytest.fixture(scope="module")
def teacher_scores(tmp_path_factory) -> tuple[list[str], Artifact]:
    directory = tmp_path_factory.mktemp("scores")
    overrides = [*shrunk(tiny_folder(directory / "folder"), directory / "one"), "mining.retriever_weight=2"]
    return overrides, build(compose([*overrides, "target=round2.scored"]))


@pytest.mark.parametrize("devices", [1, 2])
def test_scores_of_the_teacher_are_the_same_in_parts(teacher_scores, tmp_path, devices):
    overrides, one = teacher_scores
    shutil.copytree(one.path.parents[1], tmp_path / "many")
    shutil.rmtree(tmp_path / "many" / "score")
    overrides = [*overrides, f"runtime.root={tmp_path / 'many'}", f"runtime.devices={devices}"]
    if devices == 1:
        assert phase("work", overrides, "round2.scored") is None
        made = phase("finish", overrides, "round2.scored")
    else:
        made = build(compose([*overrides, "target=round2.scored"])).path
    assert made is not None and files(made) == files(one.path)
