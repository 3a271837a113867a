"""Distil with PyLate's model, loss, collator and trainer. Arguments: the working directory, the output (JSON)."""

import json
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from pylate import losses, models, utils
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback


class Clock(TrainerCallback):
    """Records when each optimizer step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *arguments, **named) -> None:
        self.ends.append(time.perf_counter())


class Distillation(losses.Distillation):
    """The loss, which also records its value at every step."""

    def forward(self, *arguments, **named):
        loss = super().forward(*arguments, **named)
        self.seen = [*getattr(self, "seen", []), loss.item()]
        return loss


class Trainer(SentenceTransformerTrainer):
    """The trainer, which takes the tuples in their order."""

    def get_batch_sampler(self, dataset, batch_size, drop_last, **named):
        return torch.utils.data.BatchSampler(SequentialSampler(dataset), batch_size, drop_last)


def main(work: Path, out: Path) -> None:
    """Train on ``work/tuples.json``; write the loss of every step and the time at its end."""
    settings = json.loads((work / "tuples.json").read_text())
    torch.set_num_threads(settings["threads"])
    model = models.ColBERT(
        str(work / "backbone"), query_length=settings["query_length"], document_length=settings["document_length"],
        query_prefix="", document_prefix="", do_query_expansion=False, device="cpu",
    )  # fmt: skip
    model[1].linear.weight.data.copy_(load_file(work / "projection.safetensors")["linear.weight"])
    steps = settings["batches"]
    rows = []
    for step in steps:
        n = len(step["documents"]) // len(step["queries"])
        for place, query in enumerate(step["queries"]):
            documents = step["documents"][place * n : (place + 1) * n]
            rows.append({"query": query, "documents": documents, "scores": step["scores"][place]})
    loss, clock = Distillation(model, normalize_scores=False), Clock()
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(out.parent / "trainer"), max_steps=len(steps), save_strategy="no", report_to="none",
        per_device_train_batch_size=len(steps[0]["queries"]), learning_rate=settings["learning_rate"],
        lr_scheduler_type="linear", warmup_steps=0, weight_decay=0.0, max_grad_norm=0.0, logging_steps=10**9,
        use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    Trainer(
        model, arguments, train_dataset=Dataset.from_list(rows), loss=loss, callbacks=[clock],
        data_collator=utils.ColBERTCollator(tokenize_fn=model.tokenize),
    ).train()  # fmt: skip
    out.write_text(json.dumps({"losses": loss.seen, "ends": clock.ends}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
