"""Which step's weights are kept, and when a training stops early, if a search validation is rarer than others."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from colbertv2.training.recipe import Recipe


class SearchedCheckpoint(ModelCheckpoint):
    """Lightning's callback, which sees only the validations in which the metric that decides was measured.

    Args:
        every: optimizer steps between two of these validations.
    """

    def __init__(self, *arguments: Any, every: int, **named: Any):
        super().__init__(*arguments, **named)
        self.every = every

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step % self.every == 0:
            super().on_validation_end(trainer, pl_module)


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
