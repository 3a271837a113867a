"""Losses and gradients of one batch with colbert-ai. Arguments: checkpoint, batch (JSON), the output (.safetensors).

The model is in evaluation mode, so there is no dropout; the losses are those of its training loop.
"""

import json
import sys
from pathlib import Path

import torch
from colbert.infra import ColBERTConfig
from colbert.modeling.colbert import ColBERT
from colbert.modeling.tokenization import DocTokenizer, QueryTokenizer
from safetensors.torch import save_file

source, batch, out = sys.argv[1:]
batch = json.loads(Path(batch).read_text())
nway = len(batch["documents"]) // len(batch["queries"])
config = ColBERTConfig.from_existing(
    ColBERTConfig.load_from_checkpoint(source),
    ColBERTConfig(bsize=len(batch["queries"]), nway=nway, use_ib_negatives=True, distillation_alpha=batch["alpha"]),
)
model = ColBERT(source, colbert_config=config)
scores, in_batch = model(
    QueryTokenizer(config, verbose=0).tensorize(batch["queries"]), DocTokenizer(config).tensorize(batch["documents"])
)
scores = scores.view(-1, nway)
target = torch.log_softmax(torch.tensor(batch["scores"]) * config.distillation_alpha, dim=-1)
losses = {
    "distillation": torch.nn.KLDivLoss(reduction="batchmean", log_target=True)(scores.log_softmax(dim=-1), target),
    "cross_entropy": torch.nn.CrossEntropyLoss()(scores, torch.zeros(len(scores), dtype=torch.long)),
    "in_batch": in_batch,
}
found = {}
for name, loss in losses.items():
    model.zero_grad()
    loss.backward(retain_graph=True)
    found[f"{name}.loss"] = loss.detach().clone()
    found |= {f"{name}.{key}": p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
save_file({key: value.contiguous() for key, value in found.items()}, out)
