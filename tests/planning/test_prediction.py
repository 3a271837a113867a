"""Plans: the states and totals that a user sees, and predictions that depend on size and finished runs."""

from pathlib import Path

import pytest
from support import rewrite_record, shrunk, tiny_folder

from colbertv2.artifacts.process import device_name
from colbertv2.compression.clustering.clustering import num_sampled_documents_rule
from colbertv2.configuration.composition import build, compose, runtime_of, target_node
from colbertv2.planning.prediction import estimate_nodes, scaled
from colbertv2.planning.text import to_text
from colbertv2.planning.work import ANY_STEP, STAGES, Cost, Step
from colbertv2.search.engine import Engine


@pytest.fixture
def small(tmp_path) -> list[str]:
    overrides = shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts")
    return [*overrides, "runtime.device=cpu", "pipeline=untrained"]


def estimates(overrides: list[str], *more: str) -> dict:
    config = compose([*overrides, *more])
    found = estimate_nodes([target_node(config)], runtime_of(config))
    return {one.key.removeprefix("pipeline."): one for one in found}


def test_every_step_of_the_default_pipelines_is_predicted(small):
    for pipeline in ("colbertv2", "untrained", "three_rounds", "undistilled"):
        found = estimates(small, f"pipeline={pipeline}")
        unknown = [key for key, one in found.items() if one.seconds is None]
        assert unknown == []
        assert {one.source for one in found.values() if one.seconds is not None} == {"from a default"}


def test_more_work_takes_longer(small):
    def seconds(target: str, *more: str) -> float:
        return estimates(small, "pipeline=colbertv2", f"target={target}", *more)[target].seconds

    assert seconds("round2.checkpoint", "training.round2.n_way=8") > seconds("round2.checkpoint")
    assert seconds("round1", "training.round1.optimization.steps=200") > seconds("round1")
    assert estimates(small, "codec.nbits=8")["index"].disk > estimates(small, "codec.nbits=1")["index"].disk
    more = estimates(small, "clustering.num_centroids=64")["index.centroids"]
    assert more.disk > estimates(small, "clustering.num_centroids=8")["index.centroids"].disk
    again, once = (estimates(small, f"reduction={rule}")["reduced"] for rule in ("norm", "idf"))
    assert again.seconds > once.seconds and again.disk == once.disk  # it encodes the documents a second time


def test_streaming_needs_the_room_of_the_indexes_and_not_that_of_the_vectors(small):
    stored, streamed = (estimates(small, f"pipeline={name}", "target=ranking") for name in ("untrained", "streamed"))
    assert not [key for key, one in streamed.items() if one.seconds is None]
    vectors, index = stored["embeddings"].disk, stored["index"].disk
    assert streamed["embeddings"].disk + streamed["index"].disk == pytest.approx(index, abs=2 * ANY_STEP.disk)
    assert index < vectors + index
    assert streamed["embeddings"].memory >= max(stored["embeddings"].memory, stored["index.centroids"].memory)
    assert streamed["ranking"].memory == pytest.approx(stored["ranking"].memory, rel=1e-3)
    second = "+codec@pipeline.embeddings.codecs.small=residual_1bit"
    both = estimates(small, "pipeline=streamed", "target=ranking", second)
    assert streamed["embeddings"].disk < both["embeddings"].disk < 2 * index


def test_the_same_work_again_costs_what_it_took(small):
    index = build(compose([*small, "target=index"]))
    rewrite_record(index, seconds=300.0, peak_memory=5_000_000_000, bytes=70_000)
    again = estimates(small, "kmeans_seed=7")["index"]
    assert again.source == "from 1 run here"
    assert (again.seconds, again.memory, again.disk) == pytest.approx((300, 5e9, 7e4))


def test_runs_of_another_device_version_or_start_teach_nothing(small):
    index = build(compose([*small, "target=index"]))
    for change in ({"device": "another machine"}, {"resumed": True}, {"version": -1}):
        rewrite_record(index, **change)
        assert estimates(small, "kmeans_seed=7")["index"].source == "from a default"
    (index.path / "artifact.json").write_text("{")
    assert estimates(small, "kmeans_seed=7")["index"].source == "from a default", "nor do damaged records"


def test_runs_of_another_kind_teach_only_where_there_are_none_of_the_same(small):
    rewrite_record(build(compose([*small, "target=index", "codec=fp16"])), seconds=3000.0)
    assert estimates(small)["index"].source == "from 1 run of another kind"
    rewrite_record(build(compose([*small, "target=index"])), seconds=10.0)
    same = estimates(small, "kmeans_seed=7")["index"]
    assert same.source == "from 1 run here" and same.seconds == pytest.approx(10)


def test_what_runs_took_grows_with_size(small, tmp_path):
    embeddings = build(compose([*small, "target=embeddings"]))
    rewrite_record(embeddings, seconds=50.0)
    larger = shrunk(tiny_folder(tmp_path / "larger", 150), tmp_path / "artifacts")
    found = estimates([*larger, "runtime.device=cpu", "pipeline=untrained"])["embeddings"]
    assert found.source == "from 1 run here" and found.seconds > 50
    assert 2 < found.disk / embeddings.record["bytes"] < 5


def test_small_steps_are_not_scaled_by_their_size_alone():
    took = Cost(seconds=10, memory=1e9, disk=1000)
    small, larger = (ANY_STEP + Cost(seconds=one, disk=one) for one in (0.01, 0.1))
    assert scaled(took, small, larger).seconds < 12


def test_runs_whose_ancestors_were_deleted_teach_where_the_plan_knows_these(small):
    index = build(compose([*small, "target=index"]))
    rewrite_record(index, seconds=300.0)
    for role in ("embeddings", "centroids"):
        (index.parents[role].path / "artifact.json").unlink()
    found = estimates(small, "codec.nbits=4")["index"]
    assert found.source == "from 1 run here" and found.seconds == pytest.approx(300, rel=0.1)


def test_a_stage_without_a_closed_form_is_known_from_its_runs_alone(small, monkeypatch):
    monkeypatch.delitem(STAGES, "index")
    assert estimates(small)["index"].seconds is None
    rewrite_record(build(compose([*small, "target=index"])), seconds=300.0)
    assert estimates(small, "kmeans_seed=7")["index"].seconds == 300


def clustered(documents: int, vectors: float, **settings: object) -> Cost:
    """The cost of clustering this number of vectors of 16 dimensions."""
    initial = Step("initialise", {"backbone": {"name": "any"}, "dim": 16}, {}, {})
    inputs = {"documents": {"texts": documents, "characters": 100.0, "lengths": [100] * 9}}
    embeddings = Step("encode", {}, inputs, {"checkpoint": initial}, bytes=vectors * 16 * 2)
    target = {"_target_": "colbertv2.compression.clustering.clustering.Clustering", "num_centroids": 1000, **settings}
    return Step("centroids", {"clustering": target}, {}, {"embeddings": embeddings}).cost


def test_kmeans_sees_no_more_than_its_sample():
    everything = clustered(10_000, 1e6, kmeans_iterations=20)
    assert everything.flops == 2 * 16 * 1000 * (20 * 256_000 + 1e6)
    tenth = clustered(10_000, 1e6, kmeans_iterations=20, sample_documents=1000)
    assert tenth.flops == 2 * 16 * 1000 * (20 * 100_000 + 1e6) and tenth.memory < everything.memory
    ruled = clustered(1_000_000, 3e7, kmeans_iterations=20, max_points_per_centroid=10**6)
    sampled = num_sampled_documents_rule(1_000_000)
    assert ruled.flops == pytest.approx(2 * 16 * 1000 * (20 * 30 * sampled + 3e7))


def test_validation_is_of_as_many_queries_as_the_recipe_says(small):
    def seconds(*more: str) -> float:
        found = estimates(small, "pipeline=colbertv2", "target=round1", *more)["round1"].seconds
        assert found
        return found

    two = seconds("training.round1.validation_queries=2")
    assert two < seconds("training.round1.validation_queries=8")
    assert seconds("training.round1.validation_queries=1000") == seconds("training.round1.validation_queries=2000")


def test_a_ranking_holds_no_more_documents_than_there_are(small):
    assert estimates(small, "depth=30")["ranking"].disk == estimates(small, "depth=1000")["ranking"].disk


def test_threads_are_those_that_compute(small, monkeypatch):
    monkeypatch.setattr("colbertv2.planning.prediction.products_per_second", lambda threads: threads * 1e10)
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")
    one = estimates(small)["embeddings"].seconds
    assert estimates(small, "runtime.threads=4")["embeddings"].seconds == pytest.approx(one / 4)
    assert "1 threads" in device_name(runtime_of(compose(small)))


def test_disk_is_within_twice(small):
    predicted = estimates(small, "target=index")
    artifacts = build(compose([*small, "target=index"])).lineage()
    for artifact in artifacts:
        key = {"initialise": "initial", "encode": "embeddings", "centroids": "index.centroids", "index": "index"}
        expected = predicted[key[artifact.stage]].disk + 20_000  # headers and settings
        assert 0.4 < (artifact.record["bytes"] + 20_000) / expected < 2.5, artifact.stage


def test_what_only_finished_artifacts_read_is_not_needed(small):
    index = build(compose([*small, "target=index"]))
    (index.parents["embeddings"].path / "artifact.json").unlink()
    found = estimates(small, "target=index")
    assert {key: one.state for key, one in found.items()} == {
        "initial": "cached",
        "embeddings": "not needed",
        "index.centroids": "cached",
        "index": "cached",
    }
    assert to_text(list(found.values()), runtime_of(compose(small))).splitlines()[-1] == "to build: nothing"


def test_shared_steps_count_once_and_unknown_ones_are_said(small, monkeypatch):
    configs = [compose([*small, "target=index", f"codec.nbits={nbits}"]) for nbits in (1, 2, 4)]
    steps = estimate_nodes([target_node(config) for config in configs], runtime_of(configs[0]))
    assert [step.address.partition("-")[0] for step in steps].count("index") == 3 and len(steps) == 6
    last = to_text(steps, runtime_of(configs[0])).splitlines()[-1]
    assert last.startswith("to build: 6 steps, about ") and "unknown" not in last
    monkeypatch.delitem(STAGES, "index")
    steps = estimate_nodes([target_node(config) for config in configs], runtime_of(configs[0]))
    assert "3 of them unknown (?), not counted" in to_text(steps, runtime_of(configs[0])).splitlines()[-1]


def test_too_little_room_is_said(small, monkeypatch):
    steps, runtime = list(estimates(small).values()), runtime_of(compose(small))
    assert "only" not in to_text(steps, runtime)
    monkeypatch.setattr("colbertv2.planning.text.free_disk", lambda path: 2000)
    monkeypatch.setattr("colbertv2.planning.text.free_memory", lambda: 500_000_000)
    last = to_text(steps, runtime).splitlines()[-1]
    assert "(only 2.0 kB of disk are free; only 500.0 MB of memory are free)" in last


def test_a_record_keeps_what_plans_need(small):
    record = build(compose([*small, "target=embeddings"])).record
    assert record["inputs"]["documents"]["texts"] == 30 and record["device"] and not record["resumed"]
    assert record["peak_memory"] > 1e7 and Path(record["address"]).name.startswith("encode-")


class Probing(Engine):
    """An engine of one's own that probes centroids."""

    needs_centroids = True

    def search(self, index, queries, k):
        raise AssertionError


class Slow(Probing):
    def seconds_per_query(self, num_vectors, num_centroids):
        return 1e6


def test_the_engine_itself_says_how_long_it_takes(small):
    """The estimate of an engine outside the package was that of exhaustive search, by the names of our own classes."""
    plaid, probing, slow = (
        estimates(small, f"search={engine}", *more)["ranking"].seconds
        for engine, *more in (
            ("plaid",),
            ("exhaustive", f"search._target_={__name__}.Probing"),
            ("exhaustive", f"search._target_={__name__}.Slow"),
        )
    )
    assert probing == pytest.approx(plaid)
    assert slow > 10_000 * probing  # a ratio: the seconds themselves are scaled to the speed of the machine
