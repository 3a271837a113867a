"""Which checkpoints of a training are kept, and when a training stops early or before its job is ended.

Checkpoints and patience see only the validations in which the metric that decides was measured, as a search may be
rarer than the others.
"""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint

from colbertv2.lifetime import Preempted, is_warned, retake_signals
from colbertv2.training.recipe import Recipe


class BestAndLast(ModelCheckpoint):
    """Keep ``best.ckpt`` and ``last.ckpt``, the latter of the last validation whether or not it was the best.

    Lightning 2.6 writes its last checkpoint only together with a best one. So a training that gets no better would lose
    all steps since then when it is killed.

    Args:
        directory: where they are written.
        metric: the metric that decides; larger is better.
        every: optimizer steps between two validations in which it is measured.
    """

    def __init__(self, directory: Path, metric: str, every: int):
        kept: dict[str, Any] = {"monitor": metric, "mode": "max", "save_last": True, "save_on_train_epoch_end": False}
        super().__init__(directory, "best", **kept)
        self.every = every

    @property
    def state_key(self) -> str:
        """As that of Lightning's class, so that a training which an earlier version began can be resumed."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step % self.every:
            return
        super().on_validation_end(trainer, pl_module)
        if not self._should_skip_saving_checkpoint(trainer):  # not saved yet at this step
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


class Patience(EarlyStopping):
    """Stop after ``recipe.patience`` validations in a row that were not better than the best before, with step 0.

    Args:
        metric: the metric that decides.
        recipe: the training run.
        before: the metric before the first step.
    """

    def __init__(self, metric: str, recipe: Recipe, before: float):
        assert recipe.patience is not None
        super().__init__(metric, patience=recipe.patience, mode="max", check_on_train_epoch_end=False)
        self.every = recipe.deciding_interval
        self.best_score = torch.tensor(before)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at once if the training had stopped when it was killed, so that resuming does not train on."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step % self.every == 0:
            super().on_validation_end(trainer, pl_module)


class StopBeforeEnd(Checkpoint):
    """Write ``preempted.ckpt`` and stop, after a step, when any process was warned that its job is about to be ended.

    The training that is resumed from there continues as if it had not been stopped. If a validation follows on the
    step, the checkpoint is written after it, as the validation would not be repeated.

    Args:
        directory: where the checkpoint is written.
        interval: optimizer steps between two validations; ``None`` if there are none.
    """

    def __init__(self, directory: Path, interval: int | None):
        self.directory, self.interval = directory, interval

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM back from Lightning, which would stop without a checkpoint."""
        retake_signals()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        *_, index = batch
        whole = (index + 1) % trainer.accumulate_grad_batches == 0
        if whole and (self.interval is None or trainer.global_step % self.interval):
            self.stop_if_warned(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop_if_warned(trainer)

    def stop_if_warned(self, trainer: Trainer) -> None:
        """Stop, unless all steps are done."""
        if trainer.global_step < trainer.max_steps and trainer.strategy.reduce_boolean_decision(is_warned(), all=False):
            trainer.save_checkpoint(self.directory / "preempted.ckpt")
            raise Preempted(
                f"The training stopped at step {trainer.global_step}, as its job is about to be ended. "
                "Run the same command again to continue from there."
            )
