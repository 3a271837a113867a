"""What ``plan`` predicts for a cluster, next to the times and sizes that others reported for MS MARCO.

``python -m experiments.speed.cluster_plan`` writes experiments/results/cluster_plan.md. It needs neither data nor GPUs.
Each row is planned with an ordinary configuration of this project that stands for the reported run. One row calibrates
the share of a GPU's peak, so it is no check, and says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from colbertv2.configuration.composition import EXPERIMENTS, runtime_of
from colbertv2.configuration.points import collect
from colbertv2.planning.cluster import ClusterCost, estimate_on_cluster
from colbertv2.planning.declared import with_declared
from colbertv2.planning.gpus import GPU, PEAK_SHARE, table
from colbertv2.reporting.rendering import markdown_rows

MODULE = "experiments.speed.cluster_plan"
RATES = ("memory", "bandwidth", "fp32", "tf32", "fp16", "bf16")
OUT = EXPERIMENTS / "results" / "cluster_plan.md"
ROUND1 = ["pipeline=round1", "target=round1", "model=bert_base", "training.round1.precision=16-mixed"]
INDEX = ["pipeline=untrained", "target=index", "model=colbertv2"]
GIB, HOUR = 2**30, 3600.0


@dataclass(frozen=True)
class Reported:
    """A figure that somebody reported.

    Args:
        what: the run.
        value: the figure, in ``unit``.
        unit: ``hours`` of wall time, or ``GiB`` on disk.
        steps: the steps of the plan that it is about; the sum of their values is compared.
        overrides: the configuration that stands for the run.
        source: where it was reported.
        gpu, number: the GPUs.
        calibrates: whether the assumed share of a GPU's peak was chosen so that this row fits.
    """

    what: str
    value: float
    unit: str
    steps: Sequence[str]
    overrides: Sequence[str]
    source: str
    gpu: str = "a100-40gb"
    number: int = 1
    calibrates: bool = False

    def predicted(self) -> float:
        """What the plan says, in ``unit``."""
        found = [step for step in planned(self) if step.key.removeprefix("pipeline.") in self.steps]
        assert len(found) == len(self.steps), f"{self.what}: the plan has no step of {self.steps}"
        if self.unit == "hours":
            return sum(step.seconds or math.nan for step in found) / HOUR
        return sum(step.disk or math.nan for step in found) / GIB


REPORTED = [
    Reported(
        "training with 32 passages per query (JaColBERTv2)", 20, "hours", ["round2.checkpoint"],
        ["target=round2.checkpoint", "model=bert_base", "teacher=msmarco_minilm", "training@training.round2=colbertv2",
         "training.round2.n_way=32", "training.round2.optimization.steps=250000"],
        "model card of bclavie/JaColBERTv2 (250k steps, batch 32, 31 negatives); answer.ai, 2024-08-02 (20 hours on 8 "
        "A100)", "a100-40gb", 8, calibrates=True,
    ),
    Reported(
        "training with 32 passages per query (JaColBERTv2.5)", 15, "hours", ["round2.checkpoint"],
        ["target=round2.checkpoint", "model=bert_base", "teacher=msmarco_minilm",
         "training@training.round2=jacolbertv25"],
        "JaColBERTv2.5, arXiv:2407.20750, abstract (under 15 hours on 4 A100)", "a100-40gb", 4,
    ),
    Reported(
        "training with triples (ColBERTv1.0 for Spanish, German and Portuguese)", 12, "hours", ["round1"],
        [*ROUND1, "training.round1.batch_size=96", "training.round1.n_way=2",
         "training.round1.optimization.steps=200000"],
        "model cards of AdrienB134/ColBERTv1.0-bert-based-spanish-mmarcoES, -german-mmarcoDE and "
        "-BERTugues-base-portuguese-mmarcoPT (200k steps, batch 96, one A100 40 GB, about 12 hours each)", "a100-40gb",
    ),
    Reported(
        "training with triples (ColBERTv2.0 for Spanish)", 60, "hours", ["round1"],
        [*ROUND1, "training.round1.batch_size=64", "training.round1.n_way=2",
         "training.round1.optimization.steps=200000"],
        "model card of AdrienB134/ColBERTv2.0-spanish-mmarcoES (two T4, batch 64, about 60 hours), and its "
        "artifact.metadata (200k steps, 2 passages per query)", "t4", 2,
    ),
    Reported(
        "encoding MS MARCO (ColBERT)", 3, "hours", ["embeddings"], [*INDEX, "target=embeddings"],
        "ColBERT, arXiv:2004.12832, §4.5 and §4.1.3 (about three hours, four TITAN V); taken as 32-bit", "titan-v", 4,
    ),
    Reported("fp16 vectors of MS MARCO", 143, "GiB", ["embeddings"], INDEX, "ColBERT, arXiv:2004.12832, Table 4"),
    Reported("index of MS MARCO, 2 bits", 21.6, "GiB", ["index"], INDEX, "PLAID, arXiv:2205.09707"),
    Reported(
        "index of MS MARCO, 1 bit", 16, "GiB", ["index"], [*INDEX, "codec=residual_1bit"],
        "ColBERTv2, arXiv:2112.01488, §5.3; with the larger inverted list of its own engine, 4.5 GiB",
    ),
]  # fmt: skip


def planned(row: Reported) -> list[ClusterCost]:
    """The plan for the run that a row is about."""
    machine = ["runtime=slurm", f"runtime.gpus_per_node={row.number}", f"runtime.gpu={row.gpu}"]
    with TemporaryDirectory() as root:  # without artifacts, so nothing that was measured here enters
        (point,) = collect(["collection=msmarco", *row.overrides, *machine, f"runtime.root={root}"])
        point = with_declared(point)
        return estimate_on_cluster([point.node], runtime_of(point.config))


def off_by(row: Reported, predicted: float) -> float:
    """The larger one of predicted and reported, divided by the smaller one."""
    return max(predicted / row.value, row.value / predicted)


def report(found: Sequence[tuple[Reported, float]]) -> str:
    """The page: the worst ratios, a table of predicted and reported values, and the table of GPUs.

    Args:
        found: each row with its prediction.
    """
    checks = [one for one in found if not one[0].calibrates]
    times, sizes = ([one for one in checks if one[0].unit == unit] for unit in ("hours", "GiB"))
    time, size = (max(one, key=lambda check: off_by(*check)) for one in (times, sizes))
    short = sum(predicted < row.value for row, predicted in times)
    compared = [
        [
            row.what,
            f"{row.number} × {GPU.named(row.gpu).title}" if row.unit == "hours" else "–",
            f"{predicted:.1f} {row.unit}",
            f"{row.value:g} {row.unit}",
            "calibration" if row.calibrates else f"{predicted / row.value:.2f}",
            row.source,
        ]
        for row, predicted in found
    ]
    rates = [[f"`{name}`", *(shown(getattr(gpu, key)) for key in RATES), gpu.source] for name, gpu in table().items()]
    lines = [
        "# The plan for a cluster, next to what others reported",
        "",
        f"`python -m {MODULE}`",
        "",
        f"- The worst time is off by a factor of {off_by(*time):.1f}: {time[0].what}, {time[1]:.1f} hours predicted, "
        f"{time[0].value:g} reported. {short} of {len(times)} times are predicted too short.",
        f"- The worst size is off by a factor of {off_by(*size):.2f}: {size[0].what}.",
        f"- A transformer is assumed to reach {PEAK_SHARE:.1%} of a GPU's peak. One row served to choose this share; "
        "it is no check.",
        "",
        *markdown_rows(["run", "GPUs", "predicted", "reported", "ratio", "source"], compared, (0, 1, 5), padded=False),
        "",
        "## The GPUs",
        "",
        "10^12 dense operations per second, 10^9 bytes of memory, 10^9 bytes per second.",
        "",
        *markdown_rows(["`runtime.gpu`", *RATES, "source"], rates, (0, 7), padded=False),
    ]
    return "\n".join(lines) + "\n"


def shown(value: float | None) -> str:
    """A number of the table of GPUs, or a dash."""
    return "–" if value is None else f"{value:g}"


def main() -> None:
    """Predict, print, and write the page."""
    text = report([(row, row.predicted()) for row in REPORTED])
    print(text)
    OUT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
