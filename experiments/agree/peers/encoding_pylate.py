"""Make a PyLate model with its own tokenization, and tokenise and encode with it.

Arguments: a plain encoder, the directory to save the model to, the texts (JSON), the output (.npz).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from pylate import models
from pylate.scores import colbert_scores

source, saved, texts, out = sys.argv[1:]
texts = json.loads(Path(texts).read_text())
torch.manual_seed(0)
model = models.ColBERT(source, device="cpu")
model.save_pretrained(saved, create_model_card=False)
tokenised = {
    kind: [
        model.tokenize(texts[kind][start : start + 50], is_query=kind == "queries")
        for start in range(0, len(texts[kind]), 50)
    ]
    for kind in ("queries", "documents")
}
ids, scored = [], []
for batch in tokenised["documents"]:
    keep = model.skiplist_mask(batch["input_ids"], model.skiplist)
    for row, attention, kept in zip(batch["input_ids"], batch["attention_mask"].bool(), keep, strict=True):
        ids.append(row[attention].numpy())
        scored.append(kept[attention].numpy())
documents = model.encode(texts["documents"], is_query=False, batch_size=32)
queries = model.encode(texts["queries"], is_query=True, batch_size=64)
part = [torch.from_numpy(one) for one in documents[: texts["scored_documents"]]]
padded = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(one), dtype=bool) for one in part], batch_first=True)
chosen = torch.from_numpy(np.stack(queries[: texts["scored_queries"]]))
np.savez(
    out,
    query_ids=torch.cat([batch["input_ids"] for batch in tokenised["queries"]]),
    query_attention=torch.cat([batch["attention_mask"] for batch in tokenised["queries"]]),
    document_ids=np.concatenate(ids),
    document_lengths=[len(one) for one in ids],
    document_scored=np.concatenate(scored),
    query_vectors=np.stack(queries),
    document_vectors=np.concatenate(documents),
    scores=torch.cat([colbert_scores(chosen, one[None]) for one in part], dim=1),
    padded_scores=colbert_scores(chosen, padded, documents_mask=mask),
)
