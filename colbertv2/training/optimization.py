"""Optimisation: learning rate, schedule and regularisation."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from colbertv2.errors import InputError
from colbertv2.schema import Fraction, NonNegativeInt, PositiveInt, checked


@checked
@dataclass(frozen=True)
class Optimization:
    """AdamW with linear warm-up and linear decay to zero (ColBERTv2: 1e-5, 20k warm-up steps of 400k).

    Args:
        learning_rate: the peak learning rate.
        warmup_steps: optimizer steps of the warm-up.
        steps: optimizer steps in total.
        weight_decay: AdamW's weight decay, on all weights.
        dropout: probability for every dropout of the backbone; ``None`` keeps the backbone's own.

    Raises:
        InputError: the warm-up is longer than the training, or a value is out of range.
    """

    learning_rate: Annotated[float, Interval(gt=0, le=1)]
    warmup_steps: NonNegativeInt
    steps: PositiveInt
    weight_decay: Fraction
    dropout: Annotated[float, Interval(ge=0, lt=1)] | None

    def __post_init__(self) -> None:
        if self.warmup_steps > self.steps:
            raise InputError(f"warmup_steps is {self.warmup_steps}; expected at most the {self.steps} steps.")

    def factor(self, step: int) -> float:
        """Return the share of the peak learning rate at an optimizer step, from 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        return max(0.0, (self.steps - step) / max(1, self.steps - self.warmup_steps))
