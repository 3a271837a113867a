"""The optimisers of a training: AdamW, schedule-free AdamW, or Muon for matrices and AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from transformers import PreTrainedModel

from colbertv2.training.optimization import Optimization


def optimizer_for(
    parameters: Iterable[nn.Parameter],
    others: list[dict[str, Any]],
    transformer: PreTrainedModel,
    optimization: Optimization,
    fused: bool,
) -> Optimizer:
    """Return the optimiser that ``optimization`` chooses.

    Args:
        parameters: of the model, all that could be trained; frozen ones are left out.
        others: groups of other parameters with settings of their own, never for Muon.
        transformer: the encoder, whose matrices Muon takes.
        optimization: the choice, with its learning rate and weight decay.
        fused: whether AdamW computes a step in one kernel.
    """
    trained = [one for one in parameters if one.requires_grad]
    settings: dict[str, Any] = {"lr": optimization.learning_rate, "weight_decay": optimization.weight_decay}
    if optimization.optimizer == "schedule_free":
        from schedulefree import AdamWScheduleFree

        return AdamWScheduleFree([{"params": trained}, *others], warmup_steps=optimization.warmup_steps, **settings)
    if optimization.optimizer == "muon":
        hidden = {id(one) for one in matrices(transformer)}
        own = [one for one in trained if id(one) in hidden]
        rest = [one for one in trained if id(one) not in hidden]
        return MuonAndAdamW(own, [{"params": rest}, *others], fused=fused, **settings)
    # For MiniLM's 22 million weights a fused step takes 16 ms on one core, another one 114.
    return AdamW([{"params": trained}, *others], fused=fused, **settings)


def matrices(transformer: PreTrainedModel) -> Iterator[Tensor]:
    """The weights of all linear layers of an encoder, without embeddings and without a classifier on top of it."""
    for module in transformer.base_model.modules():
        if isinstance(module, nn.Linear):
            yield module.weight


class MuonAndAdamW(Optimizer):
    """Muon for matrices and AdamW for the rest, as one optimiser; the first group of parameters is Muon's.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) makes every update of a matrix nearly
    orthogonal. It is for hidden layers only. Its updates are scaled by .2 · √max(rows, columns), so that they are as
    large as AdamW's, and learning rate and weight decay mean the same for both (Liu et al. 2025, arXiv:2502.16982).

    Args:
        hidden: the matrices.
        others: groups of all other parameters, which may have settings of their own.
        lr, weight_decay: of both.
        fused: whether AdamW computes a step in one kernel.
    """

    def __init__(
        self, hidden: list[nn.Parameter], others: list[dict[str, Any]], lr: float, weight_decay: float, fused: bool
    ):
        self.muon = torch.optim.Muon(hidden, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self.adamw = AdamW(others, lr=lr, weight_decay=weight_decay, fused=fused)
        super().__init__(self.muon.param_groups + self.adamw.param_groups, {})
        self.share()

    def share(self) -> None:
        """Let both parts use this optimiser's groups and state, which schedules change and checkpoints hold."""
        self.muon.param_groups, self.adamw.param_groups = self.param_groups[:1], self.param_groups[1:]
        self.muon.state = self.adamw.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.share()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore
        """Update all parameters; ``closure`` computes loss and gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.muon.step()
        self.adamw.step()
        return loss


class ScheduleFreeAverage(Callback):
    """Validate and save the average of schedule-free AdamW, while training goes on at the point between.

    Schedule-free methods compute gradients at a point y between a fast sequence z and the average x of z, and x is the
    result (Defazio et al. 2024, arXiv:2405.15682). The module holds y. Here it holds x during a validation, and
    then y again, bit by bit. Checkpoints hold x as the weights, and y for a training that is resumed.
    """

    def __init__(self) -> None:
        self.averages: Any = None  # a context that a validation has entered

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the optimiser that the module holds y."""
        optimizer: Any = trainer.optimizers[0]
        optimizer.train()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.averages = averaged(pl_module, trainer.optimizers[0])
        self.averages.__enter__()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put y back, before checkpoints are written: Lightning calls checkpoint callbacks last."""
        self.averages.__exit__(None, None, None)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["trained_state"] = checkpoint["state_dict"]
        with averaged(pl_module, trainer.optimizers[0]):
            checkpoint["state_dict"] = {name: one.detach().clone() for name, one in pl_module.state_dict().items()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        pl_module.load_state_dict(checkpoint["trained_state"])


@contextmanager
def averaged(module: nn.Module, optimizer: Any) -> Iterator[None]:
    """Let ``module`` hold the average of a schedule-free optimiser; afterwards it holds its weights as they were."""
    kept = [(one, one.detach().clone()) for one in module.parameters() if one.requires_grad]
    modes = [group["train_mode"] for group in optimizer.param_groups]
    optimizer.eval()
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weights in kept:
                parameter.copy_(weights)
        for group, mode in zip(optimizer.param_groups, modes, strict=True):
            group["train_mode"] = mode
