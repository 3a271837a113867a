"""Build and search with fast-plaid with its defaults: 4 bits, 8 cells, 4,096 documents with exact scores."""

import sys
from pathlib import Path

import numpy as np
import torch
from fast_plaid.search import FastPlaid
from measure import THREADS, K, Setting, run

work = Path(sys.argv[1])
path = work / "fast-plaid"


def build():
    """Build from one tensor per document."""
    vectors = torch.from_numpy(np.load(work / "vectors.npy").astype(np.float32))
    documents = list(vectors.split(np.load(work / "lengths.npy").tolist()))
    FastPlaid(index=str(path), device="cpu").create(documents_embeddings=documents)


def settings():
    """One setting, the default."""
    index = FastPlaid(index=str(path), device="cpu")

    def many(queries):
        results = index.search(torch.from_numpy(queries), top_k=K, n_processes=THREADS, show_progress=False)
        return [[document for document, _ in result] for result in results]

    return [Setting("4 bits, default", lambda query: many(query[None])[0], many)]


run(["fast-plaid", "torch", "numpy"], path, build, settings)
