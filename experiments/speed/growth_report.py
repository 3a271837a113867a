"""The table and the figure of how costs grow with the collection, with fitted exponents."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from colbertv2.reporting.quality_figure import COLOURS, GREY
from colbertv2.reporting.rendering import markdown_rows
from experiments.speed.machine import described

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COSTS = {
    "build_wall_seconds": "build wall s",
    "build_cpu_seconds": "build CPU s",
    "build_mib": "build MiB",
    "index_mib": "index MiB",
    "open_ms": "open ms",
    "ms": "ms/query",
    "search_mib": "search MiB",
}
TITLES = {
    "build_wall_seconds": "Building: wall-clock time (s)",
    "build_cpu_seconds": "Building: CPU time (s)",
    "build_mib": "Building: peak memory (MiB)",
    "index_mib": "Index on disk (MiB)",
    "open_ms": "Opening the index (ms)",
    "ms": "Search: time per query (ms)",
    "search_mib": "Search: peak memory (MiB)",
}


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Fit cost ≈ a·sizeᵇ by least squares of the logarithms. Returns b; NaN with fewer than two points.

    >>> round(exponent([1, 10, 100], [3, 30, 300]), 6)
    1.0
    """
    known = [(size, cost) for size, cost in zip(sizes, costs, strict=True) if cost > 0]  # drops NaN too
    if len(known) < 2:
        return float("nan")
    x, y = np.log(np.array(known)).T
    return float(np.polyfit(x, y, 1)[0])


def table(results: Sequence[Mapping[str, Any]], recall: float) -> pd.DataFrame:
    """One row per size: its costs, and the fastest setting that reaches ``recall`` (if none does, NaN and "none")."""
    rows = []
    for result in results:
        enough = [point for point in result["points"] if point["recall"] >= recall]
        point = min(enough, key=lambda point: point["ms"]) if enough else {}
        rows.append(
            {
                "documents": result["documents"],
                "vectors": result["vectors"],
                **{name: result[name] for name in ("build_wall_seconds", "build_cpu_seconds", "build_mib")},
                "index_mib": result["index_bytes"] / 2**20,
                "bytes_per_token": result["index_bytes"] / result["vectors"],
                "open_ms": 1000 * min(point["open_seconds"] for point in result["points"]),
                "setting": point.get("setting", "none"),
                **{name: point.get(name, float("nan")) for name in ("recall", "ms", "search_mib")},
                "date": result["date"],
                "commit": result["commit"],
            }
        )
    return pd.DataFrame(rows)


def write(results: Sequence[Mapping[str, Any]], recall: float, out: Path) -> None:
    """Write ``growth.md``, ``.csv`` and ``.png`` to ``out``."""
    frame = table(results, recall)
    frame.to_csv(out / "growth.csv", index=False)
    fitted = {name: exponent(frame["documents"].tolist(), frame[name].tolist()) for name in COSTS}
    what = results[-1]["what"]
    dates, commits = (", ".join(sorted(set(frame[name]))) for name in ("date", "commit"))
    threads = f"{what['threads']} thread{'s' * (what['threads'] > 1)}"
    lines = [
        "# Growth with the collection",
        "",
        f"`python -m experiments.speed.growth`: documents of about {what['average_length']:g} vectors, made of spans "
        f"of SciFact's documents with noise of length {what['noise']:g}; {what['queries']} test claims; codec "
        f"{what['codec']}, {threads}. Search is the fastest setting that has a share of {recall:g} of the exact top 10 "
        "in its top 100, one query at a time. The index is opened in a new process, imports not counted. Memory is the "
        "largest resident size of the process, including the pages of memory-mapped files that it used.",
        "",
        described(),
        f"Measured {dates}, at commit {commits}.",
        "",
        *markdown_rows(
            ["documents", "vectors", "build wall s", "build CPU s", "build MiB", "index MiB", "bytes/token", "open ms",
             "setting", "recall", "ms/query", "search MiB"],
            [
                [f"{row.documents:,}", f"{row.vectors:,}", f"{row.build_wall_seconds:.0f}",
                 f"{row.build_cpu_seconds:.0f}", f"{row.build_mib:.0f}", f"{row.index_mib:.0f}",
                 f"{row.bytes_per_token:.1f}", f"{row.open_ms:.0f}", str(row.setting), f"{row.recall:.3f}",
                 f"{row.ms:.2f}", f"{row.search_mib:.0f}"]
                for row in frame.itertuples()
            ],
            left=(8,),
            padded=False,
        ),
        "",
        "Exponents b of cost ∝ documents^b, fitted to these sizes: "
        + ", ".join(f"{label} {fitted[name]:.2f}" for name, label in COSTS.items())
        + ".",
        "",
        "## Every setting",
        "",
        *markdown_rows(
            ["documents", "setting", "recall", "ms/query", "queries/s in a batch"],
            [
                [f"{result['documents']:,}", point["setting"], f"{point['recall']:.3f}", f"{point['ms']:.2f}",
                 f"{point['queries_per_second']:.1f}"]
                for result in results
                for point in result["points"]
            ],
            left=(1,),
            padded=False,
        ),
    ]  # fmt: skip
    (out / "growth.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(frame, fitted, out / "growth.png")


def draw(frame: pd.DataFrame, fitted: Mapping[str, float], file: Path) -> None:
    """Draw a panel for every cost, both axes logarithmic, with the fitted exponent; dashed: growth as √N."""
    figure, grid = plt.subplots(2, 4, figsize=(13, 6), layout="constrained")
    sizes = frame["documents"].to_numpy(float)
    for axes, (name, title) in zip(grid.flat, TITLES.items(), strict=False):
        values = frame[name].to_numpy(float)
        known = np.flatnonzero(values > 0)
        if not len(known):
            axes.set_axis_off()  # no setting reached the recall
            continue
        axes.plot(sizes, values, "o-", color=COLOURS[0], label=f"measured: grows as N^{fitted[name]:.2f}")
        if name == "ms":
            root = values[known[0]] * np.sqrt(sizes / sizes[known[0]])
            axes.plot(sizes, root, "--", color=GREY, label="for comparison: N^0.50")
        axes.set(xscale="log", yscale="log", xlabel="N, number of documents (log scale)")
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
        axes.margins(y=0.15)
        plain_ticks(axes.xaxis, sizes)
        plain_ticks(axes.yaxis, values[known])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(TITLES) :]:
        axes.set_axis_off()
    figure.savefig(file, dpi=150)
    plt.close(figure)


def plain_ticks(axis: Axis, values: NDArray[np.float64]) -> None:
    """Ticks at the measured values, without powers of ten."""
    axis.set_major_locator(FixedLocator(sorted({float(value) for value in values})))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:.2g}")
