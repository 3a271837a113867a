"""Artifacts are complete or absent, are built once, and record how they were made."""

import errno
import hashlib
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.build import BuildError, build_node
from colbertv2.artifacts.node import digest
from colbertv2.configuration.composition import build, plan, runtime_of, target_node
from colbertv2.errors import InputError
from colbertv2.lease import Lease, LeaseLost, holder


def cached(config) -> set[str]:
    return {step.key.removeprefix("pipeline.") for step in plan(config) if step.cached}


def test_a_second_build_does_no_work(toy, runs, capsys) -> None:
    first = build(toy())
    assert runs() == ["train", "encode", "index", "index", "table"]
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["built"] * 5
    second = build(toy())
    assert len(runs()) == 5
    assert first == second
    assert capsys.readouterr().out == f"pipeline.table: {first.address} cached\n"


def test_a_sweep_builds_only_what_moved(toy, runs) -> None:
    build(toy())
    build(toy("codec.bits=1"))
    assert runs()[5:] == ["index", "table"]


def test_stages_receive_artifacts_in_their_structure(toy) -> None:
    table = build(toy())
    assert (table.path / "table.md").read_text() == "| chosen | 2 bits |\n| wide | 4 bits |\n"
    assert table.parents["systems.wide"].ancestor("checkpoint").stage == "train"
    assert table.ancestor("checkpoint").arguments["epochs"] == 3


def test_the_record_is_complete(toy, root: Path) -> None:
    index = build(toy("target=index"))
    record = index.record
    assert index.path == root / "index" / index.address
    assert record["stage"] == "index"
    assert record["version"] == 1
    assert index.address == f"index-{digest(record['identity'])}"
    assert index.arguments["codec"] == {"_target_": "toy.components.Codec", "bits": 2, "dim": 8}
    assert record["parents"] == {"embeddings": index.parents["embeddings"].address}
    assert set(record["sha256"]) == {"shards/0.txt", "epochs.txt"}
    for name, checksum in record["sha256"].items():
        assert hashlib.sha256((index.path / name).read_bytes()).hexdigest() == checksum
    assert record["bytes"] == sum((index.path / name).stat().st_size for name in record["sha256"])
    assert record["seconds"] >= 0
    assert record["created"].endswith("+00:00")
    assert set(record["versions"]) == {"python", "torch", "transformers", "faiss", "numpy"}
    assert {"commit", "dirty"} <= set(record)
    assert index.component("codec").bits == 2


def test_data_behind_an_identity_keeps_its_path_in_the_record(toy, tmp_path: Path) -> None:
    checkpoint = build(toy("target=round1"))
    assert checkpoint.arguments["corpus"]["path"] == str(tmp_path / "corpus.txt")
    assert set(checkpoint.record["identity"]["arguments"]["corpus"]["identity"]) == {"sha256"}


def test_what_is_complete_does_not_ask_for_its_ancestors(toy, root: Path, runs) -> None:
    import shutil

    table = build(toy())
    shutil.rmtree(root / "encode")
    assert build(toy()) == table
    assert len(runs()) == 5
    with pytest.raises(InputError, match="no complete artifact"):
        _ = table.parents["systems.chosen"].parents


def test_a_failed_stage_is_never_taken_for_whole(toy, root: Path, runs) -> None:
    (root / "fail-index").touch()
    with pytest.raises(BuildError, match=r"pipeline\.index \(stage index, index-\w{10}\) .*the disk is full"):
        build(toy("target=index"))
    assert cached(toy("target=index")) == {"round1", "embeddings"}
    (root / "fail-index").unlink()
    index = build(toy("target=index"))
    assert set(index.record["sha256"]) == {"shards/0.txt", "epochs.txt"}
    assert runs() == ["train", "encode", "index", "index"]
    assert not list((root / "index").glob(".*.partial"))


def test_what_a_failed_run_left_is_wiped(toy, root: Path) -> None:
    node = target_node(toy("target=index"))
    partial = root / "index" / f".{node.address}.partial"
    partial.mkdir(parents=True)
    (partial / "stale.txt").touch()
    (partial / "artifact.json").write_text("{}")
    assert "stale.txt" not in build(toy("target=index")).record["sha256"]


def test_a_resumable_stage_finds_its_files(toy, root: Path) -> None:
    (root / "fail-train").touch()
    config = toy("target=round1")
    with pytest.raises(BuildError):
        build(config)
    partial = root / "train" / f".{target_node(config).address}.partial"
    assert (partial / "epochs.txt").read_text() == "01"
    (partial / "artifact.json").write_text("{}")  # as if killed between the record and the rename
    checkpoint = build(config)
    assert (checkpoint.path / "epochs.txt").read_text() == "012"
    assert checkpoint.address == target_node(config).address
    with pytest.raises(BuildError):  # another configuration starts from the beginning
        build(toy("target=round1", "training.epochs=4"))
    other = target_node(toy("target=round1", "training.epochs=4"))
    assert (root / "train" / f".{other.address}.partial" / "epochs.txt").read_text() == "01"


def test_refused_input_names_the_stage(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from toy import encode

    def refuse(*_: object) -> None:
        raise InputError("no words in the corpus.")

    monkeypatch.setattr(encode, "trace", refuse)
    with pytest.raises(InputError, match=r"pipeline\.embeddings \(stage encode, encode-\w+\): no words"):
        build(toy())


def test_a_directory_without_a_record_is_not_touched(toy, root: Path) -> None:
    index = build(toy("target=index"))
    (index.path / "artifact.json").unlink()
    assert "index" not in cached(toy("target=index"))
    with pytest.raises(InputError, match="not complete"):
        build(toy("target=index"))
    assert (index.path / "epochs.txt").exists()


def test_open_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no complete artifact"):
        Artifact.open(tmp_path / "nothing")


def command(root: Path, *overrides: str) -> list[str]:
    toy = Path(__file__).parent / "toy"
    places = [f"runtime.root={root}", f"corpus.path={root.parent / 'corpus.txt'}"]
    flags = ["--config-path", str(toy / "conf"), "--config-dir", str(toy / "experiments")]
    return [sys.executable, "-m", "colbertv2", *flags, *places, *overrides]


def environment() -> dict[str, str]:
    here = Path(__file__).parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}


def test_a_killed_build_is_never_taken_for_whole(toy, root: Path, runs) -> None:
    (root / "slow-index").write_text("60")
    config = toy("target=index")
    process = subprocess.Popen(command(root, "target=index"), env=environment(), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while "index" not in runs() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert runs() == ["train", "encode", "index"]
    finally:
        process.kill()  # SIGKILL
        process.wait()
    assert list((root / "index").glob(".*.partial/shards/0.txt"))
    assert cached(config) == {"round1", "embeddings"}
    (root / "slow-index").unlink()
    build(config)
    assert runs() == ["train", "encode", "index", "index"]
    assert cached(config) == {"round1", "embeddings", "index"}


def _build_in_child(config, start) -> None:
    start.wait()
    build_node(target_node(config), runtime_of(config))


def test_two_processes_build_once(toy, root: Path, runs) -> None:
    (root / "slow-encode").write_text("0.3")
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    processes = [context.Process(target=_build_in_child, args=(toy(), start)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert runs() == ["train", "encode", "index", "index", "table"]


def test_waiting_is_announced(toy, root: Path, runs, capfd) -> None:
    (root / "slow-encode").write_text("1")
    config = toy("target=embeddings")
    context = multiprocessing.get_context("fork")
    start = context.Barrier(1)
    process = context.Process(target=_build_in_child, args=(config, start))
    process.start()
    while "encode" not in runs():
        time.sleep(0.01)
    artifact = build(config)
    process.join(60)
    holder = f"process {process.pid} on {platform.node()}, since {datetime.now().year}-"
    assert f"{artifact.address} waits: {holder}" in capfd.readouterr().out
    assert runs().count("encode") == 1


@pytest.mark.parametrize("number", [2, 4, 8])
def test_processes_on_one_store_share_the_work_of_one_that_is_killed(toy, root: Path, runs, number) -> None:
    """Several processes build points that share artifacts: each is built once, except for what a killed one was at."""
    (root / "slow-encode").write_text("1")
    points = [toy(f"codec.bits={(1, 2, 4)[place % 3]}") for place in range(number)]
    context = multiprocessing.get_context("fork")
    start = context.Barrier(number)
    processes = {}
    for point in points:
        process = context.Process(target=_build_in_child, args=(point, start))
        process.start()
        processes[process.pid] = process
    while "encode" not in runs():
        time.sleep(0.01)
    (lease,) = (root / "encode").glob(".*.lease")
    found = holder(lease)
    assert found is not None
    killed = processes.pop(found.process)
    killed.kill()
    for process in processes.values():
        process.join(60)
    assert {process.exitcode for process in processes.values()} == {0}
    tables = {target_node(point).address for point in points}
    present = {stage: {path.name for path in (root / stage).glob(f"{stage}-*")} for stage in ("index", "table")}
    assert present["table"] <= tables and len(tables - present["table"]) <= 1  # only the killed one's may be missing
    counts = Counter(runs())
    assert counts == {"train": 1, "encode": 2, **{stage: len(found) for stage, found in present.items()}}
    for point in points:
        build(point)  # finds what the others have built
    assert Counter(runs())["table"] == len(tables) and Counter(runs())["encode"] == 2
    assert not [path for path in root.rglob(".*")]


def test_a_killed_run_s_files_go_with_the_next_one(toy, root: Path) -> None:
    """In a resumable stage, which keeps the directory, they would become part of the artifact."""
    config = toy("target=round1")
    partial = root / "train" / f".{target_node(config).address}.partial"
    partial.mkdir(parents=True)
    (partial / ".summary.json.0-99999999.partial").write_text("{")
    assert set(build(config).record["sha256"]) == {"epochs.txt"}


def test_an_artifact_reaches_the_disk_before_it_has_its_name(toy, root: Path, monkeypatch) -> None:
    """Some file systems report a full disk only then; a crash after that loses nothing."""
    config, flushed, fsync = toy("target=round1"), [], os.fsync
    path = root / "train" / target_node(config).address

    def watched(descriptor: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        assert not path.exists() or flushed[-1] == path.parent
        fsync(descriptor)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="The disk is full where"):
        build(config)
    assert not path.exists()
    monkeypatch.setattr(os, "fsync", watched)
    artifact = build(config)
    partial = path.with_name(f".{path.name}.partial")
    assert set(flushed[:-1]) == {partial, *(partial / file.relative_to(path) for file in artifact.path.rglob("*"))}
    assert flushed[-1] == path.parent


def test_what_lost_its_lease_is_not_published(toy, root: Path, monkeypatch) -> None:
    def lost(_: Lease) -> None:
        raise LeaseLost("it is lost")

    config = toy("target=round1")
    monkeypatch.setattr(Lease, "check", lost)
    with pytest.raises(BuildError, match=r"stage train, .* failed with LeaseLost: it is lost"):
        build(config)
    assert not (root / "train" / target_node(config).address).exists()
