"""The jobs that Hydra would run for a command line, known before it runs."""

import pytest
from omegaconf import OmegaConf
from support import shrunk, tiny_folder

from colbertv2.ablation.linter import check_axes
from colbertv2.configuration.composition import compose
from colbertv2.configuration.points import axes_of, collect
from colbertv2.errors import InputError


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("points")
    return [*shrunk(tiny_folder(directory / "folder"), directory / "artifacts"), "runtime.device=cpu"]


def test_points_are_the_product_of_the_axes_composed_as_each_alone(small):
    points = collect(["-m", "codec.nbits=1,2", "clustering.centroid_factor=0.5,1", "seed=7", *small])
    assert axes_of(points) == {"codec.nbits": ["1", "2"], "clustering.centroid_factor": ["0.5", "1"]}
    assert [(point.config.codec.nbits, point.config.clustering.centroid_factor) for point in points] == [
        (1, 0.5), (1, 1), (2, 0.5), (2, 1)
    ]  # fmt: skip
    alone = compose(["codec.nbits=2", "clustering.centroid_factor=0.5", "seed=7", *small])
    assert OmegaConf.to_yaml(points[2].config).splitlines() == OmegaConf.to_yaml(alone).splitlines()
    assert points[2].command.startswith("python -m colbertv2 codec.nbits=2 clustering.centroid_factor=0.5 seed=7")


def test_without_a_sweep_there_is_one_point(small):
    (point,) = collect(["codec.nbits=1", *small])
    assert point.config.codec.nbits == 1 and axes_of([point]) == {}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-m", "codec.bitz=1,2"], "codec.bitz"),
        (["codec=residul"], "residual"),
        (["-m", "+demo=glob(nothing*)"], "no points"),
        (["codec.nbits=1,2"], "--multirun"),
    ],
)
def test_what_cannot_be_composed_is_said(arguments, expected):
    with pytest.raises(InputError, match=expected):
        collect(arguments)


def test_a_sweep_over_what_no_stage_reads_is_refused_before_any_work(small):
    check_axes(collect(["-m", "codec.nbits=1,2", "seed=1,2", *small]))
    untrained = ["-m", "pipeline=untrained", *small]
    with pytest.raises(InputError, match=r"reads denoising\.margin \(0\.1, 0\.2\)"):
        check_axes(collect([*untrained, "denoising.margin=0.1,0.2", "codec.nbits=1,2"]))
    with pytest.raises(InputError, match=r"bm25 \(words, code\) or mining\.depth"):
        check_axes(collect([*[one for one in untrained if "mining.depth" not in one], "bm25=words,code",
                            "mining.depth=8,9"]))  # fmt: skip


def test_interpolations_are_read_anew_for_each_point(small):
    points = collect(["-m", "codec.nbits=1,2", "kmeans_seed=${codec.nbits}", *small])
    assert [point.config.kmeans_seed for point in points] == [1, 2]
    assert axes_of(points) == {"codec.nbits": ["1", "2"]} and points[1].overrides["kmeans_seed"] == r"$\{codec.nbits\}"
    (point,) = collect(["teacher.backbone=${model.backbone}", "teacher.encoder=null", *small])
    assert point.node.ancestor("teacher").bound["backbone"].name == point.config.model.backbone.name


@pytest.mark.parametrize(
    "axis", [["codec.nbits=1,2,3"], ["codec.nbits=2,3"], ["codec=residual,fp16", "+codec.reach=1"]]
)
def test_one_wrong_point_is_its_own_affair(small, axis):
    check_axes(collect(["-m", *axis, *small]))


@pytest.fixture
def own(tmp_path) -> list[str]:
    """The flag for a directory with a codec of one's own."""
    (tmp_path / "conf" / "codec").mkdir(parents=True)
    (tmp_path / "conf" / "codec" / "mine.yaml").write_text("defaults: [residual, _self_]\nnbits: 4\n")
    return ["--config-dir", str(tmp_path / "conf")]


def test_a_directory_of_ones_own_takes_nothing_away(small, own):
    """Only one ``--config-dir`` is possible, and ``experiments/`` used to be it."""
    for chosen in (["+budget=two_cores"], ["+ablation=bits"], ["-m", "+budget=two_cores", "+demo=glob(s*)"]):
        points, alone = collect([*own, *chosen, *small]), collect([*chosen, *small])
        assert [point.node.address for point in points] == [point.node.address for point in alone]
    assert len(alone) == 2 and len(collect(["+ablation=bits", *small])) == 6
    (mine,) = collect([*own, "codec=mine", "+budget=two_cores", *small])
    assert mine.config.codec.nbits == 4
    assert mine.command.startswith(f"python -m colbertv2 {' '.join(own)} codec=mine +budget=two_cores")


def test_a_group_that_does_not_exist_is_refused(small):
    (point,) = collect(["+ablatoin=bits", *small])
    with pytest.raises(InputError, match=r"\+ablatoin=bits chooses no file of a group"):
        _ = point.address
    for misspelt in ("+precisio=bf16-mixed", "+kmeans_iteration=4", "+measure=[RR@10]"):
        (point,) = collect([misspelt, *small])
        with pytest.raises(InputError, match="nothing reads the new key"):
            _ = point.address
    (point,) = collect(["+size=2", "codec.nbits=${size}", *small])
    assert point.config.codec.nbits == 2 and point.address
