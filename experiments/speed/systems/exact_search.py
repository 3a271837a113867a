"""Exact MaxSim over all documents in float32, in a few lines of torch and without an index: the baseline."""

import sys
from pathlib import Path

import numpy as np
import torch
from measure import K, Setting, run

work = Path(sys.argv[1])
path = work / "vectors in float32.npy"


def build():
    """Write the vectors as float32."""
    np.save(path, np.load(work / "vectors.npy").astype(np.float32))


def settings():
    """One setting: all documents, one query at a time."""
    vectors = torch.from_numpy(np.load(path))
    lengths = torch.from_numpy(np.load(work / "lengths.npy").astype(np.int64))

    def one(query):
        best = torch.segment_reduce(vectors @ torch.from_numpy(query).T, "max", lengths=lengths)
        return best.sum(dim=1).topk(min(K, len(lengths))).indices.tolist()

    return [Setting("all documents", one, lambda queries: map(one, queries))]


run(["torch", "numpy"], path, build, settings)
