"""Set up Lightning's trainer: its processes, checkpoints and logs.

``parallel.run_on`` starts the processes, on all machines of a team. So Lightning is given each process's place and must
not detect a cluster from variables such as ``SLURM_NTASKS``, which an allocation also sets for programs that ``srun``
did not start. Tasks of an ``srun`` that are no team (:mod:`colbertv2.team`) are separate runs.
"""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.profilers import SimpleProfiler
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities import rank_zero_only

from colbertv2.runtime import Runtime, WatchedTraining
from colbertv2.training.logs import loggers
from colbertv2.training.moving_average import MovingAverage
from colbertv2.training.optimizers import ScheduleFreeAverage
from colbertv2.training.recipe import Recipe
from colbertv2.training.stopping import BestAndLast, Patience, StopBeforeEnd


def training_trainer(
    place: "ProcessPlace", recipe: Recipe, has_dev: bool, out: Path, training: WatchedTraining
) -> lightning.Trainer:
    """Create the trainer of one of the processes, of which there are ``runtime.devices`` per machine.

    Args:
        place: the place of this process among them.
        recipe: the training run.
        has_dev: whether there is a dev set of examples.
        out: the directory for checkpoints and logs.
        training: the step to continue from, the metrics before the first one, and devices, progress bars and profiling.
    """
    runtime, metric = training.runtime, recipe.deciding_metric(has_dev)
    decay = recipe.optimization.moving_average_decay
    validates = has_dev or recipe.search_validation is not None
    device, several = runtime.torch_device, place.world > 1
    gpus = [(device.index or 0) + number for number in range(runtime.devices)]
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=gpus if device.type == "cuda" else runtime.devices,
        num_nodes=place.world // runtime.devices,
        strategy=DDPStrategy(process_group_backend="nccl" if device.type == "cuda" else "gloo") if several else "auto",
        plugins=[place, WholeCheckpoints()],
        use_distributed_sampler=False,
        precision=recipe.precision,  # pyright: ignore[reportArgumentType] (Recipe checks the name)
        max_steps=recipe.optimization.steps,
        accumulate_grad_batches=recipe.gradient_accumulation_steps,
        gradient_clip_val=recipe.gradient_clip,
        val_check_interval=recipe.validation_interval * recipe.gradient_accumulation_steps if validates else None,
        check_val_every_n_epoch=None,
        limit_val_batches=None if validates else 0,
        num_sanity_val_steps=0,
        logger=loggers(place.rank, out, training),
        log_every_n_steps=min(5, recipe.optimization.steps),  # at least once
        callbacks=[
            checkpointing(out / "checkpoints", recipe, metric),
            StopBeforeEnd(out / "checkpoints", recipe.validation_interval if validates else None),
            *([MovingAverage(decay)] if decay is not None else []),
            *([ScheduleFreeAverage()] if recipe.optimization.optimizer == "schedule_free" else []),
            *([Patience(metric, recipe, training.before[metric])] if metric and recipe.patience else []),
            *([TQDMProgressBar(leave=True)] if runtime.progress else []),
        ],
        enable_progress_bar=runtime.progress,
        enable_model_summary=False,
        default_root_dir=out,
        profiler=SimpleProfiler(out, "profile") if runtime.profile else None,
    )


def dev_trainer(recipe: Recipe, runtime: Runtime) -> lightning.Trainer:
    """Create the trainer that evaluates the weights before training, in this process."""
    device = runtime.torch_device
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        plugins=[ProcessPlace(0, 1, 1)],
        precision=recipe.precision,  # pyright: ignore[reportArgumentType] (Recipe checks the name)
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )


class ProcessPlace(LightningEnvironment):
    """The place of this process among those that ``run_on`` started, independent of environment variables.

    Args:
        rank: number of this process.
        world: how many there are.
        devices: how many there are per machine.
        address: the host and TCP port that they connect on, if there are several.
    """

    def __init__(self, rank: int, world: int, devices: int, address: tuple[str, int] = ("127.0.0.1", 0)):
        super().__init__()
        self.rank, self.world, self.devices = rank, world, devices
        self.host, self._main_port = address
        rank_zero_only.rank = rank  # Lightning sets it at import from variables such as SLURM_PROCID

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self.host

    def local_rank(self) -> int:
        return self.rank % self.devices

    def node_rank(self) -> int:
        return self.rank // self.devices


def checkpointing(directory: Path, recipe: Recipe, metric: str | None) -> ModelCheckpoint:
    """Keep the best checkpoint by a metric and the last one, written *after* the evaluation of their step.

    So a run that is killed during an evaluation repeats it after resuming. Without a metric, the last two checkpoints
    are kept, so that a damaged one has a predecessor.

    Args:
        directory: the directory of the checkpoints.
        recipe: the training run.
        metric: name of the metric, or None if no metric decides.
    """
    if metric is None:
        every = recipe.validation_interval
        return ModelCheckpoint(directory, "{step}", monitor="step", mode="max", save_top_k=2, every_n_train_steps=every)
    return BestAndLast(directory, metric, recipe.deciding_interval)


class WholeCheckpoints(TorchCheckpointIO):
    """Write checkpoints atomically: into a temporary file in the same directory, which is read back and then renamed.

    Lightning writes to ``TMPDIR`` first, which may have less space, and copies the file from there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            read_checkpoint(partial)
        except (OSError, *DAMAGE) as error:
            cause = error if isinstance(error, OSError) else error.__context__
            partial.unlink(missing_ok=True)
            if isinstance(cause, OSError):  # torch's error does not include the cause and the path
                raise OSError(cause.errno, cause.strerror, str(path)) from error
            raise
        partial.replace(path)


DAMAGE = (RuntimeError, ValueError, EOFError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError)


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint after verifying the checksum of every byte; its tensors stay on disk until they are used.

    Raises:
        one of DAMAGE, or OSError: it is incomplete or damaged.
    """
    with zipfile.ZipFile(file) as archive:
        if (wrong := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{wrong} has a wrong checksum")
    checkpoint = torch.load(file, weights_only=True, map_location="cpu", mmap=True)
    _ = checkpoint["global_step"], checkpoint["state_dict"]
    return checkpoint


def best_of(checkpoint: dict[str, Any]) -> tuple[Path, float] | None:
    """Return the path of the best checkpoint when this one was written (maybe this one), and its score.

    ``None`` if there was none yet, as the training was stopped before its first validation.
    """
    (state,) = (state for state in checkpoint["callbacks"].values() if "best_model_path" in state)
    path = state["best_model_path"]
    return (Path(path), float(state["best_model_score"])) if path else None


def newest_checkpoint(directory: Path) -> Path | None:
    """Return the last undamaged checkpoint whose best checkpoint is undamaged too, or None.

    Damaged files are renamed, with a printed line for each.
    """
    steps: dict[Path, int] = {}
    needed: dict[Path, Path] = {}
    for file in sorted(directory.glob("*.ckpt")):
        try:
            checkpoint = read_checkpoint(file)
            best = best_of(checkpoint)
            steps[file], needed[file] = checkpoint["global_step"], directory / best[0].name if best else file
        except (OSError, *DAMAGE) as error:
            aside = file.with_name(f"{file.name}.damaged")
            file.replace(aside)
            print(
                f"{file} is damaged ({error}); renamed to {aside.name}. "
                "The training resumes from an earlier one, or starts over.",
                flush=True,
            )
    usable = [file for file in steps if needed[file] in steps]
    return max(usable, key=lambda file: (steps[file], file.name), default=None)  # last.ckpt wins over best.ckpt
