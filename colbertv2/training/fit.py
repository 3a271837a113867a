"""Train a ranker, ColBERT or the cross-encoder teacher alike: one Lightning module and the trainer that runs it.

The trainer evaluates at step 0, keeps the checkpoint that is best by a dev metric, and resumes an interrupted run.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as lightning
import torch
import wandb
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.profilers import SimpleProfiler
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor
from torch.utils.data import DataLoader

from colbertv2.errors import InputError
from colbertv2.files import write_json
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.cross_encoder import CrossEncoder
from colbertv2.parallel import input_errors
from colbertv2.runtime import Runtime
from colbertv2.training.data import (
    DevBatch,
    DevBatches,
    TextLookup,
    TrainingBatch,
    TrainingBatches,
    sampled,
    spans_processes,
)
from colbertv2.training.examples import Example
from colbertv2.training.objectives import Scores
from colbertv2.training.recipe import Recipe

Ranker = ColBERT | CrossEncoder  # what the module trains: it tokenizes tuples (collate) and scores them (batch_scores)


class RankingModule(lightning.LightningModule):
    """Trains a ranker by a weighted sum of objectives and validates it by RR@10 over given candidates.

    Args:
        ranker: ColBERT or CrossEncoder. recipe: its objectives' names label the logged losses.
        seed: of dropout. It depends on the seed and the step alone, so a resumed run continues as if it had not
            stopped.
    """

    def __init__(self, ranker: Ranker, recipe: Recipe, seed: int):
        super().__init__()
        self.ranker: Ranker = ranker.train()  # from_pretrained leaves it in eval mode, and Lightning would keep it so
        self.objectives = recipe.losses
        self.optimization = optimization = recipe.optimization
        self.seed = seed
        ranker.gradient_cache_chunk = recipe.gradient_cache_chunk
        if recipe.gradient_checkpointing:
            ranker.transformer.gradient_checkpointing_enable({"use_reentrant": False})
        if recipe.compile:
            ranker.transformer.compile(dynamic=True)
        self.all_pairs = any(objective.needs_all_pairs for objective in self.objectives.values())
        if optimization.dropout is not None:
            for module in ranker.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = optimization.dropout

    def on_fit_start(self) -> None:
        if self.device.type == "cpu" and self.trainer.world_size > 1:
            torch.set_num_threads(max(1, torch.get_num_threads() // self.trainer.world_size))

    def training_step(self, batch: TrainingBatch) -> Tensor:
        state = np.random.SeedSequence([self.seed, batch.step, self.global_rank]).generate_state(1)
        torch.manual_seed(int(state[0]))
        own, all_pairs = self.ranker.batch_scores(batch.inputs, self.all_pairs)
        scores = Scores(own, batch.teacher, all_pairs, batch.excluded)
        losses = {name: objective(scores) for name, objective in self.objectives.items()}
        loss = torch.stack([objective.weight * losses[name] for name, objective in self.objectives.items()]).sum()
        if not torch.isfinite(loss):
            found = ", ".join(f"{name} {value.item():g}" for name, value in losses.items())
            raise InputError(
                f"The loss of batch {batch.step} is not finite ({found}); its queries: {', '.join(batch.query_ids)}. "
                "Nothing was learnt from it, and the last good checkpoint is kept; look at these queries' scores, or "
                "lower the learning rate."
            )
        for name, value in losses.items():
            self.log(f"train/{name}", value.detach(), batch_size=len(own), sync_dist=True)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(own), sync_dist=True)
        return loss

    def validation_step(self, batch: DevBatch) -> None:
        own, _ = self.ranker.batch_scores(batch.inputs, all_pairs=False)
        self.log("dev/RR@10", reciprocal_rank(own, batch.relevance).mean(), prog_bar=True, batch_size=len(own))

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(
            self.ranker.parameters(),
            lr=self.optimization.learning_rate,
            weight_decay=self.optimization.weight_decay,
            # One pass over the weights: saves a tenth of a step on a CPU. Lightning can't clip it in mixed precision.
            fused="mixed" not in self.trainer.precision,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.optimization.factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def reciprocal_rank(scores: Tensor, relevance: Tensor, cutoff: int = 10) -> Tensor:
    """RR@cutoff of each row: ``[B]`` from ``[B, n]`` scores and relevance (1 or 0).

    Ties count against the ranker: a constant scorer must not look good.

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
