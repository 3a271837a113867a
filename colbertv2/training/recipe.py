"""``Recipe``: the settings of a training run, as in a training configuration."""

import logging
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from colbertv2.errors import InputError
from colbertv2.schema import PositiveInt, Scale, checked
from colbertv2.training.examples import Example, Selected
from colbertv2.training.interaction import LateInteraction
from colbertv2.training.lora import LoRA
from colbertv2.training.negatives import NegativeSampling
from colbertv2.training.objectives import Objective
from colbertv2.training.optimization import Optimization
from colbertv2.training.search_validation import SearchValidation

DEV_METRIC = "dev/RR@10"  # over the candidates of the dev queries
MAXSIM = LateInteraction()
TrainingPrecision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true"]
logger = logging.getLogger(__name__)


@checked
@dataclass(frozen=True)
class Recipe:
    """The settings of a training run, as in a training configuration.

    Args:
        objectives: name → loss; a loss of weight 0 is left out.
        optimization: learning rate, schedule and steps.
        n_way: candidates per query, including the positive.
        negatives: how the negatives are sampled.
        batch_size: queries in a forward pass, over all devices.
        gradient_accumulation_steps: batches per optimizer step; in-batch negatives come from one batch.
        in_batch_groups: number of equal parts of a batch; in-batch negatives come from the query's own part. The
            paper's batch of 32 on 4 GPUs, each with its own negatives, is ``batch_size=32, in_batch_groups=4``, on any
            number of devices. With 1, in-batch negatives come from the complete batch.
        precision: Lightning's ``32-true``, ``bf16-mixed``, ``16-mixed`` or ``bf16-true``.
        gradient_clip: maximum norm of the gradient.
        validation_interval: optimizer steps between evaluations.
        validation_queries: number of dev queries in an evaluation, the same ones each time.
        gradient_cache_chunk: passages encoded at a time; their activations are computed again for the backward pass
            (gradient caching), so that memory does not grow with batch_size × n_way, at the cost of a third more
            computation. If ``None``, all activations are kept.
        gradient_checkpointing: recompute activations within the transformer, layer by layer, to save memory.
        compile: whether to compile the transformer with ``torch.compile``.
        max_examples: train on at most this many examples, sampled with the seed; ``None`` uses all.
        search_validation: also validate by real search over small collections, and maybe choose the weights by that; a
            choice of the group ``validation``. ``None`` searches nothing.
        patience: stop after this many validations in a row without a better value of the metric that chooses the
            weights; ``None`` takes all steps.
        interaction: how scores are computed from vectors; a choice of the group ``interaction``. Only for ColBERT.
        lora: train low-rank updates of the encoder's matrices; a choice of the group ``lora``. ``None`` trains all
            weights.

    Raises:
        InputError: there is no loss, or the settings do not fit each other.
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
    search_validation: SearchValidation | None = None
    patience: PositiveInt | None = None
    interaction: LateInteraction = MAXSIM
    lora: LoRA | None = None
    neutral: ClassVar[dict[str, Any]] = {"interaction": MAXSIM, "lora": None}

    def __post_init__(self) -> None:
        if self.max_examples is not None and self.max_examples < self.batch_size:
            raise InputError(
                f"training.max_examples is {self.max_examples}; expected at least the batch size {self.batch_size}."
            )
        if self.optimization.steps % self.validation_interval:
            raise InputError(
                f"training.validation_interval is {self.validation_interval}, which does not divide the "
                f"{self.optimization.steps} steps: the last ones would never be evaluated."
            )
        if self.optimization.steps % self.search_interval or self.search_interval % self.validation_interval:
            raise InputError(
                f"search_validation.interval is {self.search_interval}; expected a multiple of validation_interval "
                f"({self.validation_interval}) that divides the {self.optimization.steps} steps, or null."
            )
        if not self.losses:
            raise InputError("training.objectives is empty or has only weights of 0; name at least one loss.")
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
        scaling = [name for name, value in self.interaction.scaling.items() if value]
        if scaling and all(getattr(objective, "ignores_scale", False) for objective in self.losses.values()):
            raise InputError(
                f"training.interaction.{scaling[0]} is set, but every objective normalises the student's scores, so it "
                "changes nothing; set it to its default, or student_normalisation=none."
            )
        if problems := list(self.interaction.batch_problems(self.batch_size, self.in_batch_groups)):
            raise InputError("\n".join(problems))
        if self.batch_size % self.in_batch_groups:
            raise InputError(
                f"training.batch_size is {self.batch_size}; in_batch_groups={self.in_batch_groups} does not divide it."
            )

    @property
    def losses(self) -> dict[str, Objective]:
        """The objectives whose weight is not 0; a sweep can turn one off without the cost of its scores."""
        return {name: objective for name, objective in self.objectives.items() if objective.weight}

    @property
    def search_interval(self) -> int:
        """Optimizer steps between two searches of ``search_validation``."""
        return (self.search_validation and self.search_validation.interval) or self.validation_interval

    @property
    def deciding_interval(self) -> int:
        """Optimizer steps between two values of the metric that chooses the weights."""
        selects = self.search_validation is not None and self.search_validation.selects
        return self.search_interval if selects else self.validation_interval

    def deciding_metric(self, has_dev: bool) -> str | None:
        """The name of the metric that chooses the weights; None if the last weights are kept.

        Args:
            has_dev: whether there are dev queries with candidates.
        """
        if self.search_validation is not None and self.search_validation.selects:
            return self.search_validation.metric
        return DEV_METRIC if has_dev else None

    def lacks(self) -> Iterator[str]:
        """Say what the training needs and this machine lacks."""
        yield from self.optimization.lacks()
        if self.lora is not None:
            yield from self.lora.lacks()

    def usable(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Return the examples with at least ``n_way`` − 1 negatives; they are read once.

        The others are left out, with a warning that has their number, as every query in a batch has ``n_way``
        candidates.

        Raises:
            InputError: an example lacks teacher scores that an objective or the sampling of negatives needs.
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
