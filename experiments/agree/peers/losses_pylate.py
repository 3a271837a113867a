"""Losses and gradients of one batch with PyLate. Arguments: checkpoint, batch (JSON), the output (.safetensors).

The model is in evaluation mode, so there is no dropout.
"""

import json
import sys
from pathlib import Path

import torch
from pylate import losses, models
from safetensors.torch import save_file

source, batch, out = sys.argv[1:]
batch = json.loads(Path(batch).read_text())
n = len(batch["documents"]) // len(batch["queries"])
model = models.ColBERT(source, device="cpu").eval()


def features(places=None) -> list[dict]:
    """Tokenised queries and documents: all documents in one group, or one group for every place in the lists."""
    groups = [batch["documents"]] if places is None else [batch["documents"][place::n] for place in places]
    return [model.tokenize(batch["queries"]), *(model.tokenize(group, is_query=False) for group in groups)]


temperature = batch["temperature"]
computed = {
    "distillation": lambda: losses.Distillation(model, normalize_scores=False)(
        features(), torch.tensor(batch["scores"])
    ),
    "distillation_minmax": lambda: losses.Distillation(model)(features(), torch.tensor(batch["scores"])),
    "contrastive": lambda: losses.Contrastive(model, temperature=temperature)(features(range(n))),
    "cached": lambda: losses.CachedContrastive(model, mini_batch_size=2, temperature=temperature)(features(range(n))),
}
found = {}
for name, compute in computed.items():
    model.zero_grad()
    loss = compute()
    loss.backward()
    found[f"{name}.loss"] = loss.detach().clone()
    found |= {f"{name}.{key}": p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
save_file({key: value.contiguous() for key, value in found.items()}, out)
