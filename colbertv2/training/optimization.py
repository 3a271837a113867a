"""How the weights are moved: learning rate and its schedule."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from colbertv2.errors import InputError
from colbertv2.schema import Fraction, NonNegativeInt, PositiveInt, checked


@checked
@dataclass(frozen=True)
class Optimization:
    """AdamW with linear warm-up and linear decay to zero (ColBERTv2: 1e-5, 20k of 400k steps).

    Args:
        learning_rate: the peak. warmup_steps, steps: optimizer steps.
        weight_decay: on all weights. dropout: overrides every dropout of the backbone; ``None`` keeps them.
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
        """Share of the peak learning rate at an optimizer step."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        return max(0.0, (self.steps - step) / max(1, self.steps - self.warmup_steps))
