"""Tokenise and encode with colbert-ai.

Arguments: a checkpoint in the official layout, the texts (JSON), the output (.npz).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from colbert.infra import ColBERTConfig
from colbert.modeling.checkpoint import Checkpoint
from colbert.modeling.colbert import colbert_score

source, texts, out = sys.argv[1:]
texts = json.loads(Path(texts).read_text())
config = ColBERTConfig.load_from_checkpoint(source)
model = Checkpoint(source, colbert_config=config, verbose=0)
query_ids, query_attention = model.query_tokenizer.tensorize(texts["queries"])
document_ids, document_attention = model.doc_tokenizer.tensorize(texts["documents"])
scored = np.array(model.mask(document_ids, skiplist=model.skiplist))
real = document_attention.bool().numpy()
(documents,) = model.docFromText(texts["documents"], bsize=32, keep_dims=False)
queries = model.queryFromText(texts["queries"], bsize=64, to_cpu=True)
part = documents[: texts["scored_documents"]]
padded = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(one), dtype=bool) for one in part], batch_first=True)
scores = [colbert_score(query[None], padded, mask[..., None]) for query in queries[: texts["scored_queries"]]]
np.savez(
    out,
    query_ids=query_ids,
    query_attention=query_attention,
    document_ids=document_ids.numpy()[real],
    document_lengths=real.sum(1),
    document_scored=(scored & real).astype(bool)[real],
    query_vectors=queries.numpy(),
    document_vectors=torch.cat(documents).numpy(),
    scores=torch.stack(scores).numpy(),
)
