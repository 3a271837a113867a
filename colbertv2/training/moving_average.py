"""A moving average of the weights during a training."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging


class MovingAverage(EMAWeightAveraging):
    """Validate and save an exponential moving average of the weights, while training goes on with the weights.

    After every optimizer step, average ← decay · average + (1 − decay) · weights; after the first step, it is the
    weights. So it covers about the last 1 / (1 − decay) steps. Checkpoints hold both, so that a training which is
    resumed continues exactly. Lightning 2.6 has the callback. Here it differs in three ways: the average is also what
    is searched with (Lightning puts the weights back before the module's own end of a validation), the texts that are
    searched are not copied, and the average is on the device of the training.

    Args:
        decay: share of the average that stays after a step, between 0 and 1.
    """

    def __init__(self, decay: float):
        # Buffers, such as the numbers of positions, are copied: they may be integers, which have no average.
        super().__init__(use_buffers=False, decay=decay)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device
        module: Any = pl_module
        searched, module.searched = module.searched, ()
        super().setup(trainer, pl_module, stage)
        module.searched = searched

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing: ``on_validation_start`` has put the average in place."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing: the module's own end of a validation, which searches, is still to come."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights back, before checkpoints are written: Lightning calls checkpoint callbacks last."""
        super().on_validation_epoch_end(trainer, pl_module)
