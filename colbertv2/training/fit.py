"""Train a ranker, either ColBERT or the cross-encoder teacher, with one Lightning module.

Training evaluates the ranker at step 0, keeps the checkpoint with the best dev metric, and resumes an interrupted run.
The metric is RR@10 over candidates, or that of a search (:mod:`colbertv2.training.search_validation`).
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from colbertv2.errors import InputError
from colbertv2.files import write_json
from colbertv2.lifetime import listening
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.cross_encoder import CrossEncoder
from colbertv2.parallel import meeting_point, run_on
from colbertv2.runtime import Runtime, WatchedTraining, quieten
from colbertv2.team import machines
from colbertv2.training.data import (
    DevBatch,
    DevBatches,
    TextLookup,
    TrainingBatch,
    TrainingBatches,
    sampled,
    sampled_dev,
    spans_processes,
)
from colbertv2.training.examples import Example
from colbertv2.training.logs import name_of
from colbertv2.training.objectives import Scores
from colbertv2.training.optimizers import optimizer_for
from colbertv2.training.recipe import DEV_METRIC, MAXSIM, Recipe
from colbertv2.training.search_validation import SearchedSet, search_values
from colbertv2.training.trainer import (
    ProcessPlace,
    best_of,
    dev_trainer,
    newest_checkpoint,
    read_checkpoint,
    training_trainer,
)

Ranker = ColBERT | CrossEncoder  # both tokenise tuples (collate) and score them (batch_scores)


class RankingModule(lightning.LightningModule):
    """Train a ranker with a weighted sum of objectives, and validate it by RR@10 over given candidates.

    Args:
        ranker: ColBERT or CrossEncoder.
        recipe: the training run; the names of its objectives label the logged losses.
        seed: the seed of dropout, which depends only on the seed, the step and the process, so that a resumed run
            continues as if it had not been interrupted.
        searched: what ``recipe.search_validation`` searches; may be empty.
        batch_tokens: tokens per batch when documents are encoded for that.
    """

    def __init__(
        self,
        ranker: Ranker,
        recipe: Recipe,
        seed: int,
        searched: Sequence[SearchedSet] = (),
        batch_tokens: int = 2048,
    ):
        super().__init__()
        self.recipe, self.searched, self.batch_tokens = recipe, searched, batch_tokens
        self.ranker: Ranker = ranker.train()  # from_pretrained sets eval mode, and Lightning would keep it
        self.objectives = recipe.losses
        self.optimization = optimization = recipe.optimization
        self.seed = seed
        ranker.gradient_cache_chunk = recipe.gradient_cache_chunk
        if recipe.gradient_checkpointing:
            ranker.transformer.gradient_checkpointing_enable({"use_reentrant": False})
        if recipe.compile:
            ranker.transformer.compile(dynamic=True)
        self.interaction = recipe.interaction
        needed = any(objective.needs_all_pairs for objective in self.objectives.values())
        self.all_pairs = needed or self.interaction.needs_all_pairs
        self.log_temperature: torch.nn.Parameter | None = None
        if self.interaction.initial_temperature is not None:
            self.log_temperature = torch.nn.Parameter(torch.tensor(math.log(self.interaction.initial_temperature)))
        if optimization.dropout is not None:
            for name, module in ranker.named_modules():
                if isinstance(module, torch.nn.Dropout) and "lora_dropout" not in name:
                    module.p = optimization.dropout

    def training_step(self, batch: TrainingBatch) -> Tensor:
        state = np.random.SeedSequence([self.seed, batch.step, self.global_rank]).generate_state(1)
        torch.manual_seed(int(state[0]))
        scores = [Scores(own, batch.teacher, every, batch.excluded) for own, every in self.scores(batch)]
        losses = {name: self.interaction.mean(map(objective, scores)) for name, objective in self.objectives.items()}
        loss = torch.stack([objective.weight * losses[name] for name, objective in self.objectives.items()]).sum()
        if not torch.isfinite(loss):
            found = ", ".join(f"{name} {value.item():g}" for name, value in losses.items())
            raise InputError(
                f"The loss of batch {batch.step} is not finite ({found}); its queries: {', '.join(batch.query_ids)}. "
                "The batch changed no weights, and the last good checkpoint is kept; check these queries' teacher "
                "scores, or lower the learning rate."
            )
        for name, value in losses.items():
            self.log(f"train/{name}", value.detach(), batch_size=len(batch.query_ids), sync_dist=True)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch.query_ids), sync_dist=True)
        return loss

    def scores(self, batch: TrainingBatch) -> list[tuple[Tensor, Tensor | None]]:
        """The scores of a batch, divided by the temperature if one is learned: one entry for each of ``dims``."""
        if not isinstance(self.ranker, ColBERT):
            return [self.ranker.batch_scores(batch.inputs, self.all_pairs)]
        found = self.interaction.scores(self.ranker, batch.inputs, self.all_pairs)
        if self.log_temperature is None:
            return found
        with torch.no_grad():  # before every batch, so that a training which is resumed does the same
            self.log_temperature.clamp_(min=math.log(self.interaction.minimum_temperature))
        temperature = self.log_temperature.exp()
        self.log("train/temperature", temperature.detach(), batch_size=len(batch.query_ids))
        return [(own / temperature, None if every is None else every / temperature) for own, every in found]

    def validation_step(self, batch: DevBatch | None) -> None:
        if batch is None:  # there is only a search
            return
        if isinstance(self.ranker, ColBERT):
            own = self.interaction.validation_scores(self.ranker, batch.inputs)
        else:
            own, _ = self.ranker.batch_scores(batch.inputs, all_pairs=False)
        value = reciprocal_rank(own, batch.relevance).mean()
        self.log(DEV_METRIC, value * batch.weight, prog_bar=True, batch_size=len(own))
        if batch.part:
            self.log(f"dev/{batch.part}/RR@10", value, batch_size=len(own))

    def on_validation_epoch_end(self) -> None:
        """Search, if it is time to."""
        validation = self.recipe.search_validation
        if validation is None or self.trainer.global_step % self.recipe.search_interval:
            return
        assert isinstance(self.ranker, ColBERT)
        reduction = self.interaction.reduction
        self.log_dict(
            search_values(self.ranker, validation, self.searched, self.batch_tokens, self.recipe.precision, reduction)
        )

    def configure_optimizers(self):
        fused = self.trainer.precision != "16-mixed"  # whose gradients a fused step would scale back after the clipping
        others: list[dict[str, Any]] = []
        if self.log_temperature is not None:
            rate = self.interaction.temperature_learning_rate
            others.append({"params": [self.log_temperature], "lr": rate, "weight_decay": 0.0})
        optimizer = optimizer_for(self.ranker.parameters(), others, self.ranker.transformer, self.optimization, fused)
        if self.optimization.optimizer == "schedule_free":  # its warm-up is in its average, too
            return optimizer
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.optimization.factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm. Lightning would refuse a fused step in bf16-mixed too, where no gradient is scaled."""
        assert gradient_clip_val is not None
        torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)


def reciprocal_rank(scores: Tensor, relevance: Tensor, cutoff: int = 10) -> Tensor:
    """Return RR@cutoff of each row, ``[B]`` float32, from ``[B, n]`` scores and relevance (1 or 0).

    Ties count against the ranker, so that constant scores do not look good.

    >>> reciprocal_rank(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([0.3333])
    """
    best = scores.masked_fill(relevance != 1, float("-inf")).amax(-1, keepdim=True)
    rank = 1 + ((scores >= best) & (relevance == 0)).sum(-1)
    return torch.where(rank <= cutoff, 1 / rank, torch.zeros_like(rank, dtype=torch.float32))


def fit(
    ranker: Ranker,
    recipe: Recipe,
    examples: Sequence[Example],
    validation: Sequence[Example],
    training_texts: TextLookup,
    validation_texts: TextLookup,
    *,
    seed: int,
    out: Path,
    runtime: Runtime,
) -> None:
    """Train ``ranker`` and save it to ``out`` with the weights of the best dev metric, including those of step 0.

    The metric is RR@10 over the candidates of the dev set, or that of ``recipe.search_validation``. Without either, the
    last weights are saved. ``out`` also gets ``log*/metrics.csv`` (losses and dev metrics by step) and
    ``summary.json``: numbers of examples, the metric before training and at the best step, with a search all metrics
    before training, and with ``recipe.patience`` the steps that were taken. If ``out`` has a checkpoint of an
    interrupted run, training continues from it. It listens to warnings that its job is about to be ended
    (:mod:`colbertv2.lifetime`): then it writes a checkpoint and stops.

    Args:
        ranker: the model to train, in place.
        recipe: objectives, optimisation and batches.
        examples: the training examples; those with too few negatives are left out.
        validation: the dev set; may be empty.
        training_texts, validation_texts: look up the texts of the two.
        seed: the seed of everything random in the run.
        out: the directory to write to.
        runtime: devices and progress bars.

    Raises:
        InputError: there are too few examples, they lack teacher scores that an objective needs, the devices do not
            divide the batch size, a loss is not finite, or a cross-encoder is to search or has an interaction.
        Preempted: it stopped as its job is about to be ended.
    """
    if recipe.search_validation is not None and not isinstance(ranker, ColBERT):
        raise InputError("search_validation is set, but only ColBERT can search; a cross-encoder ranks candidates.")
    if recipe.interaction != MAXSIM and not isinstance(ranker, ColBERT):
        raise InputError("interaction is set, but only ColBERT has token vectors; a cross-encoder needs maxsim.")
    quieten()
    lightning.seed_everything(seed, verbose=False)
    usable = recipe.usable(examples)
    if recipe.max_examples is not None:
        usable = sampled(usable, recipe.max_examples, seed)
    if recipe.batch_size % (number := runtime.devices * machines()):
        where = f" ({runtime.devices} on each of {machines()} machines)" if machines() > 1 else ""
        raise InputError(
            f"training.batch_size is {recipe.batch_size}; expected a multiple of the {number} devices{where}. Change "
            f"the batch size, runtime.devices{' or the number of machines' if where else ''}."
        )
    if recipe.lora is not None:
        recipe.lora.add(ranker.transformer, seed)
    checkpoints = out / "checkpoints"
    resume = newest_checkpoint(checkpoints)
    dev_examples = sampled_dev(validation, validation_texts, recipe.validation_queries, seed)
    searched = recipe.search_validation.sets() if recipe.search_validation else []
    metric = recipe.deciding_metric(bool(dev_examples))
    before: dict[str, float] = {}
    start = {}
    if dev_examples or searched:
        dev = dev_loader(ranker, dev_examples, validation_texts)
        module = RankingModule(ranker, recipe, seed, searched, runtime.batch_tokens)
        (metrics,) = dev_trainer(recipe, runtime).validate(module, dev, verbose=False)
        before = {name: float(value) for name, value in metrics.items()}
        start = {name: tensor.clone() for name, tensor in ranker.state_dict().items()} if metric else {}
    texts = training_texts, validation_texts
    address, training = meeting_point(), WatchedTraining(name_of(out), 0, runtime, before)
    given = address, ranker, recipe, usable, dev_examples, searched, texts, resume, seed, out, training
    with listening():
        run_on(runtime.devices, train, *given)
    last = newest_checkpoint(checkpoints)
    assert last is not None
    final = read_checkpoint(last)
    found = best_of(final)
    assert found is not None
    path, best = found
    state = read_checkpoint(checkpoints / path.name)["state_dict"]
    trained = {name.removeprefix("ranker."): one for name, one in state.items() if name.startswith("ranker.")}
    ranker.load_state_dict(trained if metric is None or best > before[metric] else start)
    if recipe.lora is not None:
        recipe.lora.merge(ranker.transformer)
    ranker.save(out)
    steps = final["global_step"]
    shutil.rmtree(checkpoints)
    summary: dict[str, Any] = {
        "examples": len(usable),
        "left_out": len(examples) - len(usable),
        "dev_before": None if metric is None else before[metric],
        "dev_best": None if metric is None else best,
    }
    if searched:
        summary |= {"dev_metric": metric, "before": before}
    if recipe.patience:
        summary["steps"] = steps
    write_json(out / "summary.json", summary)


def train(
    rank: int,
    world: int,
    address: tuple[str, int],
    ranker: Ranker,
    recipe: Recipe,
    examples: list[Example],
    dev_examples: list[Example],
    searched: list[SearchedSet],
    texts: tuple[TextLookup, TextLookup],
    resume: Path | None,
    seed: int,
    out: Path,
    training: WatchedTraining,
) -> None:
    """Train as process ``rank`` of ``world``; the result is in the checkpoints in ``out``.

    Args:
        rank, world: number of this process, and how many there are.
        address: the host and TCP port that the processes connect on.
        ranker: the model to train.
        recipe: objectives, optimisation and batches.
        examples, dev_examples: the training examples and the dev set.
        searched: what ``recipe.search_validation`` searches; may be empty.
        texts: look up the texts of the two.
        resume: a checkpoint to continue from, or None.
        seed: the seed of everything random in the run.
        out: the directory to write to.
        training: its name, the metrics before the first step, devices, progress bars and loggers.

    Raises:
        Preempted: it stopped, with a checkpoint, as the job is about to be ended.
    """
    quieten()  # this may be a new process
    lightning.seed_everything(seed, verbose=False)
    if isinstance(ranker, ColBERT):
        ranker.gather = world > 1 and spans_processes(recipe.in_batch_groups, world)
    first = read_checkpoint(resume)["global_step"] if resume else 0
    batches = TrainingBatches(
        examples,
        texts[0],
        ranker.collate,
        n_way=recipe.n_way,
        negatives=recipe.negatives,
        batch_size=recipe.batch_size,
        groups=recipe.in_batch_groups,
        steps=recipe.optimization.steps * recipe.gradient_accumulation_steps,
        seed=seed,
        first=first * recipe.gradient_accumulation_steps,
    )
    dev = dev_loader(ranker, dev_examples, texts[1]) if dev_examples or searched else None
    place = ProcessPlace(rank, world, training.runtime.devices, address)
    trainer = training_trainer(place, recipe, bool(dev_examples), out, replace(training, first=first))
    module = RankingModule(ranker, recipe, seed, searched, training.runtime.batch_tokens)
    trainer.fit(module, DataLoader(batches, batch_size=None), dev, ckpt_path=resume, weights_only=True)


def dev_loader(ranker: Ranker, examples: Sequence[Example], texts: TextLookup) -> DataLoader:
    """Return a loader that yields the dev queries with their candidates, one by one; if there are none, ``None``."""
    if not examples:  # without a batch, Lightning would not validate at all
        return DataLoader([None], batch_size=None)  # pyright: ignore[reportArgumentType]
    return DataLoader(DevBatches(examples, texts, ranker.collate), batch_size=None)
