"""Tokenise, encode and score texts with a MultiVectorEncoder.

Arguments: a model directory, or a plain encoder and the directory to save a new deep model to; then texts (JSON) and
the output (.npz).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

source, *saved, texts, out = sys.argv[1:]
texts = json.loads(Path(texts).read_text())
if saved:
    torch.manual_seed(0)
    tokens = {"module_input_name": "token_embeddings"}
    model = MultiVectorEncoder(
        modules=[
            Transformer(source, document_length=180, query_length=32),
            Dense(384, 256, bias=True, activation_function=torch.nn.GELU(), use_residual=True, **tokens),
            Dense(256, 256, bias=False, activation_function=torch.nn.Identity(), use_residual=True, **tokens),
            Dense(256, 128, bias=True, activation_function=torch.nn.Tanh(), **tokens),
            MultiVectorMask(skiplist_words=[".", ",", "the", "nosuchword"]),
            Normalize(module_input_name="token_embeddings"),
        ],
        prompts={"query": "search_query: ", "document": "search_document: "},
        device="cpu",
    )
    model.save_pretrained(saved[0], create_model_card=False)
model = MultiVectorEncoder(saved[0] if saved else source, device="cpu")


def tokenised(kind: str, task: str) -> list[dict]:
    """Batches of 50 texts as the model reads them, with which tokens are scored."""
    found = []
    for start in range(0, len(texts[kind]), 50):
        batch = model.preprocess(texts[kind][start : start + 50], prompt=model.prompts[task], task=task)
        scored = model[-2](dict(batch), task=task)["attention_mask"].bool()
        found.append({**batch, "scored": scored})
    return found


def rows(batches: list[dict], name: str) -> list[torch.Tensor]:
    """One tensor per text, without padding: tokens that are neither attended to nor scored."""
    kept = [
        batch["attention_mask"].bool() | batch.get("query_expansion_positions", batch["scored"]) for batch in batches
    ]
    pairs = [pair for batch, keeps in zip(batches, kept, strict=True) for pair in zip(batch[name], keeps, strict=True)]
    return [row[keep] for row, keep in pairs]


arrays = {}
for kind, task in (("queries", "query"), ("documents", "document")):
    batches = tokenised(kind, task)
    lengths = [len(row) for row in rows(batches, "input_ids")]
    arrays[f"{task}_lengths"] = lengths
    for ours, theirs in (("ids", "input_ids"), ("attention", "attention_mask"), ("scored", "scored")):
        arrays[f"{task}_{ours}"] = torch.cat(rows(batches, theirs)).long().numpy()
queries = model.encode_query(texts["queries"], convert_to_numpy=True)
documents = model.encode_document(texts["documents"], convert_to_numpy=True)
scores = model.similarity(queries[: texts["scored_queries"]], documents[: texts["scored_documents"]])
np.savez(
    out,
    query_vectors=np.concatenate(queries),
    document_vectors=np.concatenate(documents),
    scores=scores.numpy(),
    **arrays,
)
