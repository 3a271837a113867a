"""Tests of asking the cascade for a recall instead of settings."""

import json

import numpy as np
import pytest
from support import CODECS, shrunk, tiny_folder

from colbertv2.compression.product import ProductCodec
from colbertv2.configuration.composition import build, compose
from colbertv2.errors import InputError
from colbertv2.search.calibration import PROBES, calibrate, calibration, fewest, pseudo_queries
from colbertv2.search.cascade import Cascade
from colbertv2.search.exhaustive import Exhaustive


@pytest.fixture(scope="module")
def index(world):
    return world.index(ProductCodec(2), name="calibration", queries=np.concatenate(world.queries(5)))


def recall_of(index, engine, queries, k):
    pairs = zip(engine.search(index, queries, k), Exhaustive().search(index, queries, k), strict=True)
    return np.mean([np.isin(exact.positions, found.positions).mean() for found, exact in pairs])


@pytest.mark.parametrize("recall", [0.5, 0.9, 1.0])
def test_every_point_reaches_the_recall_on_the_queries_it_was_measured_with(world, index, recall):
    queries, k = world.queries(40), 5
    measured = calibrate(index, queries, k, recall)
    assert measured.best in measured.settings and measured.settings[0].nprobe is None
    assert measured.best.work == min(setting.work for setting in measured.settings)
    for setting in measured.settings:
        assert recall_of(index, Cascade(setting.nprobe, setting.ndocs), queries, k) == pytest.approx(setting.recall)
        assert setting.recall >= recall
        if setting.ndocs > k:
            short = [recall_of(index, Cascade(setting.nprobe, setting.ndocs - 1), [query], k) for query in queries]
            assert np.mean(short) - 1.645 * np.std(short) / np.sqrt(len(short)) < recall


def test_a_higher_recall_takes_more_work(world, index):
    works = [calibrate(index, world.queries(40), 5, recall).best.work for recall in (0.3, 0.8, 0.95, 1)]
    assert works == sorted(works) and works[0] < works[-1]


def test_the_engine_finds_the_recall_on_other_queries(world, index):
    for recall in (0.8, 1.0):
        assert recall_of(index, Cascade(recall=recall), world.queries(40), 5) >= recall - 0.02


def test_queries_are_made_from_the_index_and_always_the_same(index):
    first, again = pseudo_queries(index), pseudo_queries(index)
    assert len(first) == 128 and all(one.shape == (32, index.dim) for one in first)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
    assert calibration(index, 5, 0.9) is calibration(index, 5, 0.9)


def test_the_fewest_candidates():
    places = [np.array([0, 9]), np.array([3, 100]), np.zeros(0, np.int64)]  # 100: no candidate
    assert fewest(places, 1.0, num_documents=100) == (None, 0.0)
    assert fewest(places[:1], 1.0, num_documents=100) == (10, 1.0)
    assert fewest(places[:1], 0.5, num_documents=100) == (1, 0.5)


def test_an_index_that_cannot_be_calibrated(world, index):
    with pytest.raises(InputError, match="No queries to measure recall with"):
        calibrate(index, [], 5, 0.9)
    with pytest.raises(InputError, match="centroids"):
        calibration(world.index(CODECS["fp16"](2), name="calibration-fp16"), 5, 0.9)
    for recall in (0, 1.5, float("nan")):
        with pytest.raises(InputError, match="Cascade: 'recall' is"):
            Cascade(recall=recall)


def test_the_stage_writes_what_was_measured(tmp_path):
    settings = ["pipeline=untrained", *shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts")]
    for number in (1, 2):
        ranking = build(
            compose([*settings, "search=cascade", "search.recall=0.9", f"index_shards={number}", "target=ranking"])
        )
        written = json.loads(ranking.file("calibration.json").read_text())
        assert written["recall"] == 0.9 and written["settings"][0]["nprobe"] is None
        assert {setting["nprobe"] for setting in written["settings"]} <= set(PROBES)


def test_a_device_takes_the_measured_settings(world, index, same_results):
    engine, queries = Cascade(recall=0.9), world.queries(8)
    same_results(engine.on_device(index, "cpu").search(queries, 5), engine.search(index, queries, 5))
