"""Fit colbert-ai's buckets and compress with its codec. Arguments: vectors and centroids (.npz), the output (.npz)."""

import sys
from types import SimpleNamespace

import numpy as np
import torch
from colbert.indexing.codecs.residual import ResidualCodec
from colbert.indexing.collection_indexer import CollectionIndexer
from colbert.infra import ColBERTConfig

source, out = sys.argv[1:]
given = {name: torch.from_numpy(array) for name, array in np.load(source).items()}
found = {}
for bits in (1, 2, 4, 8):
    config = ColBERTConfig(dim=given["centroids"].shape[1], nbits=bits)
    indexer = SimpleNamespace(config=config, use_gpu=False, verbose=0)
    cutoffs, weights, average = CollectionIndexer._compute_avg_residual(indexer, given["centroids"], given["held_out"])
    codec = ResidualCodec(config, given["centroids"], average, cutoffs, weights)
    packed = codec.compress(given["vectors"].half())
    values = {"cutoffs": cutoffs, "weights": weights, "average": average, "codes": packed.codes}
    values |= {"residuals": packed.residuals, "decoded": codec.decompress(packed)}
    found |= {f"{name}{bits}": value.numpy() for name, value in values.items()}
np.savez(out, **found)
