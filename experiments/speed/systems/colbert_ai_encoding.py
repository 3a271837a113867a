"""Encode documents with colbert-ai, as its indexer does. Arguments: the working directory, the output (.npz)."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from colbert.infra import ColBERTConfig
from colbert.modeling.checkpoint import Checkpoint


def main(work: Path, out: Path) -> None:
    """Encode ``work/documents.json``; write the concatenated vectors, the lengths and the seconds."""
    settings = json.loads((work / "documents.json").read_text())
    torch.set_num_threads(settings["threads"])
    config = ColBERTConfig.load_from_checkpoint(str(work / "official"))
    model = Checkpoint(str(work / "official"), colbert_config=config, verbose=0)
    options = {"bsize": config.index_bsize, "keep_dims": "flatten"}
    model.docFromText(settings["documents"][:8], **options)
    begun = time.perf_counter()
    vectors, lengths = model.docFromText(settings["documents"], **options)
    seconds = time.perf_counter() - begun
    np.savez(out, vectors=vectors.float().numpy(), lengths=lengths, seconds=seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
