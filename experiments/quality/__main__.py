"""What training gains on BEIR SciFact: by ingredient and document length, the final result, and the loss elsewhere.

``python -m experiments.quality`` builds everything that is missing (``scifact.yaml``, with three seeds or one) and
writes experiments/results/quality_scifact.{md,csv}. All choices were made on the dev claims, whose rows come first. The
300 test claims were used for the final rows only.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from colbertv2.artifacts.artifact import Artifact
from colbertv2.configuration.composition import EXPERIMENTS, build, compose
from colbertv2.configuration.targets import on_one_collection
from colbertv2.evaluation.intervals import seeds_interval
from colbertv2.evaluation.measurement import per_query
from colbertv2.evaluation.statistics import paired_test
from colbertv2.reporting.rendering import markdown_rows

MEASURES = ("nDCG@10", "RR@10", "R@10", "R@100")
TEST = ("collection=scifact",)
CRANFIELD, VASWANI = ("suite.collections=[cranfield]",), ("suite.collections=[vaswani]",)
UNTRAINED = "pipeline.embeddings.checkpoint=${pipeline.initial}"


class Row(NamedTuple):
    """A row of the table: its block, its name, the node it evaluates, overrides, and the row it is compared with."""

    block: str
    name: str
    target: str
    overrides: tuple[str, ...] = ()
    against: str = ""  # the row of the same block that p compares with


INGREDIENTS, LENGTHS = "Dev claims: ingredients, uncompressed", "Dev claims: documents cut at, uncompressed"
FINAL = "Test claims"
ELSEWHERE = "Never trained on, 2 bits"
SEEDS = {INGREDIENTS: (1,), LENGTHS: (1,), FINAL: (1, 2, 3), ELSEWHERE: (1,)}
ROWS = (
    Row(INGREDIENTS, "untrained", "untrained_metrics"),
    Row(INGREDIENTS, "round 1: contrastive, BM25 negatives", "round1_metrics", against="untrained"),
    Row(
        INGREDIENTS, "+ as many steps again of the same", "contrastive_metrics",
        against="round 1: contrastive, BM25 negatives",
    ),
    Row(INGREDIENTS, "mined negatives in these steps", "mined_metrics", against="+ as many steps again of the same"),
    Row(INGREDIENTS, "+ teacher", "distilled_metrics", against="mined negatives in these steps"),
    Row(INGREDIENTS, "+ denoising (round 2)", "denoised_metrics", against="+ teacher"),
    Row(INGREDIENTS, "+ a further round (round 3)", "round3_metrics", against="+ denoising (round 2)"),
    Row(LENGTHS, "180 tokens", "round3_metrics", ("document_maxlen=180",), against="300 tokens"),
    Row(LENGTHS, "256 tokens", "round3_metrics", ("document_maxlen=256",), against="300 tokens"),
    Row(LENGTHS, "300 tokens", "round3_metrics"),
    Row(FINAL, "untrained, uncompressed", "untrained_metrics", TEST),
    Row(FINAL, "round 3, uncompressed", "round3_metrics", TEST, against="untrained, uncompressed"),
    Row(FINAL, "round 3, 2 bits", "metrics", TEST, against="round 3, uncompressed"),
    Row(ELSEWHERE, "Cranfield, untrained", "metrics", (*CRANFIELD, UNTRAINED)),
    Row(ELSEWHERE, "Cranfield, trained on SciFact", "metrics", CRANFIELD, against="Cranfield, untrained"),
    Row(ELSEWHERE, "Vaswani, untrained", "metrics", (*VASWANI, UNTRAINED)),
    Row(ELSEWHERE, "Vaswani, trained on SciFact", "metrics", VASWANI, against="Vaswani, untrained"),
)  # fmt: skip


def configured(row: Row, seed: int, overrides: Sequence[str]) -> DictConfig:
    """The configuration whose target is the evaluation of a row."""
    words = ["+quality=scifact", f"target={row.target}", f"seed={seed}", *row.overrides, *overrides]
    return on_one_collection(compose(words))


def metrics(row: Row, seed: int, overrides: Sequence[str]) -> Artifact:
    """The evaluation of a row; it is built if it is not in the cache."""
    return build(configured(row, seed, overrides))


def half_width(values: Sequence[float]) -> float:
    """Half the width of the 95 % t-interval of a mean over seeds; NaN with one seed."""
    interval = seeds_interval(np.array(values))
    return float("nan") if interval is None else (interval.high - interval.low) / 2


def tabulate(found: dict[Row, list[pd.DataFrame]]) -> pd.DataFrame:
    """Compute for every row means over seeds and queries, the interval over seeds, and p from per-query means."""
    mean = {row: sum(tables[1:], tables[0]) / len(tables) for row, tables in found.items()}
    named = {(row.block, row.name): table for row, table in mean.items()}
    lines = []
    for row, tables in found.items():
        line = {"block": row.block, "system": row.name, "seeds": len(tables), "queries": len(tables[0])}
        for measure in MEASURES:
            by_seed = [float(table[measure].mean()) for table in tables]
            line |= {measure: float(np.mean(by_seed)), f"{measure}_half_width": half_width(by_seed)}
            line |= {f"{measure}_of_seeds": " ".join(f"{value:.4f}" for value in by_seed)}
        other = named.get((row.block, row.against))
        if other is not None:
            for measure in MEASURES[:2]:
                line[f"p_{measure}"] = paired_test(mean[row][measure], other.loc[mean[row].index, measure], seed=0)
        lines.append(line | {"against": row.against})
    return pd.DataFrame(lines)


def to_markdown(table: pd.DataFrame, seconds: float) -> str:
    """Format the table, one section per block."""
    lines = [
        "# What training gains on BEIR SciFact",
        "",
        "`python -m experiments.quality`: all-MiniLM-L6-v2 (22M parameters, 128 dims), 655 training claims, no other "
        "data; `experiments/quality/scifact.yaml` has every setting. Means over seeds ± half the width of the 95 % "
        "t-interval over seeds. p compares with the row that is named: a paired randomisation test on per-query means "
        "over seeds, unadjusted.",
        "",
        f"The final checkpoint of one seed took {seconds / 60:.0f} minutes on one core (training, mining, scoring and "
        "everything in between, as recorded in the artifacts).",
    ]
    for block, rows in table.groupby("block", sort=False):
        body = []
        for row in rows.to_dict("records"):
            values = [with_interval(row[measure], row[f"{measure}_half_width"]) for measure in MEASURES]
            p = row.get("p_nDCG@10", float("nan"))
            shown = "" if np.isnan(p) else f"{p:.3f}" if p >= 0.001 else "< .001"
            body.append([row["system"], str(row["seeds"]), *values, shown, row["against"] if shown else ""])
        header = ["", "seeds", *MEASURES, "p (nDCG@10)", "against"]
        lines += ["", f"## {block}", "", *markdown_rows(header, body, left=(0, len(header) - 1), padded=False)]
    return "\n".join(lines) + "\n"


def with_interval(value: float, half: float) -> str:
    """Format a mean with its half-width, ``.812 ± .010``; without it if there is none, or if all seeds are equal."""
    shown = f"{value:.3f}".removeprefix("0")
    return shown if np.isnan(half) or half < 1e-9 else f"{shown} ± {half:.3f}".replace("± 0.", "± .")


def seconds_upstream(artifact: Artifact) -> float:
    """The wall-clock seconds that it took to build an artifact and everything it was built from."""
    seen: dict[str, float] = {}
    waiting = [artifact]
    while waiting:
        one = waiting.pop()
        if one.address not in seen:
            seen[one.address] = one.record["seconds"]
            waiting += one.parents.values()
    return sum(seen.values())


def main(overrides: Sequence[str]) -> None:
    """Build, print and write; ``overrides`` as on the command line of ``python -m colbertv2``."""
    found = {row: [per_query(metrics(row, seed, overrides)) for seed in SEEDS[row.block]] for row in ROWS}
    table = tabulate(found)
    final = metrics(ROWS[6], 1, overrides).ancestor("checkpoint")
    out = Path(EXPERIMENTS) / "results"
    table.to_csv(out / "quality_scifact.csv", index=False, lineterminator="\n", float_format="%.6g")
    text = to_markdown(table, seconds_upstream(final))
    (out / "quality_scifact.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
