"""The cells of a sweep, from its artifacts."""

import numpy as np
import pandas as pd
import pytest
from support import rewrite_record, shrunk, tiny_folder

from colbertv2.ablation.sweep import Sweep
from colbertv2.artifacts.build import BuildError
from colbertv2.compression.clustering.clustering import Clusters
from colbertv2.configuration.composition import build
from colbertv2.errors import InputError


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("sweep")
    overrides = shrunk(tiny_folder(directory / "folder"), directory / "artifacts")
    return [*overrides, "runtime.device=cpu", "pipeline=untrained", "search=exhaustive"]


def build_all(sweep: Sweep) -> Sweep:
    for point in sweep.points:
        build(point.config)
    return Sweep.collect(sweep.arguments)


def test_cells_hold_the_values_of_every_seed_by_query(small):
    arguments = ["-m", "codec=residual,fp16", "seed=1,2", "kmeans_seed=5,6,7", *small]
    sweep = build_all(Sweep.collect(arguments))
    cells, name = sweep.cells(), sweep.points[0].config.collection.name
    assert cells.factors == {"codec": ["residual", "fp16"]}
    assert (cells.training_seeds, cells.kmeans_seeds) == (["1", "2"], ["5", "6", "7"])
    assert cells.measures[:2] == ["RR@10", "nDCG@10"] and cells.collections == [name] and len(cells.queries[name]) == 10
    for cell in cells.cells:
        assert {measure: found[name].shape for measure, found in cell.values.items()} == dict.fromkeys(
            cells.measures, (2, 3, 10)
        )
    for point, found in zip(sweep.points, sweep.results, strict=True):
        [artifact] = found.values()
        cell = next(cell for cell in cells.cells if cell.factors["codec"] == point.overrides["codec"])
        table = pd.read_csv(artifact.path / "per_query.csv", index_col="query_id")
        place = int(point.overrides["seed"]) - 1, int(point.overrides["kmeans_seed"]) - 5
        np.testing.assert_array_equal(cell.values["nDCG@10"][name][place], table.loc[cells.queries[name], "nDCG@10"])
    assert cells.cells[1].costs["bytes_per_token"] == 32.0 and cells.cells[0].costs["bytes_per_token"] == 8.0
    assert set(cells.cells[0].costs) == {"bytes_per_token", "bytes_per_document", "ms_per_query", "build_seconds"}
    # Points that do not depend on the seed of k-means are reported: fp16 has no centroids.
    assert any("Identical rankings" in one and "codec=fp16, seed=1, kmeans_seed=5" in one for one in cells.warnings)
    assert cells.baseline is cells.cells[0]
    assert cells.commands[0].startswith("python -m colbertv2 -m codec=residual,fp16")


def test_measure_and_baseline_are_chosen_or_refused(small):
    arguments = ["-m", "codec.nbits=1,2,4", *small]
    build_all(Sweep.collect(arguments))
    cells = Sweep.collect(
        [*arguments, "report.measure=R@10", "+report.baseline={codec.nbits: 4}", "report.title=Bits"]
    ).cells()
    assert cells.measures[:2] == ["R@10", "RR@10"] and cells.baseline.factors == {"codec.nbits": "4"}
    assert cells.title == "Bits"
    with pytest.raises(InputError, match=r"expected a cell of this sweep: codec\.nbits=1,2,4"):
        Sweep.collect([*arguments, "+report.baseline={codec.nbits: 8}"]).cells()
    with pytest.raises(InputError, match=r"report\.measure is 'MAP'"):
        Sweep.collect([*arguments, "report.measure=MAP"]).cells()
    with pytest.raises(InputError, match="Nothing varies"):
        Sweep.collect(["-m", "seed=1,2", *small]).cells()


def test_what_was_never_run_is_answered_with_the_command(small):
    sweep = Sweep.collect(["-m", "codec.nbits=1,2", "depth=3", *[one for one in small if not one.startswith("depth")]])
    with pytest.raises(InputError, match=r"None of the 2 points.*\n  python -m colbertv2 -m codec\.nbits=1,2 depth=3"):
        sweep.cells()


def test_a_point_that_fails_is_shown_with_its_error_and_the_others_stand(small, tmp_path, monkeypatch):
    sweep = Sweep.collect(["-m", "codec.nbits=1,2,3,4", "document_maxlen=9", *small])
    learn = Clusters.load
    for point in sweep.points:
        with monkeypatch.context() as patch:
            if point.config.codec.nbits == 4:
                patch.setattr(Clusters, "load", lambda path: learn(tmp_path))
            try:
                build(point.config)
            except (InputError, BuildError):
                assert point.config.codec.nbits in (3, 4)
    cells = Sweep.collect(sweep.arguments).cells()
    problems = {cell.factors["codec.nbits"]: cell.problem for cell in cells.cells}
    assert problems["1"] is None and problems["2"] is None
    assert "'nbits' is 3" in problems["3"] and "pipeline.index (stage index" in problems["4"]
    assert "clusters.json is missing" in problems["4"]
    assert next(cell for cell in cells.cells if cell.problem).command.startswith("python -m colbertv2 codec.nbits=3")
    build(sweep.points[3].config)
    assert Sweep.collect(sweep.arguments).cells().cells[3].problem is None


def test_two_versions_of_the_code_are_a_warning(small):
    sweep = build_all(Sweep.collect(["-m", "codec.nbits=1,2", "document_maxlen=8", *small]))
    [evaluation] = sweep.results[0].values()
    index = evaluation.parents["ranking"].parents["index"]
    rewrite_record(index, commit="0123456789", dirty=False)
    assert any("Stage index was run by several versions of the code" in one and "0123456" in one
               for one in Sweep.collect(sweep.arguments).cells().warnings)  # fmt: skip


def test_other_queries_cannot_be_compared(small, tmp_path):
    other = tiny_folder(tmp_path / "other", documents=12)
    paths = next(one for one in small if one.startswith("collection.path="))
    arguments = ["-m", f"{paths},{other}", *[one for one in small if one != paths]]
    with pytest.raises(InputError, match="different queries"):
        build_all(Sweep.collect(arguments)).cells()


def test_only_evaluations_can_be_compared(small):
    with pytest.raises(InputError, match="target=metrics"):
        build_all(Sweep.collect(["-m", "codec.nbits=1,2", "target=index", *small])).cells()


def test_agreement_with_exact_search_is_compared_like_any_measure(small):
    kept = [one for one in small if one not in ("search=exhaustive", "pipeline=untrained")]
    arguments = [
        "-m",
        "search.ncandidates=1,1000",
        "pipeline=reference",
        "search=vanilla_colbertv2",
        "target=agreement",
        *kept,
    ]
    cells = build_all(Sweep.collect(arguments)).cells()
    assert cells.measures[0] == "RBO" and "found@10" in cells.measures
    assert all({"ms_per_query", "bytes_per_token"} <= set(cell.costs) for cell in cells.cells)
    few, many = (cell.mean("RBO") for cell in cells.cells)
    assert few < many


def test_k_means_seeds_that_follow_training_seeds_are_found(small):
    def follows(*seeds: str) -> bool:
        return Sweep.collect(["-m", "codec.nbits=1,2", *seeds, *small]).kmeans_follows

    assert follows("seed=1,2")
    assert not follows("seed=1,2", "kmeans_seed=7")
    assert not follows("seed=1,2", "kmeans_seed=1,2")
    assert not follows("kmeans_seed=1,2") and not follows("seed=1")
    sweep = build_all(Sweep.collect(["-m", "codec.nbits=1,2", "seed=1,2", *small]))
    assert sweep.cells().kmeans_follows and len(sweep.cells().kmeans_seeds) == 1


def test_cells_know_the_trainings_they_rest_on():
    """From the configuration alone: which cells hold models that were trained apart."""
    sweep = Sweep.collect(["-m", "codec.nbits=1,2", "training.round1.batch_size=4,8", "seed=1,2", "pipeline=round1"])
    found = {setting: sweep.trained(members) for setting, members in sweep.settings().items()}
    assert all(len(addresses) == 2 for addresses in found.values())  # one of each seed
    assert found["1", "4"] == found["2", "4"] != found["1", "8"] == found["2", "8"]
    untrained = Sweep.collect(["-m", "codec.nbits=1,2", "pipeline=untrained"])
    assert all(untrained.trained(members) == frozenset() for members in untrained.settings().values())
