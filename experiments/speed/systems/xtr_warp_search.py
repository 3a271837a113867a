"""Build and search with xtr-warp-rs: with its defaults (4 bits), and with more cells."""

import sys
from pathlib import Path

import numpy as np
import torch
from measure import THREADS, K, Setting, run
from xtr_warp import XTRWarp

work = Path(sys.argv[1])
path = work / "xtr-warp"


def build():
    """Build from one tensor per document."""
    vectors = torch.from_numpy(np.load(work / "vectors.npy").astype(np.float32))
    documents = list(vectors.split(np.load(work / "lengths.npy").tolist()))
    XTRWarp(str(path)).create(documents, device="cpu", show_progress=False)


def settings():
    """The default setting, and one with 64 cells per query vector."""
    index = XTRWarp(str(path)).load(device="cpu")

    def setting(name, **knobs):
        def many(queries):
            results = index.search(
                torch.from_numpy(queries), top_k=K, num_threads=THREADS, show_progress=False, **knobs
            )
            return [[document for document, _ in result] for result in results]

        return Setting(name, lambda query: many(query[None])[0], many)

    return [setting("4 bits, default"), setting("4 bits, nprobe 64", nprobe=64)]


run(["xtr-warp-rs", "torch", "numpy"], path, build, settings)
