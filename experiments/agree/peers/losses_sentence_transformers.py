"""Losses and gradients of one batch with sentence-transformers.

Arguments: checkpoint, batch (JSON), the output (.safetensors). The model is in evaluation mode, so there is no dropout.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder import losses

source, batch, out = sys.argv[1:]
batch = json.loads(Path(batch).read_text())
n = len(batch["documents"]) // len(batch["queries"])
model = MultiVectorEncoder(source, device="cpu").eval()


def features() -> list[dict]:
    """Tokenised queries, and one group of documents for every place in the lists of candidates."""
    groups = [batch["documents"][place::n] for place in range(n)]
    return [
        {**model.preprocess(texts, prompt=model.prompts[task], task=task), "task": task}
        for texts, task in [(batch["queries"], "query"), *((group, "document") for group in groups)]
    ]


labels = torch.tensor(batch["scores"])
scale = 1 / batch["temperature"]
computed = {
    "distillation": lambda: losses.MultiVectorDistillKLDivLoss(model)(features(), labels),
    "margin_mse": lambda: losses.MultiVectorMarginMSELoss(model)(features(), labels),
    "contrastive": lambda: losses.MultiVectorMultipleNegativesRankingLoss(model, scale=scale)(features(), None),
    "cached": lambda: losses.CachedMultiVectorMultipleNegativesRankingLoss(model, mini_batch_size=2, scale=scale)(
        features(), None
    ),
}
found = {}
for name, compute in computed.items():
    model.zero_grad()
    loss = compute()
    loss.backward()
    found[f"{name}.loss"] = loss.detach().clone()
    found |= {f"{name}.{key}": p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
save_file({key: value.contiguous() for key, value in found.items()}, out)
