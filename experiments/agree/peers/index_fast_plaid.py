"""Build an index from token vectors with fast-plaid, or open one, and search it.

Arguments: vectors (.npz with documents, lengths, queries), the index, the output (.npz), ``build`` or ``search``.
"""

import sys

import numpy as np
import torch
from fast_plaid import search

source, path, out, task = sys.argv[1:]
given = np.load(source)
index = search.FastPlaid(index=path, device="cpu")
if task == "build":
    documents = np.split(given["documents"], np.cumsum(given["lengths"])[:-1])
    index.create(documents_embeddings=[torch.from_numpy(one) for one in documents], nbits=2, seed=0)
queries = torch.from_numpy(given["queries"])
found = {}
for name, n_ivf_probe in {"all": len(np.load(f"{path}/centroids.npy")), "default": 8}.items():
    results = index.search(queries, top_k=100, n_ivf_probe=n_ivf_probe, n_full_scores=10**6)
    for place, result in enumerate(results):
        found[f"{name}.{place}.order"] = np.array([document for document, _ in result])
        found[f"{name}.{place}.scores"] = np.array([score for _, score in result])
np.savez(out, **found)
