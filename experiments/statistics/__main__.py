"""Whether the statistics of reports do what they promise, on real differences per query: simulations of known truth.

``python -m experiments.statistics`` writes experiments/results/statistics.{md,csv}. It reads Cranfield, Vaswani and
BEIR SciFact from ``IR_DATASETS_HOME``; ``--scale 0.1`` runs a tenth of the experiments.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from hydra.utils import instantiate

from colbertv2.configuration.composition import EXPERIMENTS, compose
from colbertv2.evaluation.measures import evaluate
from colbertv2.evaluation.variance import Values
from colbertv2.reporting.rendering import markdown_rows
from colbertv2.search.bm25 import BM25
from experiments.statistics.simulations import (
    Rate,
    effect_coverage,
    false_alarms,
    few_coverage,
    power,
    query_coverage,
    recipe_alarms,
    seed_coverage,
    skewed_alarms,
)

COLLECTIONS = ("cranfield", "vaswani", "scifact")
MEASURE, DEPTH = "nDCG@10", 100
FIRST, SECOND = BM25(k1=1.2, b=0.75, tokenizer="words"), BM25(k1=0.9, b=0.4, tokenizer="words")
SIZES = (300, 7_000)
DOMINANT = 0.02  # a deviation between seeds that is larger than that over queries
SECTIONS = {
    "False alarms": "Two systems that are equally good. A test should find a difference in 5 % of experiments at most.",
    "Skewed differences": "What † does not test: the means are equal here, but the systems are not exchangeable.",
    "Coverage": "An interval should cover the true value in 95 % of experiments.",
    "Power": "† should find the difference that is called detectable in 80 % of experiments.",
    "Over collections": "Differences of a normal distribution over collections, each with a standard error of .005 to "
    ".015. With τ of 0 the summary covers too often: Hartung and Knapp's error is not taken below that of equal "
    "differences.",
}


def differences(collection: str) -> Values:
    """The difference in nDCG@10 of two settings of BM25, per query of a collection: ``[queries]``."""
    config = compose([f"collection={collection}"]).collection
    documents, queries = instantiate(config.documents), instantiate(config.eval)
    found = [
        evaluate(bm25.index(documents).search(queries, DEPTH), queries.qrels, [MEASURE])[MEASURE].to_numpy(
            dtype=np.float64
        )
        for bm25 in (FIRST, SECOND)
    ]
    return np.asarray(found[0] - found[1], dtype=np.float64).round(12)


def simulate(pools: Mapping[str, Values], scale: float, rng: np.random.Generator) -> Iterator[tuple[str, Rate]]:
    """Run every simulation: the section of the report and a row, as they come."""

    def runs(number: int) -> int:
        return max(20, round(number * scale))

    everything = [np.concatenate(list(pools.values()))]
    alarms, skew, coverage, found, over = SECTIONS
    for rate in false_alarms(pools, runs(1_000), rng):
        yield alarms, rate
    for size in SIZES:
        for rate in recipe_alarms(everything, [size], runs(2_000), rng):
            yield alarms, rate
    for rate in recipe_alarms(list(pools.values()), [len(pool) for pool in pools.values()], runs(2_000), rng):
        yield alarms, rate
    for rate in skewed_alarms(runs(300), rng):
        yield skew, rate
    for rate in query_coverage(pools, runs(1_000), rng):
        yield coverage, rate
    for rate in few_coverage(everything[0], 300, runs(1_000), rng):
        yield coverage, rate
    for deviation in (0.005, DOMINANT):
        for rate in seed_coverage(pools, deviation, runs(1_000), rng):
            yield coverage, rate
    for rate in power(pools, runs(300), rng):
        yield found, rate
    for rate in effect_coverage(runs(2_000), rng):
        yield over, rate


def to_markdown(table: pd.DataFrame, pools: Mapping[str, Values], seconds: float) -> str:
    """Format the table, one section per question."""
    held = "; ".join(
        f"{name}: {len(pool)} queries, {np.count_nonzero(pool)} differ, mean {pool.mean():.4f}"
        for name, pool in pools.items()
    )
    lines = [
        "# Whether the statistics do what they promise",
        "",
        f"`python -m experiments.statistics`, {seconds / 60:.0f} minutes in one process. Differences in {MEASURE} per "
        f"query of BM25 with k1 1.2, b .75 and with k1 .9, b .4 ({held}). Experiments draw queries from these with "
        "replacement. A limit is the 95 % interval of a share, given the number of experiments. How each is made: "
        "`experiments/statistics/simulations.py`.",
    ]
    for section, rows in table.groupby("section", sort=False):
        body = [
            [
                *(row["what"], row["where"]),
                *(f"{100 * row['share']:.1f}", f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"),
                *(f"{100 * row['meant']:.0f}", f"{row['runs']:,}"),
            ]
            for row in rows.to_dict("records")
        ]
        header = ["", "where", "%", "limits", "meant", "experiments"]
        lines += ["", f"## {section}", "", SECTIONS[str(section)], "", *markdown_rows(header, body, 2, padded=False)]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(prog="python -m experiments.statistics", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="a factor of the number of experiments")
    parser.add_argument("--out", type=Path, default=Path(EXPERIMENTS) / "results", help="directory of statistics.md")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    pools = {name: differences(name) for name in COLLECTIONS}
    rows = []
    for section, rate in simulate(pools, options.scale, np.random.default_rng(0)):
        low, high = rate.limits
        rows.append({"section": section, **rate._asdict(), "share": rate.share, "low": low, "high": high})
        print(f"{rate.what}: {rate.where}: {rate.share:.3f} ({low:.3f} to {high:.3f})", flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "statistics.csv", index=False, lineterminator="\n", float_format="%.6g")
    text = to_markdown(table, pools, time.perf_counter() - started)
    (options.out / "statistics.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
