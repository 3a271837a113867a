from itertools import combinations, pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from colbertv2.reporting import quality_figure as figure


def table(*rows):
    columns = ["system", "bytes_per_token", "RR@10", "RR@10_low", "RR@10_high", "engine"]
    return pd.DataFrame([(*row, "Exhaustive")[:6] for row in rows], columns=columns)


DEMO = table(
    ("BM25", float("nan"), 0.33, 0.31, 0.35),
    ("single vector", float("nan"), 0.332, 0.31, 0.35),
    ("teacher, re-ranking", float("nan"), 0.6, 0.57, 0.62),
    ("MaxSim, untrained", 256.0, 0.48, 0.46, 0.50),
    ("ColBERT round 1", 256.0, 0.53, 0.51, 0.55),
    ("ColBERT distilled, uncompressed", 256.0, 0.531, 0.51, 0.55),
    ("ColBERT distilled, 4 bits", 68.0, 0.53, 0.51, 0.55),
    ("ColBERT distilled, 2 bits", 36.0, 0.52, 0.50, 0.54),
    ("ColBERT distilled, 1 bit", 20.0, 0.518, 0.498, 0.545),
    ("ColBERT distilled, 2 bits, PLAID", 36.0, 0.519, 0.50, 0.54, "Plaid"),
    ("ColBERT distilled, 2 bits, the paper's engine", 36.0, 0.519, 0.50, 0.54, "VanillaColBERTv2"),
)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws a table; returns the axes as they were saved."""
    axes: list[Axes] = []
    save = Figure.savefig

    def keep(self, *arguments, **options):
        axes.extend(self.axes)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)

    def draw(rows):
        figure.draw(rows, "RR@10", "Title", tmp_path / "figure.png")
        assert Image.open(tmp_path / "figure.png").width > 1000
        return axes[-1]

    return draw


def texts(axes):
    renderer = axes.figure.canvas.get_renderer()
    return {text.get_text(): text.get_window_extent(renderer) for text in axes.texts}


def test_every_system_is_labelled_and_no_labels_overlap(drawn):
    boxes = texts(drawn(DEMO))
    assert {"BM25 0.330", "ColBERT distilled, uncompressed", "4 bits", "2 bits, PLAID", "1 bit"} <= set(boxes)
    assert len(boxes) == len(DEMO)
    for (one, first), (other, second) in combinations(boxes.items(), 2):
        shared = min(first.y1, second.y1) - max(first.y0, second.y0)
        beside = min(first.x1, second.x1) - max(first.x0, second.x0)
        assert shared < 1 or beside < 0, (one, other)


def test_labels_stay_on_the_page(drawn):
    axes = drawn(DEMO)
    page = axes.figure.bbox
    for name, box in texts(axes).items():
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, name


def test_logarithmic_axis_with_the_sizes_as_ticks(drawn):
    axes = drawn(DEMO)
    assert axes.get_xscale() == "log"
    assert axes.get_xticks().tolist() == [20, 36, 68, 256]


@pytest.mark.parametrize("rows", [slice(0, 3), slice(3, 4), slice(3, 6), slice(0, 1)])
def test_tables_without_points_or_lines(drawn, rows):
    assert len(texts(drawn(DEMO[rows]))) == len(DEMO[rows])


@given(st.lists(st.floats(0, 1000), max_size=12), st.floats(0.1, 50))
def test_spread_keeps_the_order_and_the_distance(places, distance):
    moved = figure.spread(places, distance)
    order = sorted(range(len(places)), key=lambda index: places[index])
    assert all(moved[b] - moved[a] >= distance * (1 - 1e-9) - 1e-9 for a, b in pairwise(order))
    if all(b - a >= distance for a, b in pairwise(sorted(places))):
        assert moved == pytest.approx(places)
