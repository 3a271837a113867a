"""The pictures of a sweep: what they show and that equal sweeps give equal bytes."""

import re

import pytest
from support import made_cells

from colbertv2.ablation import figures
from colbertv2.ablation.findings import find

BITS, PROBES = ["1", "2", "4"], ["1", "2"]


def findings(factors=None, **how):
    return find(made_cells(factors or {"codec.bits": BITS}, lambda s: 0.05 * BITS.index(s["codec.bits"]), **how), 0)


def points(svg: str) -> set[str]:
    return set(re.findall(r'id="(point-\d+)"', svg))


def test_every_cell_with_values_is_a_point_and_the_front_is_labelled(tmp_path):
    found = findings(
        {"codec.bits": BITS, "search.nprobe": PROBES}, fails=lambda s: s == {"codec.bits": "1", "search.nprobe": "2"}
    )
    assert figures.draw_pareto(found, "bytes_per_token", tmp_path / "pareto")
    svg = (tmp_path / "pareto.svg").read_text()
    assert points(svg) == {"point-0", "point-2", "point-3", "point-4", "point-5"}
    assert ">4, 1<" in svg and (tmp_path / "pareto.png").stat().st_size > 10_000
    assert "codec.bits, search.nprobe" in svg


def test_no_picture_of_a_cost_that_is_the_same_or_unknown(tmp_path):
    assert not figures.draw_pareto(findings(), "gigabytes", tmp_path / "pareto")
    assert list(tmp_path.iterdir()) == []


def test_effects_have_a_panel_a_factor_and_lines_for_the_other(tmp_path):
    found = findings({"codec.bits": BITS, "search.nprobe": PROBES})
    assert figures.draw_effects(found, tmp_path / "effects")
    svg = (tmp_path / "effects.svg").read_text()
    assert all(f">{text}<" in svg for text in ("codec.bits", "search.nprobe", "search.nprobe=2", "codec.bits=4"))
    assert not figures.draw_effects(
        findings(fails=lambda s: s["codec.bits"] == "4", factors={"codec.bits": BITS, "x": ["1", "2"]}),
        tmp_path / "none",
    )
    assert not (tmp_path / "none.svg").exists()


def test_differences_count_queries(tmp_path):
    found = findings(noise=(0, 0, 0), queries=30)
    assert figures.draw_differences(found, tmp_path / "differences")
    svg = (tmp_path / "differences.svg").read_text()
    assert svg.count("30 better, 0 equal,") == 2 and svg.count("0 worse") == 2


def test_training_curves_show_loss_and_dev_measure(tmp_path):
    log = tmp_path / "metrics.csv"
    log.write_text("epoch,step,train/loss,dev/RR@10\n0,4,0.9,\n0,9,0.5,\n0,9,,0.61\n")
    assert figures.draw_training({"n=4": log, "n=8": log}, tmp_path / "training")
    svg = (tmp_path / "training.svg").read_text()
    assert ">n=4<" in svg and ">n=8<" in svg and ">training loss<" in svg
    assert not figures.draw_training({}, tmp_path / "none")


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_same_sweep_gives_the_same_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        figures.draw_pareto(findings(), "bytes_per_token", tmp_path / name / "pareto")
    assert (tmp_path / "a" / f"pareto.{suffix}").read_bytes() == (tmp_path / "b" / f"pareto.{suffix}").read_bytes()
