"""The benchmarks of search and of growth, without any other system."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from colbertv2.errors import InputError
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.packed import Packed
from colbertv2.search.scoring import maxsim
from experiments.agree.environments import ROOT, Ours, Peer
from experiments.speed import growth, growth_collection, growth_report, search, search_report
from experiments.speed.growth_collection import generate
from experiments.speed.search import System, all_measured, measured


def unit(generator: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = generator.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture
def source() -> Packed:
    generator = np.random.default_rng(0)
    lengths = generator.integers(4, 60, 50).astype(np.int32)
    return Packed(unit(generator, int(lengths.sum()), 16).astype(np.float16), lengths)


class TestCollection:
    @pytest.fixture(autouse=True)
    def small_shards(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(growth_collection, "SHARD_DOCUMENTS", 100)

    def test_same_seed_same_documents(self, source: Packed) -> None:
        one, same, other = (
            list(generate(source, 250, average_length=30, noise=0.2, seed=seed)) for seed in (1, 1, 2)
        )  # fmt: skip
        for left, right in zip(one, same, strict=True):
            assert left[0] == right[0]
            assert np.array_equal(left[1], right[1]) and np.array_equal(left[2], right[2])
        assert not np.array_equal(one[0][1][:20], other[0][1][:20])
        assert not np.array_equal(one[0][1][:20], one[1][1][:20])  # nor do shards repeat each other

    def test_a_larger_collection_begins_with_the_smaller(self, source: Packed) -> None:
        small = next(generate(source, 100, average_length=30, noise=0.2, seed=1))
        large = next(generate(source, 1000, average_length=30, noise=0.2, seed=1))
        assert np.array_equal(small[1], large[1])

    def test_well_formed(self, source: Packed) -> None:
        shards = list(generate(source, 250, average_length=30, noise=0.2, seed=0))
        assert [len(ids) for ids, _, _ in shards] == [100, 100, 50]
        assert [one for ids, _, _ in shards for one in ids] == [str(position) for position in range(250)]
        for ids, vectors, lengths in shards:
            assert len(ids) == len(lengths) and lengths.sum() == len(vectors) and lengths.min() >= 1
            assert lengths.max() <= 45
            assert vectors.dtype == np.float16
            assert np.abs(np.linalg.norm(vectors.astype(np.float32), axis=1) - 1).max() < 2e-3
        mean = np.concatenate([lengths for _, _, lengths in shards]).mean()
        assert 0.75 * 30 < mean < 1.05 * 30  # spans may meet documents that are shorter

    def test_without_noise_spans_are_those_of_the_source(self, source: Packed) -> None:
        _, vectors, _ = next(generate(source, 20, average_length=30, noise=0.0, seed=0))
        similarities = vectors.astype(np.float32) @ source.vectors.astype(np.float32).T
        assert similarities.max(axis=1).min() > 0.998
        nearest = similarities.argmax(axis=1)
        assert np.mean(np.diff(nearest) == 1) > 0.8

    def test_only_one_shard_is_held(self, source: Packed) -> None:
        shards = generate(source, 10**9, average_length=30, noise=0.2, seed=0)
        assert len(next(shards)[0]) == len(next(shards)[0]) == 100

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"num_documents": 0}, "num_documents is 0"),
            ({"average_length": 3}, "average_length is 3"),
            ({"noise": float("nan")}, "noise is nan"),
            ({"source": Packed(np.zeros((0, 4)), np.zeros(1, np.int32))}, "no documents, or empty ones"),
        ],
    )
    def test_bad_values(self, source: Packed, change: dict, message: str) -> None:
        arguments = {"source": source, "num_documents": 5, "average_length": 20, "noise": 0.1, "seed": 0} | change
        with pytest.raises(InputError, match=message):
            next(generate(**arguments))

    def test_written_as_embeddings(self, source: Packed, tmp_path: Path) -> None:
        growth_collection.write(source, tmp_path / "e", 250, average_length=30, noise=0.2, seed=0)
        embeddings = Embeddings.open(tmp_path / "e")
        assert embeddings.num_documents == 250 and len(list(embeddings.shards())) == 3
        queries = unit(np.random.default_rng(5), 4, 8, 16)
        whole = np.concatenate([shard.vectors for shard in embeddings.shards()]).astype(np.float32)
        lengths = np.concatenate([shard.lengths for shard in embeddings.shards()])
        expected = np.argsort(-maxsim(list(queries), Packed(whole, lengths)), axis=1, kind="stable")[:, :10]
        assert np.array_equal(growth.exact_best(queries, embeddings, 10), expected)

    def test_full_disk(self, source: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        with pytest.raises(InputError, match=r"free, but 250 documents .* need about"):
            growth_collection.write(source, tmp_path / "e", 250, average_length=30, noise=0.2, seed=0)
        assert not (tmp_path / "e").exists()


def point(setting: str, threads: int, ms: float, found: list[list[int]]) -> dict:
    return {
        "setting": setting, "threads": threads, "ms": ms, "ms_least": ms / 2, "passes": 3,
        "queries_per_second": 1000 / ms,
        "search_mib": 50.0, "same_top_10_in_batches": 1.0, "open_seconds": 0.1, "found": found,
    }  # fmt: skip


def result(system: str, ms: float, found: list[list[int]]) -> dict:
    return {
        "system": system, "dates": ["2026-01-02"], "commits": ["abc"], "build_wall_seconds": 3.0,
        "build_cpu_seconds": 2.0, "build_mib": 70.0, "index_bytes": 3600, "versions": {system: "1.2"},
        "python": "3.11", "points": [point("default", threads, ms / threads, found) for threads in (1, 2)],
    }  # fmt: skip


@pytest.fixture
def judge() -> search_report.Judge:
    exact = np.random.default_rng(0).normal(size=(2, 30)).astype(np.float32)
    ids = [f"d{position}" for position in range(30)]
    qrels = {query: {ids[int(exact[row].argmax())]: 1} for row, query in enumerate("ab")}
    return search_report.Judge(exact, 100, ["a", "b"], ids, qrels)


class TestSearchReport:
    def test_quality(self, judge: search_report.Judge) -> None:
        order = np.argsort(-judge.exact, axis=1).tolist()
        perfect = {"overlap@10": 1.0, "top 10 in top 100": 1.0, "nDCG@10": 1.0, "RR@10": 1.0}
        assert judge.quality(order) == perfect
        half = judge.quality([[*one[5:15], *one[:5], 2**32 - 1] for one in order])
        assert half["overlap@10"] == 0.5 and half["top 10 in top 100"] == 1.0 and half["RR@10"] == 0.0

    def test_tables_from_points(self, judge: search_report.Judge, tmp_path: Path) -> None:
        order = np.argsort(-judge.exact, axis=1).tolist()
        worse = [one[5:] for one in order]
        results = [
            result("exact MaxSim, fp32", 100.0, order),
            result("ours, lloyd 2 bits", 2.0, order),
            result("slow", 8.0, worse),
            {"system": "broken", "failed": "pip failed: no | such wheel"},
        ]
        search_report.write(results, judge, tmp_path)
        text = (tmp_path / "speed_search.md").read_text()
        assert "| slow | default | 8.00 | 4.00 | 4.00 | 125 | 250 | 0.500 |" in text
        assert "| slow, default | 0.500 | 8.00 | lloyd 2 bits, default | 1.000 | 2.00 | 36.0 | 4.0× |" in text
        assert "| broken | not measured: pip failed: no / such wheel |" in text
        frame = pd.read_csv(tmp_path / "speed_search.csv")
        assert frame["system"].tolist() == [one["system"] for one in results]
        assert frame["ms_2_threads"].tolist()[:3] == [50.0, 1.0, 4.0]
        assert (tmp_path / "speed_search.png").stat().st_size > 0

    def test_nothing_but_failures(self, judge: search_report.Judge, tmp_path: Path) -> None:
        search_report.write([{"system": "broken", "failed": "reason"}], judge, tmp_path)
        assert "| broken | not measured: reason |" in (tmp_path / "speed_search.md").read_text()


class TestGrowthReport:
    def test_fastest_setting_with_the_recall(self, tmp_path: Path) -> None:
        results = []
        for size in (100, 10_000):
            points = [
                point(name, 1, size**0.5 * factor, []) | {"recall": recall}
                for name, factor, recall in (("few", 1, 0.5), ("most", 2, 0.96), ("all", 3, 1.0))
            ]
            results.append(
                {
                    **result("ours", 1.0, []),
                    "points": points,
                    "documents": size,
                    "vectors": 10 * size,
                    "build_wall_seconds": size / 10,
                    "date": "2026-01-02",
                    "commit": "abc",
                    "what": {"average_length": 10, "noise": 0.3, "queries": 5, "codec": "lloyd 2 bits", "threads": 1},
                }
            )
        frame = growth_report.table(results, 0.95)
        assert frame["setting"].tolist() == ["most", "most"] and frame["ms"].tolist() == [20.0, 200.0]
        growth_report.write(results, 0.95, tmp_path)
        text = (tmp_path / "growth.md").read_text()
        assert "build wall s 1.00" in text and "ms/query 0.50" in text
        assert growth_report.table(results, 1.1)["setting"].tolist() == ["none", "none"]
        growth_report.write(results, 1.1, tmp_path)


def tiny(work: Path, source: Packed) -> None:
    """What ``prepare`` would write, of generated documents."""
    growth_collection.write(source, work / "embeddings", 300, average_length=20, noise=0.2, seed=0)
    (work / "embeddings.txt").write_text(str(work / "embeddings"))
    (shard,) = Embeddings.open(work / "embeddings").shards()
    np.save(work / "vectors.npy", shard.vectors)
    np.save(work / "lengths.npy", shard.lengths)
    queries = unit(np.random.default_rng(7), 6, 8, 16)
    np.save(work / "queries.npy", queries)
    np.save(work / "train_queries.npy", unit(np.random.default_rng(8), 6, 8, 16))
    np.save(work / "exact.npy", maxsim(list(queries), Packed(shard.vectors.astype(np.float32), shard.lengths)))


class TestMeasured:
    def test_ours_and_the_baseline_end_to_end(
        self, source: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tiny(tmp_path, source)
        ids = [str(position) for position in range(300)]
        exact = np.load(tmp_path / "exact.npy")
        num_vectors = int(np.load(tmp_path / "lengths.npy").sum())
        judge = search_report.Judge(exact, num_vectors, list("abcdef"), ids, {"a": {"0": 1}})
        systems = [search.EXACT, System("ours, lloyd 4 bits", Ours(), "ours_search", ("lloyd 4 bits", "growth"))]
        results = list(all_measured(systems, tmp_path, "address", None))
        frame = search_report.table(results, judge)
        assert "failed" not in frame
        assert frame["overlap@10"].iloc[0] == 1.0 and frame["overlap@10"].iloc[1:].max() > 0.8
        assert (frame[["ms", "ms_2_threads", "queries_per_second", "build_mib", "search_mib"]] > 0).all().all()
        assert frame["same_top_10_in_batches"].min() == 1.0
        # Kept: nothing runs a second time, unless the vectors are others.
        monkeypatch.setattr(Peer, "run", lambda *_, **__: pytest.fail("ran again"))
        again = measured(systems[1], tmp_path, "address")
        assert again == results[1]
        with pytest.raises(pytest.fail.Exception, match="ran again"):
            measured(systems[1], tmp_path, "another")

    def test_a_system_that_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PEERS", str(tmp_path / "peers"))

        class Missing(Peer):
            def install(self) -> None:
                raise RuntimeError("pip failed:\nlong output\nERROR: no such wheel")

        systems = [System("missing", Missing("tachiom"), "tachiom_search"), System("wrong", Ours(), "no_such_script")]
        missing, wrong = all_measured(systems, tmp_path, "address", None)
        assert missing == {"system": "missing", "failed": "ERROR: no such wheel"}
        assert wrong["system"] == "wrong" and "No such file" in wrong["failed"]
        assert not list((tmp_path / "results").glob("wrong*"))  # nothing that a later run would take for a result


def test_every_peer_has_its_script_and_requirements() -> None:
    for system in [search.EXACT, *search.PEERS.values()]:
        assert (search.SYSTEMS / f"{system.script}.py").is_file()
        assert isinstance(system.python, Ours) or system.python.requirements.is_file()


def test_memory_is_not_that_of_the_parent() -> None:
    """Linux hands ru_maxrss on to children, so a system measured from a large process would seem large."""
    ballast = np.ones(400 * 2**17)  # 400 MiB, touched
    script = "from experiments.speed.systems.measure import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 5 < float(done.stdout) < 300
    assert ballast.sum() > 0


def test_chosen_names() -> None:
    with pytest.raises(SystemExit, match=r"Unknown: c; expected some of a, b\."):
        search.chosen("a, c", ["a", "b"])


def test_raw_results_are_plain_json(tmp_path: Path) -> None:
    """What a system writes is read by another Python, so it holds no types of numpy."""
    from experiments.speed.systems import measure

    documents = np.array([3, 1], np.uint32)
    setting = measure.Setting("one", lambda query: documents, lambda queries: [documents] * len(queries))
    found = json.loads(json.dumps(measure.measured(setting, np.zeros((4, 2, 2), np.float32))))
    assert found["found"] == [[3, 1]] * 4 and found["passes"] >= 2 and found["same_top_10_in_batches"] == 1.0
