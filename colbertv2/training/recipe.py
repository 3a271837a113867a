"""What a training run is made of, as a training configuration names it."""

import logging
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from colbertv2.errors import InputError
from colbertv2.schema import PositiveInt, Scale, checked
from colbertv2.training.examples import Example, Selected
from colbertv2.training.negatives import NegativeSampling
from colbertv2.training.objectives import Objective
from colbertv2.training.optimization import Optimization

TrainingPrecision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true"]
logger = logging.getLogger(__name__)


@checked
@dataclass(frozen=True)
class Recipe:
    """One training run, as a training configuration names it.

    Args:
        objectives: name → loss; one of weight 0 is as if it were not there. optimization: learning rate, steps.
        n_way: candidates a query, the positive included. negatives: how the others are drawn.
        batch_size: queries in a forward pass, of all devices together.
        gradient_accumulation_steps: batches in an optimizer step; in-batch negatives come from one batch.
        in_batch_groups: equal parts of a batch; in-batch negatives come from the query's own part. The paper's batch
            of 32 on 4 GPUs, each with its own negatives, is ``batch_size=32, in_batch_groups=4``, on however many
            devices it runs. 1 gathers them over all.
        precision: Lightning's ``32-true``, ``bf16-mixed``, ``16-mixed``.
        gradient_clip: largest norm of the gradient. validation_interval: optimizer steps between evaluations.
        validation_queries: dev queries in an evaluation, the same ones each time.
        gradient_cache_chunk: passages encoded at a time; their activations are computed again for the backward pass
            (gradient caching), so that memory does not grow with batch_size × n_way, for a third more work. ``None``
            keeps them all.
        max_examples: train on so many examples, drawn by the seed; ``None`` is all of them.
        gradient_checkpointing: the same within the transformer, layer by layer. compile: ``torch.compile`` it.
    """

    objectives: Mapping[str, Objective]
    optimization: Optimization
    n_way: PositiveInt
    negatives: NegativeSampling
    batch_size: PositiveInt
    gradient_accumulation_steps: PositiveInt
    in_batch_groups: PositiveInt
    precision: TrainingPrecision
    gradient_clip: Scale
    validation_interval: PositiveInt
    validation_queries: PositiveInt
    gradient_cache_chunk: PositiveInt | None
    gradient_checkpointing: bool
    compile: bool
    max_examples: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.max_examples is not None and self.max_examples < self.batch_size:
            raise InputError(
                f"training.max_examples is {self.max_examples}; expected at least the batch of {self.batch_size}."
            )
        if self.optimization.steps % self.validation_interval:
            raise InputError(
                f"training.validation_interval is {self.validation_interval}, which does not divide the "
                f"{self.optimization.steps} steps: the last ones would never be evaluated."
            )
        if not self.losses:
            raise InputError("training.objectives is empty or all of weight 0; name at least one loss.")
        for name, objective in self.losses.items():
            if self.n_way < objective.minimum_candidates:
                raise InputError(
                    f"training.n_way is {self.n_way}, but the objective {name} needs at least "
                    f"{objective.minimum_candidates}."
                )
            if objective.needs_all_pairs and self.batch_size < 2 * self.in_batch_groups:
                raise InputError(
                    f"The objective {name} needs at least 2 queries in each part of a batch, found "
                    f"batch_size={self.batch_size} and in_batch_groups={self.in_batch_groups}."
                )
        if self.batch_size % self.in_batch_groups:
            raise InputError(
                f"training.batch_size is {self.batch_size}; in_batch_groups={self.in_batch_groups} does not divide it."
            )

    @property
    def losses(self) -> dict[str, Objective]:
        """The objectives that take part: a sweep turns one off by weight 0, which must not cost its scores."""
        return {name: objective for name, objective in self.objectives.items() if objective.weight}

    def usable(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Examples with enough negatives, and with teacher scores where an objective needs them; one pass.

        The others are left out, and a warning gives their number: a batch has as many candidates for each query.
        """
        needs_teacher = self.negatives.needs_teacher or any(one.needs_teacher for one in self.losses.values())
        enough, unscored = array("q"), 0
        for place, example in enumerate(examples):
            if len(example.documents) >= self.n_way:
                enough.append(place)
                unscored += not all(score is not None and math.isfinite(score) for score in example.scores)
        if needs_teacher and unscored:
            raise InputError(
                f"{unscored} of {len(enough)} examples lack finite teacher scores, which a distillation objective and "
                "negatives.strategy=teacher need."
            )
        if lacking := len(examples) - len(enough):
            logger.warning(
                "%s of %s examples have fewer than %d negatives and are left out (n_way=%d).",
                f"{lacking:,}", f"{len(examples):,}", self.n_way - 1, self.n_way,
            )  # fmt: skip
        return Selected(examples, enough)
