"""Run Lightning's trainer over a ranker: step-0 evaluation, best checkpoint by a dev metric, resume."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from torch.utils.data import DataLoader

from colbertv2.errors import InputError
from colbertv2.runtime import Runtime
from colbertv2.training.data import TextLookup, TrainingBatches, ValidationBatches, sampled
from colbertv2.training.examples import Example
from colbertv2.training.module import Optimization, Ranker, RankingModule
from colbertv2.training.objectives import Objective


@dataclass(frozen=True)
class Recipe:
    """One training run, as a training configuration names it.

    Args:
        objectives: name → loss. optimization: learning rate, steps.
        n: candidates a query, the positive included. batch_size: queries in a forward pass.
        accumulate: batches in an optimizer step; in-batch negatives come from one batch.
        precision: Lightning's ``32-true``, ``bf16-mixed``, ``16-mixed``.
        gradient_clip: largest norm of the gradient. validation_interval: optimizer steps between evaluations.
        validation_queries: dev queries in an evaluation, the same ones each time.
    """

    objectives: Mapping[str, Objective]
    optimization: Optimization
    n: int
    batch_size: int
    accumulate: int
    precision: str
    gradient_clip: float
    validation_interval: int
    validation_queries: int

    def __post_init__(self) -> None:
        if not self.objectives:
            raise InputError("training.objectives is empty; name at least one loss.")
        for name, objective in self.objectives.items():
            if self.n < objective.minimum_candidates:
                raise InputError(
                    f"training.n is {self.n}, but the objective {name} needs at least {objective.minimum_candidates}."
                )
            if objective.needs_all_pairs and self.batch_size < 2:
                raise InputError(
                    f"The objective {name} needs a batch of at least 2 queries, found batch_size={self.batch_size}."
                )

    def usable(self, examples: Sequence[Example]) -> list[Example]:
        """Examples with enough negatives, and with teacher scores where an objective needs them."""
        enough = [example for example in examples if len(example.documents) >= self.n]
        if any(objective.needs_teacher for objective in self.objectives.values()):
            unscored = sum(any(score != score for score in example.scores) for example in enough)
            if unscored:
                raise InputError(
                    f"{unscored} of {len(enough)} examples lack teacher scores, which a distillation objective needs."
                )
        return enough


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
    """Train ``ranker`` in place and leave it with the weights of the best dev RR@10 (the last, without a dev set).

    Writes ``log/metrics.csv`` (losses and dev metric by step) and ``summary.json`` to ``out``. An interrupted
    run finds its ``last.ckpt`` in ``out`` and goes on from there.
    """
    lightning.seed_everything(seed, verbose=False)
    usable = recipe.usable(examples)
    checkpoints = out / "checkpoints"
    last = checkpoints / "last.ckpt"
    resume = last if last.exists() else None
    first = torch.load(resume, weights_only=True, map_location="cpu")["global_step"] if resume else 0
    batches = TrainingBatches(
        usable,
        training_texts,
        ranker.collate,
        n=recipe.n,
        batch_size=recipe.batch_size,
        steps=recipe.optimization.steps * recipe.accumulate,
        seed=seed,
        first=first * recipe.accumulate,
    )
    module = RankingModule(ranker, recipe.objectives, recipe.optimization)
    dev_examples = sampled(validation, recipe.validation_queries, seed)
    dev = (
        DataLoader(ValidationBatches(dev_examples, validation_texts, ranker.collate), batch_size=None)
        if dev_examples
        else None
    )
    interval = min(recipe.validation_interval, recipe.optimization.steps)
    keep = [ModelCheckpoint(checkpoints, save_last=True, save_top_k=0, every_n_train_steps=interval)]
    if dev:
        keep.append(
            ModelCheckpoint(
                checkpoints,
                "best",
                monitor="dev/RR@10",
                mode="max",
                save_weights_only=True,
                save_on_train_epoch_end=False,
            )
        )
    trainer = lightning.Trainer(
        accelerator="auto" if runtime.device == "auto" else runtime.torch_device.type,
        devices=1,
        precision=recipe.precision,  # pyright: ignore[reportArgumentType] (Lightning checks the name)
        max_steps=recipe.optimization.steps,
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.gradient_clip,
        val_check_interval=interval * recipe.accumulate if dev else None,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if dev else 0,
        num_sanity_val_steps=0,
        logger=loggers(out, runtime),
        log_every_n_steps=5,
        callbacks=[*keep, *([TQDMProgressBar(leave=True)] if runtime.progress else [])],
        enable_progress_bar=runtime.progress,
        enable_model_summary=False,
        default_root_dir=out,
    )
    before = float(trainer.validate(module, dev, verbose=False)[0]["dev/RR@10"]) if dev else None
    start = {name: tensor.clone() for name, tensor in ranker.state_dict().items()} if dev else {}
    trainer.fit(module, DataLoader(batches, batch_size=None), dev, ckpt_path=resume, weights_only=True)
    best = float(keep[-1].best_model_score or 0.0) if dev else None
    if before is not None and best is not None:
        weights = torch.load(keep[-1].best_model_path, weights_only=True, map_location="cpu")["state_dict"]
        trained = {name.removeprefix("ranker."): tensor for name, tensor in weights.items()}
        ranker.load_state_dict(trained if best > before else start)
    shutil.rmtree(checkpoints)
    summary = {"examples": len(usable), "left_out": len(examples) - len(usable), "dev_before": before, "dev_best": best}
    (out / "summary.json").write_text(json.dumps(summary, indent=2))


def loggers(out: Path, runtime: Runtime) -> list[Logger]:
    """CSV always (the artifact keeps it), wandb as the runtime says."""
    chosen: list[Logger] = [CSVLogger(out, name="", version="log")]
    if runtime.wandb != "disabled":
        runtime.root.mkdir(parents=True, exist_ok=True)
        name = out.name.strip(".").removesuffix(".partial")
        chosen.append(
            WandbLogger(name=name, project="colbertv2", save_dir=runtime.root, offline=runtime.wandb == "offline")
        )
    return chosen
