"""Optimisation: the optimiser, its learning rate, schedule and regularisation."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal

from annotated_types import Interval

from colbertv2.errors import InputError
from colbertv2.schema import Fraction, NonNegativeInt, PositiveInt, checked

Schedule = Literal["linear", "cosine", "wsd"]
OptimizerName = Literal["adamw", "schedule_free", "muon"]
MUON_SINCE = (2, 9)  # version of torch


@checked
@dataclass(frozen=True)
class Optimization:
    """An optimiser, a linear warm-up, a decay to zero (ColBERTv2: AdamW, linear, 1e-5, 20k warm-up steps of 400k).

    Args:
        learning_rate: the peak learning rate.
        warmup_steps: optimizer steps of the warm-up.
        steps: optimizer steps in total.
        weight_decay: the decoupled weight decay of AdamW and Muon, on all weights.
        dropout: probability for every dropout of the backbone; ``None`` keeps the backbone's own.
        schedule: the learning rate after the warm-up: ``linear`` or ``cosine`` (half a period) from the peak to zero;
            or ``wsd``, warm-up–stable–decay: the peak, and in the last steps linear to zero. WSD is of Hu et al. 2024
            (arXiv:2404.06395), its linear decay of Hägele et al. 2024 (arXiv:2405.18392).
        decay_fraction: the fraction of all steps in which ``wsd`` decays, rounded up; the others ignore it. Hu et al.
            find .1 enough.
        moving_average_decay: validate and save an exponential moving average of the weights with this decay per step
            (:class:`~colbertv2.training.moving_average.MovingAverage`); ``None`` takes the weights themselves.
        optimizer: ``adamw``; ``schedule_free``, schedule-free AdamW (Defazio et al. 2024, arXiv:2405.15682), which has
            a warm-up and no decay, and validates and saves the average of its steps; or ``muon``, Muon for the
            matrices of the encoder and AdamW for everything else (:mod:`colbertv2.training.optimizers`).

    Raises:
        InputError: the warm-up is longer than the training, or than what ``wsd``'s decay leaves of it, a value is out
            of range, or ``schedule_free`` has a schedule or a moving average.

    >>> settings = {"learning_rate": 1e-5, "warmup_steps": 2, "steps": 10, "weight_decay": 0.0, "dropout": None}
    >>> [round(Optimization(**settings).factor(step), 2) for step in range(10)]
    [0.5, 1.0, 1.0, 0.88, 0.75, 0.62, 0.5, 0.38, 0.25, 0.12]
    >>> wsd = Optimization(**settings, schedule="wsd", decay_fraction=0.4)
    >>> [round(wsd.factor(step), 2) for step in range(10)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    """

    learning_rate: Annotated[float, Interval(gt=0, le=1)]
    warmup_steps: NonNegativeInt
    steps: PositiveInt
    weight_decay: Fraction
    dropout: Annotated[float, Interval(ge=0, lt=1)] | None
    schedule: Schedule = "linear"
    decay_fraction: Annotated[float, Interval(gt=0, le=1)] = 0.1
    moving_average_decay: Annotated[float, Interval(gt=0, lt=1)] | None = None
    optimizer: OptimizerName = "adamw"
    neutral: ClassVar[dict[str, object]] = {
        "optimizer": "adamw",
        "schedule": "linear",
        "decay_fraction": 0.1,
        "moving_average_decay": None,
    }

    def __post_init__(self) -> None:
        if self.warmup_steps > self.steps:
            raise InputError(f"warmup_steps is {self.warmup_steps}; expected at most the {self.steps} steps.")
        if self.schedule == "wsd" and self.warmup_steps > self.steps - self.decay_steps:
            raise InputError(
                f"warmup_steps is {self.warmup_steps}; expected at most {self.steps - self.decay_steps}, as "
                f"schedule=wsd decays in the last {self.decay_steps} of {self.steps} steps "
                f"(decay_fraction={self.decay_fraction:g})."
            )

        if self.optimizer == "schedule_free":
            if self.schedule != "linear":
                raise InputError(
                    f"schedule is {self.schedule}, but optimizer=schedule_free has no decay; leave schedule at linear, "
                    "the default, which it ignores."
                )
            if self.moving_average_decay is not None:
                raise InputError(
                    f"moving_average_decay is {self.moving_average_decay:g}, but optimizer=schedule_free saves an "
                    "average already; expected null."
                )

    def lacks(self) -> Iterator[str]:
        """Say what the optimiser needs and this machine lacks."""
        if self.optimizer == "schedule_free" and find_spec("schedulefree") is None:
            yield "optimizer=schedule_free needs the package schedulefree; run: pip install 'colbertv2[schedule_free]'"
        if self.optimizer == "muon" and tuple(map(int, version("torch").split(".")[:2])) < MUON_SINCE:
            yield f"optimizer=muon needs torch 2.9 or newer, found {version('torch')}; update it, or use another one."

    @property
    def decay_steps(self) -> int:
        """The number of steps in which the learning rate decays."""
        if self.schedule == "wsd":
            return math.ceil(round(self.decay_fraction * self.steps, 6))  # 0.07 · 100 is a little more than 7
        return self.steps - self.warmup_steps

    def factor(self, step: int) -> float:
        """Return the share of the peak learning rate at an optimizer step, from 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        left = min(1.0, max(0, self.steps - step) / max(1, self.decay_steps))  # of the decay
        return left if self.schedule != "cosine" else (1 - math.cos(math.pi * left)) / 2
