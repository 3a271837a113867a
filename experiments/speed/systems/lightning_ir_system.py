"""Distil with Lightning IR's module, loss and trainer. Arguments: the working directory, the output (JSON)."""

import json
import sys
import time
from pathlib import Path

import torch
from lightning import Callback, Trainer
from lightning_ir import BiEncoderModule, KLDivergence
from lightning_ir.data import TrainBatch
from lightning_ir.models import ColConfig
from safetensors.torch import load_file
from torch.utils.data import DataLoader, IterableDataset


class Clock(Callback):
    """Records when each optimizer step ended, and its loss."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.ends.append(time.perf_counter())
        self.losses.append(float(outputs["loss"]))


class Module(BiEncoderModule):
    """The module with the optimizer and schedule that all compared systems use."""

    def __init__(self, *arguments, learning_rate: float, steps: int, **named) -> None:
        super().__init__(*arguments, **named)
        self.learning_rate, self.steps = learning_rate, steps

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=0.0, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main(work: Path, out: Path) -> None:
    """Train on ``work/tuples.json``; write the loss of every step and the time at its end."""
    settings = json.loads((work / "tuples.json").read_text())
    torch.set_num_threads(settings["threads"])
    steps = settings["batches"]
    config = ColConfig(
        query_length=settings["query_length"], doc_length=settings["document_length"], embedding_dim=128,
        similarity_function="dot", normalization_strategy="l2", doc_mask_scoring_tokens="punctuation",
        projection="linear_no_bias",
    )  # fmt: skip
    module = Module(
        model_name_or_path=str(work / "backbone"), config=config, loss_functions=[KLDivergence()],
        learning_rate=settings["learning_rate"], steps=len(steps),
    )  # fmt: skip
    module.model.projection.weight.data.copy_(load_file(work / "projection.safetensors")["linear.weight"])
    clock = Clock()

    class Steps(IterableDataset):
        def __iter__(self):
            for step in steps:
                n = len(step["documents"]) // len(step["queries"])
                documents = [step["documents"][start : start + n] for start in range(0, len(step["documents"]), n)]
                yield TrainBatch(queries=step["queries"], docs=documents, targets=torch.tensor(step["scores"]))

    trainer = Trainer(
        accelerator="cpu", max_steps=len(steps), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[clock],
    )  # fmt: skip
    trainer.fit(module, DataLoader(Steps(), batch_size=None))
    out.write_text(json.dumps({"losses": clock.losses, "ends": clock.ends}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
