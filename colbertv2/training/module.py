"""One Lightning module for everything that ranks: ColBERT and the cross-encoder teacher alike."""

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor

from colbertv2.errors import InputError
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.cross_encoder import CrossEncoder
from colbertv2.training.data import DevBatch, TrainingBatch
from colbertv2.training.objectives import Scores
from colbertv2.training.recipe import Recipe

Ranker = ColBERT | CrossEncoder  # what the module trains: it tokenises tuples (collate) and scores them (batch_scores)


class RankingModule(lightning.LightningModule):
    """Trains a ranker by a weighted sum of objectives and validates it by RR@10 over given candidates.

    Args:
        ranker: ColBERT or CrossEncoder. recipe: its objectives' names label the logged losses.
        seed: of dropout, which depends on it and on the step alone: a resumed run goes on as if it had not stopped.
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
