"""Distil with this project's module and trainer. Arguments: the working directory, the output (JSON)."""

import json
import sys
import time
from pathlib import Path

import pytorch_lightning as lightning
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import AutoTokenizer

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.modeling.backbone import load_transformer
from colbertv2.modeling.batch import Tuples, excluded_in_batch
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.tokenizer import Tokenizer
from colbertv2.training.data import TrainingBatch
from colbertv2.training.fit import RankingModule
from colbertv2.training.negatives import NegativeSampling
from colbertv2.training.objectives import KLDivergence
from colbertv2.training.optimization import Optimization
from colbertv2.training.recipe import Recipe


class Clock(lightning.Callback):
    """Records when each optimizer step ended, and its loss."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.ends.append(time.perf_counter())
        self.losses.append(float(outputs["loss"]))


def main(work: Path, out: Path) -> None:
    """Train on ``work/tuples.json``; write the loss of every step and the time at its end."""
    settings = json.loads((work / "tuples.json").read_text())
    torch.set_num_threads(settings["threads"])
    tokenization = Tokenization(settings["query_length"], settings["document_length"], None, None, False, False, True)
    tokenizer = Tokenizer(AutoTokenizer.from_pretrained(work / "backbone"), tokenization)
    projection = load_file(work / "projection.safetensors")["linear.weight"]
    model = ColBERT(load_transformer(work / "backbone"), projection, tokenizer)
    steps = settings["batches"]
    n = len(steps[0]["documents"]) // len(steps[0]["queries"])
    recipe = Recipe(
        objectives={"distillation": KLDivergence(weight=1.0, temperature=1.0, teacher_scale=1.0)},
        optimization=Optimization(settings["learning_rate"], 0, len(steps), 0.0, None),
        n_way=n, negatives=NegativeSampling("top", 1.0), batch_size=len(steps[0]["queries"]),
        gradient_accumulation_steps=1, in_batch_groups=1, precision="32-true", gradient_clip=1.0,
        validation_interval=len(steps), validation_queries=1,
        gradient_cache_chunk=None, gradient_checkpointing=False, compile=False,
    )  # fmt: skip
    clock = Clock()
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=len(steps), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[clock],
    )  # fmt: skip

    def batches():
        for number, step in enumerate(steps):
            ids = [str(number) for number in step["ids"]]
            yield TrainingBatch(
                model.collate(Tuples(step["queries"], step["documents"])), torch.tensor(step["scores"]),
                excluded_in_batch(step["queries"], ids), number, tuple(step["queries"]),
            )  # fmt: skip

    class Steps(torch.utils.data.IterableDataset):
        def __iter__(self):
            return batches()

    trainer.fit(RankingModule(model, recipe, seed=0), DataLoader(Steps(), batch_size=None))
    out.write_text(json.dumps({"losses": clock.losses, "ends": clock.ends}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
