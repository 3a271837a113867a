"""The pictures of a sweep: what they show and that equal sweeps give equal bytes."""

import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from support import made_cells

from colbertv2.ablation.findings import find
from colbertv2.reporting import labels
from colbertv2.reporting import sweep_figures as figures

BITS, PROBES = ["1", "2", "4"], ["1", "2"]


def findings(factors=None, **how):
    return find(made_cells(factors or {"codec.nbits": BITS}, lambda s: 0.05 * BITS.index(s["codec.nbits"]), **how), 0)


def points(svg: str) -> set[str]:
    return set(re.findall(r'id="(point-\d+)"', svg))


def test_every_cell_with_values_is_a_point_and_the_front_is_labelled(tmp_path):
    found = findings(
        {"codec.nbits": BITS, "search.nprobe": PROBES}, fails=lambda s: s == {"codec.nbits": "1", "search.nprobe": "2"}
    )
    assert figures.draw_pareto(found, "bytes_per_token", tmp_path / "pareto")
    svg = (tmp_path / "pareto.svg").read_text()
    assert points(svg) == {"point-0", "point-2", "point-3", "point-4", "point-5"}
    assert ">4, 1<" in svg and (tmp_path / "pareto.png").stat().st_size > 10_000
    assert "codec.nbits, search.nprobe" in svg


def test_a_baseline_that_is_dominated_has_its_name(tmp_path):
    found = findings({"codec.nbits": BITS, "search.nprobe": PROBES})
    figures.draw_pareto(found, "ms_per_query", tmp_path / "pareto")  # where later cells are cheaper, and better
    svg = (tmp_path / "pareto.svg").read_text()
    assert ">1, 1<" in svg and ">2, 1<" not in svg


@pytest.mark.parametrize("count", [3, 20, 60])
def test_labels_cover_neither_each_other_nor_points_nor_leave_the_picture(count):
    rng = np.random.default_rng(count)
    points = [(float(x), float(y)) for x, y in zip(10 ** rng.random(count), np.sort(rng.random(count)), strict=True)]
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.scatter(*zip(*points, strict=True))
    axes.margins(0.16, 0.12)
    figure.canvas.draw()
    named = [labels.Labelled(f"bits={i}, probes={i}", *point, "black") for i, point in enumerate(points)]
    labels.label_points(axes, named, points)
    boxes = [labels.extent(label) for label in axes.texts]
    frame = axes.get_window_extent()
    assert len(boxes) >= 3 and named[0].name in {label.get_text() for label in axes.texts}
    assert not any(box.count_overlaps(boxes[i + 1 :]) for i, box in enumerate(boxes))
    assert not any(box.contains(*place) for box in boxes for place in axes.transData.transform(points))
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and box.y1 <= frame.y1 for box in boxes)


def test_no_picture_of_a_cost_that_is_the_same_or_unknown(tmp_path):
    assert not figures.draw_pareto(findings(), "gigabytes", tmp_path / "pareto")
    nearly = findings()
    for cell in nearly.cells.cells:
        cell.costs["bytes_per_token"] = 36 + 0.01 * cell.costs["bytes_per_token"] / 20
    assert not figures.draw_pareto(nearly, "bytes_per_token", tmp_path / "pareto")
    assert list(tmp_path.iterdir()) == []


def test_effects_have_a_panel_a_factor_and_lines_for_the_other(tmp_path):
    found = findings({"codec.nbits": BITS, "search.nprobe": PROBES})
    assert figures.draw_effects(found, tmp_path / "effects")
    svg = (tmp_path / "effects.svg").read_text()
    assert all(
        f">{text}<" in svg
        for text in (
            "codec.nbits",
            "search.nprobe",
            "thin lines: one per search.nprobe",
            "thin lines: one per codec.nbits",
        )
    )
    assert not figures.draw_effects(
        findings(fails=lambda s: s["codec.nbits"] == "4", factors={"codec.nbits": BITS, "x": ["1", "2"]}),
        tmp_path / "none",
    )
    assert not (tmp_path / "none.svg").exists()


def test_differences_count_queries(tmp_path):
    found = findings(noise=(0, 0, 0), queries=30)
    assert figures.draw_differences(found, tmp_path / "differences")
    svg = (tmp_path / "differences.svg").read_text()
    assert svg.count("30 better, 0 equal,") == 2 and svg.count("0 worse") == 2


def test_of_many_cells_those_that_differ_most_are_drawn(tmp_path):
    values = [str(value) for value in range(9)]
    found = find(made_cells({"n": values}, lambda s: 0.05 * int(s["n"]), noise=(0, 0, 0)), 0)
    assert figures.draw_differences(found, tmp_path / "differences")
    svg = (tmp_path / "differences.svg").read_text()
    assert all(f">{value}<" in svg for value in values[3:]) and ">2<" not in svg and "6 of 8 that differ most" in svg


def test_bars_are_the_differences_and_equal_ones_are_one(tmp_path):
    differences = np.array([0.5, 0.0, -0.25, 0.5, 0.0, 0.0, -1e-15, 1.0])
    axes = Figure().subplots()
    figures.draw_sorted(axes, differences)
    better, worse = (patch.get_data() for patch in axes.patches)
    assert list(better.edges) == [0, 1, 3, 7, 8]
    drawn = np.repeat(better.values + worse.values, np.diff(better.edges).astype(int))
    assert np.allclose(drawn, np.sort(differences)[::-1])
    assert axes.get_xlabel() == "3 better, 4 equal,\n1 worse"


def test_training_curves_show_loss_and_dev_measure(tmp_path):
    log = tmp_path / "metrics.csv"
    log.write_text("epoch,step,train/loss,train/kl,dev/RR@10\n0,4,0.9,0.9,\n0,9,0.5,0.5,\n0,9,,,0.61\n")
    assert figures.draw_training({"n=4": log, "n=8": log}, tmp_path / "training")
    svg = (tmp_path / "training.svg").read_text()
    assert ">n=4<" in svg and ">n=8<" in svg and ">training loss<" in svg
    assert "kl<" not in svg  # with one objective it is the loss
    assert not figures.draw_training({}, tmp_path / "none")


def test_a_validation_by_search_has_a_panel_for_its_mean(tmp_path):
    log = tmp_path / "metrics.csv"
    log.write_text("step,train/loss,search/a/nDCG@10,search/nDCG@10\n4,0.9,0.5,0.4\n9,0.5,0.3,0.2\n")
    assert figures.draw_training({"searched": log}, tmp_path / "training")
    svg = (tmp_path / "training.svg").read_text()
    assert svg.count("by search<") == 1 and ">nDCG@10 by search<" in svg


def test_several_objectives_have_a_panel_each(tmp_path):
    log = tmp_path / "metrics.csv"
    log.write_text("step,train/loss,train/kl,train/in_batch\n4,0.9,0.5,0.4\n9,0.5,0.3,0.2\n")
    assert figures.draw_training({"both": log}, tmp_path / "training")
    svg = (tmp_path / "training.svg").read_text()
    assert ">objective: kl<" in svg and ">objective: in_batch<" in svg


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_same_sweep_gives_the_same_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        figures.draw_pareto(findings(), "bytes_per_token", tmp_path / name / "pareto")
    assert (tmp_path / "a" / f"pareto.{suffix}").read_bytes() == (tmp_path / "b" / f"pareto.{suffix}").read_bytes()
