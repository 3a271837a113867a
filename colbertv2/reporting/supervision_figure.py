"""The figure of a round's supervision: ranks, margins, filters, and how far the student follows the teacher."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from colbertv2.reporting.quality_figure import COLOURS, GREY

BINS = 40


def draw_supervision(
    ranks: pd.DataFrame,
    candidates: pd.DataFrame,
    filters: Mapping[str, int],
    agreement: Mapping[str, pd.DataFrame],
    title: str,
    path: Path,
) -> None:
    """Write a PNG of four panels.

    Args:
        ranks: as ``supervision.by_rank`` returns it. candidates: as ``candidate_table`` does, with a column ``kept``.
        filters: what became of the candidates, as counts. agreement: student → ``supervision.agreement``.
        path: the file, replaced if it is there.
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    (first, second), (third, fourth) = figure.subplots(2, 2)
    for axes in (first, second, third, fourth):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
    draw_ranks(first, ranks)
    draw_margins(second, candidates)
    draw_filters(third, filters)
    draw_agreement(fourth, agreement)
    figure.savefig(path, dpi=130)


def draw_ranks(axes: Axes, ranks: pd.DataFrame) -> None:
    """The share of candidates that the teacher puts above the positive, by rank of retrieval."""
    axes.plot(ranks.index, 100 * ranks["share_above_positive"], "o-", color=COLOURS[1], markersize=3, linewidth=1.2)
    axes.set_title("Suspected false negatives by rank", loc="left")
    axes.set_xlabel("rank in the candidates")
    axes.set_ylabel("% above the positive")
    axes.set_ylim(bottom=0)


def draw_margins(axes: Axes, candidates: pd.DataFrame) -> None:
    """Histogram of margins, what became a negative and what did not."""
    margins = candidates["margin"].to_numpy()
    low, high = np.percentile(margins, [0.5, 99.5]) if len(margins) else (0.0, 1.0)
    edges = np.linspace(low, high, BINS + 1)
    kept = candidates["kept"].to_numpy(dtype=bool)
    axes.hist(
        [margins[kept], margins[~kept]], edges.tolist(), stacked=True, color=[COLOURS[0], COLOURS[4]],
        label=["kept as negatives", "left out"],
    )  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_title("Teacher's margin, positive minus candidate", loc="left")
    axes.set_xlabel("margin; left of 0 the candidate is above the positive")
    axes.set_ylabel("unlabelled candidates")
    axes.legend(frameon=False, fontsize=8)


def draw_filters(axes: Axes, filters: Mapping[str, int]) -> None:
    """Bars of what became of the candidates."""
    names = list(filters)
    bars = axes.barh(names[::-1], [filters[name] for name in names[::-1]], color=COLOURS[0], height=0.6)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.set_title("What became of the candidates", loc="left")
    axes.margins(x=0.18)


def draw_agreement(axes: Axes, agreement: Mapping[str, pd.DataFrame]) -> None:
    """Cumulative distributions of Kendall's tau between the teacher and each student."""
    for colour, (name, rows) in zip(COLOURS, agreement.items(), strict=False):
        tau = np.sort(rows["tau"].dropna())
        share = 100 * np.arange(1, len(tau) + 1) / max(1, len(tau))
        axes.step(tau, share, where="post", color=colour, linewidth=1.4, label=f"{name}: mean τ {tau.mean():.2f}")
    axes.set_title("Student's order against the teacher's", loc="left")
    axes.set_xlabel("Kendall's τ of a query's candidates")
    axes.set_ylabel("% of queries at or below")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
