"""How the weights are moved: learning rate and its schedule."""

from dataclasses import dataclass

from colbertv2.errors import InputError


@dataclass(frozen=True)
class Optimization:
    """AdamW with linear warm-up and linear decay to zero (ColBERTv2: 1e-5, 20k of 400k steps).

    Args:
        learning_rate: the peak. warmup_steps, steps: optimizer steps.
        weight_decay: on all weights. dropout: overrides every dropout of the backbone; ``None`` keeps them.
    """

    learning_rate: float
    warmup_steps: int
    steps: int
    weight_decay: float
    dropout: float | None

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup_steps <= self.steps:
            raise InputError(
                f"steps={self.steps}, warmup_steps={self.warmup_steps}; "
                "expected steps ≥ 1 and 0 ≤ warmup_steps ≤ steps."
            )
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate}; expected a number above 0.")

    def factor(self, step: int) -> float:
        """Share of the peak learning rate at an optimizer step."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        return max(0.0, (self.steps - step) / max(1, self.steps - self.warmup_steps))
