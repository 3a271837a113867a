"""Run Lightning's trainer over a ranker: step-0 evaluation, best checkpoint by a dev metric, resume."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as lightning
import torch
import wandb
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.profilers import SimpleProfiler
from pytorch_lightning.strategies import DDPStrategy
from torch.utils.data import DataLoader

from colbertv2.distributed import input_errors
from colbertv2.errors import InputError
from colbertv2.files import write_json
from colbertv2.modeling.colbert import ColBERT
from colbertv2.runtime import Runtime
from colbertv2.training.data import DevBatches, TextLookup, TrainingBatches, sampled, spans_processes
from colbertv2.training.examples import Example
from colbertv2.training.module import Ranker, RankingModule
from colbertv2.training.recipe import Recipe


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
    """Train ``ranker`` and save it to ``out`` with the weights of the best dev RR@10, step 0 among them.

    Without a dev set the last weights are saved. Writes ``log*/metrics.csv`` (losses and dev metric by step) and
    ``summary.json`` too. An interrupted run finds its last checkpoint in ``out`` and goes on from there.
    """
    lightning.seed_everything(seed, verbose=False)
    usable = recipe.usable(examples)
    if recipe.max_examples is not None:
        usable = sampled(usable, recipe.max_examples, seed)
    checkpoints = out / "checkpoints"
    resume = checkpoints / "last.ckpt" if (checkpoints / "last.ckpt").exists() else None
    first = torch.load(resume, weights_only=True, map_location="cpu")["global_step"] if resume else 0
    batches = TrainingBatches(
        usable,
        training_texts,
        ranker.collate,
        n_way=recipe.n_way,
        negatives=recipe.negatives,
        batch_size=recipe.batch_size,
        groups=recipe.in_batch_groups,
        steps=recipe.optimization.steps * recipe.gradient_accumulation_steps,
        seed=seed,
        first=first * recipe.gradient_accumulation_steps,
    )
    module = RankingModule(ranker, recipe, seed)
    dev_examples = sampled(validation, recipe.validation_queries, seed)
    dev_batches = DevBatches(dev_examples, validation_texts, ranker.collate)
    dev = DataLoader(dev_batches, batch_size=None) if dev_examples else None
    keep = checkpointing(checkpoints, recipe, has_dev=dev is not None)
    device = runtime.torch_device
    one_device = [device.index or 0] if device.type == "cuda" else 1
    several = runtime.devices > 1
    if recipe.batch_size % runtime.devices:
        raise InputError(f"training.batch_size is {recipe.batch_size}, which {runtime.devices} devices do not divide.")
    if isinstance(ranker, ColBERT):
        ranker.gather = several and spans_processes(recipe.in_batch_groups, runtime.devices)
    trainer = lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=runtime.devices if several else one_device,
        strategy=DDPStrategy(start_method="spawn", process_group_backend="nccl" if device.type == "cuda" else "gloo")
        if several
        else "auto",
        use_distributed_sampler=False,
        precision=recipe.precision,  # pyright: ignore[reportArgumentType] (Recipe checks the name)
        max_steps=recipe.optimization.steps,
        accumulate_grad_batches=recipe.gradient_accumulation_steps,
        gradient_clip_val=recipe.gradient_clip,
        val_check_interval=recipe.validation_interval * recipe.gradient_accumulation_steps if dev else None,
        check_val_every_n_epoch=None,
        limit_val_batches=None if dev else 0,
        num_sanity_val_steps=0,
        logger=loggers(out, first, runtime),
        log_every_n_steps=min(5, recipe.optimization.steps),  # at least once
        callbacks=[keep, *([TQDMProgressBar(leave=True)] if runtime.progress else [])],
        enable_progress_bar=runtime.progress,
        enable_model_summary=False,
        default_root_dir=out,
        profiler=SimpleProfiler(out, "profile") if runtime.profile else None,
    )
    before = dev_metric(module, dev, device.type, one_device, recipe.precision) if dev else None
    start = {name: tensor.clone() for name, tensor in ranker.state_dict().items()} if dev else {}
    with input_errors():
        trainer.fit(module, DataLoader(batches, batch_size=None), dev, ckpt_path=resume, weights_only=True)
    best = None
    if before is not None:
        saved = torch.load(keep.best_model_path, weights_only=True, map_location="cpu")
        states = [state for state in saved["callbacks"].values() if "best_model_score" in state]
        best = float(states[0]["best_model_score"])
        trained = {name.removeprefix("ranker."): tensor for name, tensor in saved["state_dict"].items()}
        ranker.load_state_dict(trained if best > before else start)
    wandb.finish()  # else the next training of this process would log into the same run
    ranker.save(out)
    shutil.rmtree(checkpoints)
    summary = {"examples": len(usable), "left_out": len(examples) - len(usable), "dev_before": before, "dev_best": best}
    write_json(out / "summary.json", summary)


def dev_metric(
    module: RankingModule, dev: DataLoader, accelerator: str, devices: list[int] | int, precision: str
) -> float:
    """The dev RR@10 of the weights as they are, in this process."""
    trainer = lightning.Trainer(
        accelerator="gpu" if accelerator == "cuda" else accelerator,
        devices=devices,
        precision=precision,  # pyright: ignore[reportArgumentType] (Recipe checks the name)
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    return float(trainer.validate(module, dev, verbose=False)[0]["dev/RR@10"])


def checkpointing(directory: Path, recipe: Recipe, has_dev: bool) -> ModelCheckpoint:
    """The best weights by dev RR@10 and the last ones, written *after* the evaluation of their step.

    So a run that is killed while evaluating evaluates that step again when it resumes.
    """
    if not has_dev:
        return ModelCheckpoint(directory, save_last=True, save_top_k=0, every_n_train_steps=recipe.validation_interval)
    return ModelCheckpoint(
        directory, "best", monitor="dev/RR@10", mode="max", save_last=True, save_on_train_epoch_end=False
    )


def loggers(out: Path, first: int, runtime: Runtime) -> list[Logger]:
    """CSV always (the artifact keeps it, a resumed run in a log of its own), wandb as the runtime says."""
    chosen: list[Logger] = [CSVLogger(out, name="", version="log" if first == 0 else f"log-from-step-{first}")]
    if runtime.wandb != "disabled":
        runtime.root.mkdir(parents=True, exist_ok=True)
        name = out.name.strip(".").removesuffix(".partial")
        chosen.append(
            WandbLogger(name=name, project="colbertv2", save_dir=runtime.root, offline=not runtime.wandb_online)
        )
    return chosen
