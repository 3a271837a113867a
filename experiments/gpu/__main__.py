"""``python -m experiments.gpu [--device cuda] [overrides]``, or ``make gpu``: does a GPU compute what the CPU does?

Builds the loop on half of the standard library once on the CPU. Then every stage that uses a GPU is built again on the
device, from what the CPU had built before it, and the two results are compared. After that it measures rates, beside
the rate of plain matrix products on the same device. Needs one GPU, ``make install EXTRA=gpu``, and about eight
minutes; downloads nothing. Writes experiments/results/gpu.md.

``--device cpu`` compares the CPU with itself, for tests; overrides make everything smaller.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.configuration.composition import build, compose, plan
from colbertv2.reporting.rendering import markdown_rows
from experiments.agree.environments import ROOT
from experiments.gpu.comparison import COMPARISONS
from experiments.gpu.rates import rates
from experiments.speed.machine import described

TRAININGS = ("round1", "teacher", "round2")
LOOP = [
    "collection=stdlib_small",
    "model.projection=orthogonal",
    "kmeans_iterations=4",
    "logger=none",
    *(f"training.{name}.optimization.steps=20" for name in TRAININGS),
    *(f"training.{name}.optimization.warmup_steps=2" for name in TRAININGS),
    *(f"training.{name}.optimization.dropout=0.0" for name in TRAININGS),  # random numbers differ between devices
    *(f"training.{name}.validation_queries=8" for name in TRAININGS),
    "mining.score_queries=64",
    "mining.score_depth=8",
]  # fmt: skip
TARGETS = [["search=exhaustive"], ["search=cascade"]]


class Row(NamedTuple):
    """One comparison: the stage, what was compared, the largest difference, and what is allowed."""

    stage: str
    what: str
    found: float
    allowed: float

    @property
    def agrees(self) -> bool:
        return self.found <= self.allowed


def compared(overrides: Sequence[str], device: str, work: Path) -> list[Row]:
    """Build a target on the CPU, and each of its stages that has a comparison again on ``device``."""
    here, there = work / "cpu", work / "device"
    settings = [*LOOP, "target=ranking", *overrides]
    on_cpu = [*settings, f"runtime.root={here}", "runtime.device=cpu"]
    build(compose(on_cpu))
    rows = []
    for step in plan(compose(on_cpu)):
        if step.stage not in COMPARISONS:
            continue
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(here, there, copy_function=os.link)
        shutil.rmtree(location(there, step.address))
        key = step.key.removeprefix("pipeline.")
        again = build(compose([*settings, f"runtime.root={there}", f"runtime.device={device}", f"target={key}"]))
        first = Artifact.open(location(here, step.address))
        for what, found, allowed in COMPARISONS[step.stage](first, again):
            rows.append(Row(key, what, found, allowed))
            print(f"{key}: {what}: {found:.2g} (allowed {allowed:g})", flush=True)
    return rows


def measured(overrides: Sequence[str], device: str, work: Path, tiny: bool) -> list[list[str]]:
    """The rows of ``rates``, with the embeddings and the training examples that were built on the CPU."""
    settings = [*LOOP, *overrides, f"runtime.root={work / 'cpu'}", f"runtime.device={device}"]
    embeddings = build(compose([*settings, "target=embeddings"]))
    documents = embeddings.component("documents")

    def train(precision: str, compiled: bool, steps: int) -> float:
        chosen = {
            "precision": precision,
            "compile": str(compiled).lower(),
            "optimization.steps": steps,
            "validation_interval": steps,
        }
        own = [f"training.round1.{key}={value}" for key, value in chosen.items()]
        return float(build(compose([*settings, *own, "target=round1"])).record["seconds"])

    return rates(embeddings, [text for _, text in documents][:2000], device, train, tiny)


def report(rows: Sequence[Row], speeds: Sequence[Sequence[str]], device: str, seconds: float) -> str:
    """The Markdown of both tables."""
    wrong = [row for row in rows if not row.agrees]
    verdict = f"{len(wrong)} of {len(rows)} differ more than allowed." if wrong else f"All {len(rows)} agree."
    lines = [
        "# The GPU beside the CPU",
        "",
        f"`python -m experiments.gpu`, {datetime.date.today()}, {seconds:.0f} s. {described()} Device: {device}.",
        "",
        "## The same results",
        "",
        f"{verdict} Every stage was built on the device from what the CPU had built before it.",
        "",
        *markdown_rows(
            ["stage", "what", "largest difference", "allowed", "agrees"],
            [[r.stage, r.what, f"{r.found:.2g}", f"{r.allowed:g}", "yes" if r.agrees else "**no**"] for r in rows],
            left=2,
            padded=False,
        ),
        "",
        "## Rates",
        "",
        "The limit is the measured rate of plain matrix products of 4,096 × 4,096 at the same precision.",
        "",
        *markdown_rows(["what", "precision", "rate", "share of the limit"], speeds, left=2, padded=False),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, measure, and write the report; exit 1 if something differs more than allowed."""
    parser = argparse.ArgumentParser(description="Compare a GPU with the CPU, and measure its rates.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=ROOT / "experiments" / "results" / "gpu.md")
    parser.add_argument("--work", type=Path, default=ROOT / "outputs" / "gpu")
    parser.add_argument("--tiny", action="store_true", help="small sizes for the rates")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA GPU here; run it on a machine with one, after make install EXTRA=gpu.")
    begun = time.perf_counter()
    shutil.rmtree(options.work, ignore_errors=True)
    rows: list[Row] = []
    for target in TARGETS:
        rows += [
            row for row in compared([*target, *options.overrides], options.device, options.work) if row not in rows
        ]
    speeds = measured(options.overrides, options.device, options.work, options.tiny)
    name = torch.cuda.get_device_name() if options.device.startswith("cuda") else "the CPU itself"
    options.out.write_text(report(rows, speeds, name, time.perf_counter() - begun))
    print(options.out.read_text())
    if not all(row.agrees for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
