"""Encode documents with this project. Arguments: the working directory, the output (.npz)."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from colbertv2.modeling.colbert import ColBERT


def main(work: Path, out: Path) -> None:
    """Encode ``work/documents.json``; write the concatenated vectors, the lengths and the seconds."""
    settings = json.loads((work / "documents.json").read_text())
    torch.set_num_threads(settings["threads"])
    model = ColBERT.load(work / "official")
    model.encode_documents(settings["documents"][:8])
    begun = time.perf_counter()
    vectors = model.encode_documents(settings["documents"])
    seconds = time.perf_counter() - begun
    np.savez(out, vectors=np.concatenate(vectors), lengths=[len(one) for one in vectors], seconds=seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
