"""The tables and the figure of the search benchmark, with the quality of every system's results."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from colbertv2.data.queries import Queries
from colbertv2.evaluation.measures import evaluate
from colbertv2.evaluation.ranking import Ranking
from colbertv2.reporting.quality_figure import COLOURS, MARKERS
from colbertv2.reporting.rendering import markdown_rows
from experiments.speed.machine import described

matplotlib.use("Agg")
import matplotlib.pyplot as plt

MEASURES = ("nDCG@10", "RR@10")
NOTHING = "–"
OURS = "ours"


@dataclass(frozen=True)
class Judge:
    """What rankings are compared with.

    Args:
        exact: MaxSim of every query with every document, ``[n, D]``.
        num_vectors: the number of vectors of all documents.
        queries: ids of the queries.
        documents: ids of the documents.
        qrels: query id → {document id: grade}.
    """

    exact: NDArray[np.float32]
    num_vectors: int
    queries: Sequence[str]
    documents: Sequence[str]
    qrels: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, work: Path) -> "Judge":
        """Read what ``prepare`` wrote, and the judgements of SciFact's test claims."""
        ids = json.loads((work / "ids.json").read_text())
        num_vectors = int(np.load(work / "lengths.npy").sum())
        exact = np.load(work / "exact.npy")
        return cls(exact, num_vectors, ids["queries"], ids["documents"], Queries("beir/scifact/test").qrels)

    def quality(self, found: Sequence[Sequence[int]]) -> dict[str, float]:
        """Compute overlap@10 with the exact ranking, the share of its top 10 in the first 100, and ``MEASURES``."""
        best = np.argsort(-self.exact, axis=1, kind="stable")[:, :10].tolist()
        # Some systems pad short results with a position that is no document's.
        kept = [[position for position in one if position < len(self.documents)] for one in found]
        shares = {
            name: float(np.mean([len({*one[:depth]} & {*own}) / len(own) for one, own in zip(kept, best, strict=True)]))
            for name, depth in (("overlap@10", 10), ("top 10 in top 100", 100))
        }
        ranking = Ranking(
            {
                query: [(self.documents[position], -float(rank)) for rank, position in enumerate(one)]
                for query, one in zip(self.queries, kept, strict=True)
            }
        )
        return shares | evaluate(ranking, self.qrels, MEASURES).mean().to_dict()


def table(results: Sequence[Mapping[str, Any]], judge: Judge) -> pd.DataFrame:
    """One row per system and setting, with all measured values; a system that failed has only the reason."""
    rows: list[dict[str, Any]] = []
    for result in results:
        if "failed" in result:
            rows.append({"system": result["system"], "failed": result["failed"]})
            continue
        single = {point["setting"]: point for point in result["points"] if point["threads"] == 1}
        double = {point["setting"]: point for point in result["points"] if point["threads"] == 2}
        common = {key: value for key, value in result.items() if key.startswith("build")}
        common["bytes_per_token"] = result["index_bytes"] / judge.num_vectors
        versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        common["versions"] = f"{versions}, Python {result['python']}"
        common |= {"dates": " ".join(result["dates"]), "commits": " ".join(result["commits"])}
        for name, point in single.items():
            rows.append(
                {
                    "system": result["system"],
                    **{key: value for key, value in point.items() if key not in ("found", "threads")},
                    **{
                        f"{key}_2_threads": double.get(name, {}).get(key, np.nan)
                        for key in ("ms", "queries_per_second")
                    },
                    **judge.quality(point["found"]),
                    **common,
                }
            )
    return pd.DataFrame(rows)


def write(results: Sequence[Mapping[str, Any]], judge: Judge, out: Path) -> None:
    """Write ``speed_search.md``, ``.csv`` and ``.png`` to ``out``."""
    frame = table(results, judge)
    frame.to_csv(out / "speed_search.csv", index=False)
    searched = frame[frame["setting"].notna()] if "setting" in frame else frame[:0]
    lines = [
        "# Search, compared with other engines",
        "",
        f"`python -m experiments.speed.search`: {len(judge.documents)} documents of SciFact in {judge.num_vectors} "
        f"vectors of 128 dimensions (MiniLM, untrained), {len(judge.queries)} test claims of 32 vectors, k=100. All "
        "systems get the same vectors. Each builds with one thread and searches in another process, on as many cores "
        "as it has threads. Milliseconds are the median of several passes over 100 queries (20 for a slow system), one "
        "query at a time; queries per second are measured with all queries in one call. Memory is the largest resident "
        "size. Overlap is with exact MaxSim of the float16 vectors.",
        "",
        described(),
        f"Measured {span(searched, 'dates')}, ours at commit {span(searched, 'commits')}.",
        "",
        "## Index",
        "",
        *markdown_rows(
            ["system", "build CPU s", "build wall s", "build MiB", "bytes/token on disk", "versions"],
            [index_row(row) for _, row in frame.drop_duplicates("system").iterrows()],
            left=(0, 5),
            padded=False,
        ),
        "",
        "## Search",
        "",
        *markdown_rows(
            [
                "system",
                "setting",
                "ms/query",
                "(least)",
                "two threads",
                "queries/s in a batch",
                "two threads",
                "overlap@10",
                "exact top 10 in top 100",
                "nDCG@10",
                "RR@10",
                "search MiB",
            ],
            [search_row(row) for _, row in searched.iterrows()],
            padded=False,
        ),
        "",
        *against_peers(searched),
    ]
    (out / "speed_search.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    draw(searched, out / "speed_search.png")


def span(frame: pd.DataFrame, column: str) -> str:
    """The distinct words of a column, as part of a sentence."""
    return ", ".join(sorted({word for cell in frame.get(column, []) for word in cell.split()})) or "never"


def index_row(row: pd.Series) -> list[str]:
    if isinstance(row.get("failed"), str):
        return [row["system"], f"not measured: {row['failed'].replace('|', '/')}", "", "", "", ""]
    if row["system"].startswith("exact"):
        return [row["system"], "–", "–", "–", f"{row['bytes_per_token']:.0f}", row["versions"]]
    taken = (f"{row[name]:.0f}" for name in ("build_cpu_seconds", "build_wall_seconds", "build_mib"))
    return [row["system"], *taken, f"{row['bytes_per_token']:.1f}", row["versions"]]


def measured(value: float, digits: int) -> str:
    """Format a number; a dash if it was not measured."""
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def search_row(row: pd.Series) -> list[str]:
    quality = (f"{row[name]:.3f}" for name in ("overlap@10", "top 10 in top 100", "nDCG@10", "RR@10"))
    return [
        row["system"], row["setting"], f"{row['ms']:.2f}", f"{row['ms_least']:.2f}", measured(row["ms_2_threads"], 2),
        f"{row['queries_per_second']:.0f}", measured(row["queries_per_second_2_threads"], 0),
        *quality, f"{row['search_mib']:.0f}",
    ]  # fmt: skip


def against_peers(searched: pd.DataFrame) -> list[str]:
    """A table with our fastest setting that is at least as close to exact as each setting of the other systems."""
    if not len(searched):
        return []
    is_ours = searched["system"].str.startswith(OURS)
    header = ["other", "overlap@10", "ms/query", "ours", "overlap@10", "ms/query", "bytes/token", "ours is faster by"]
    body = []
    for _, row in searched[~is_ours].iterrows():
        cells = [f"{row['system']}, {row['setting']}", f"{row['overlap@10']:.3f}", f"{row['ms']:.2f}"]
        reached = searched[is_ours & (searched["overlap@10"] >= row["overlap@10"])]
        if len(reached):
            best = reached.loc[reached["ms"].idxmin()]
            cells += [
                f"{best['system'].removeprefix(OURS + ', ')}, {best['setting']}", f"{best['overlap@10']:.3f}",
                f"{best['ms']:.2f}", f"{best['bytes_per_token']:.1f}", f"{row['ms'] / best['ms']:.1f}×",
            ]  # fmt: skip
        else:
            cells += ["none reaches it", "", "", "", ""]
        body.append(cells)
    return [
        "## Our fastest setting at the same quality",
        "",
        "Our fastest setting with at least the other system's overlap@10, one query at a time on one thread.",
        "",
        *markdown_rows(header, body, left=(0, 3), padded=False),
    ]


def draw(searched: pd.DataFrame, file: Path) -> None:
    """Draw the overlap against the time per query, one line per system: ours solid, the others dashed."""
    figure, axes = plt.subplots(figsize=(10, 5.5), layout="constrained")
    drawn = {"-": 0, "--": 0}
    for system, points in searched.groupby("system", sort=False):
        points = points.sort_values("ms")
        if str(system).startswith("exact"):
            axes.plot(points["ms"], points["overlap@10"], "k*", label=system, markersize=12)
            continue
        line = "-" if str(system).startswith(OURS) else "--"
        colour, marker = (row[drawn[line] % len(row)] for row in (COLOURS, MARKERS))
        drawn[line] += 1
        fill = colour if line == "-" else "white"
        axes.plot(points["ms"], points["overlap@10"], marker + line, label=system, color=colour, markersize=6,
                  markerfacecolor=fill)  # fmt: skip
    axes.set_title("Search on SciFact: closeness to exact search, and time", loc="left", fontsize=11, fontweight="bold")
    axes.set(xscale="log", xlabel="milliseconds per query, one thread (log scale)")
    axes.set_ylabel("overlap@10 with exact MaxSim (share of its top 10)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(alpha=0.3, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    if len(searched):
        figure.legend(loc="outside right upper", frameon=False, title="solid, filled: ours; dashed, hollow: others")
    figure.savefig(file, dpi=150)
    plt.close(figure)
