"""Build and search with colbert-ai with 2 bits, with its defaults for k up to 100 and for larger k.

Its indexer encodes texts; here the encoder is replaced by one that reads the vectors. Its searcher is replaced by a
loop over its scorer, with the defaults of ``Searcher.dense_search``; colbert-ai has no other call for batches.
"""

import random
import sys
from pathlib import Path

import numpy as np
import torch
from colbert.indexing import collection_indexer
from colbert.infra import ColBERTConfig, Run, RunConfig
from colbert.modeling.colbert import ColBERT
from colbert.search.index_storage import IndexScorer
from measure import K, Setting, run

work = Path(sys.argv[1])
path = work / "colbert-ai"
DEFAULTS = {"k ≤ 100": (2, 0.45, 1024), "k > 100": (4, 0.4, 4096)}  # cells, threshold, documents


class Stored:
    """Replaces the encoder of colbert-ai; the "passages" are positions of documents."""

    def __init__(self, *_):
        self.vectors, self.lengths = np.load(work / "vectors.npy"), np.load(work / "lengths.npy")
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])

    def encode_passages(self, passages):
        """The concatenated vectors as float32, and the lengths."""
        positions = [int(passage) for passage in passages]
        rows = [self.vectors[self.offsets[one] : self.offsets[one + 1]] for one in positions]
        return torch.from_numpy(np.concatenate(rows).astype(np.float32)), self.lengths[positions].tolist()


def build():
    """Build with colbert-ai's own indexer and settings, 2 bits."""
    collection_indexer.CollectionEncoder = Stored
    collection_indexer.Checkpoint = lambda *arguments, **named: None
    random.seed(12345)
    documents = [str(position) for position in range(len(np.load(work / "lengths.npy")))]
    path.mkdir(exist_ok=True)
    with Run().context(RunConfig(nranks=1, avoid_fork_if_possible=True)):
        config = ColBERTConfig(nbits=2, index_path=str(path), dim=128)
        collection_indexer.CollectionIndexer(config, documents, verbose=0).run([[None]])


def settings():
    """A setting for each of the two groups of defaults."""
    ColBERT.try_load_torch_extensions(use_gpu=False)  # as its searcher does by loading a checkpoint
    scorer = IndexScorer(str(path), use_gpu=False)

    def setting(name, cells, threshold, documents):
        config = ColBERTConfig(ncells=cells, centroid_score_threshold=threshold, ndocs=documents)

        def one(query):
            return scorer.rank(config, torch.from_numpy(query[None]))[0][:K]

        return Setting(f"2 bits, {name}", one, lambda queries: map(one, queries))

    return [setting(name, *values) for name, values in DEFAULTS.items()]


run(["colbert-ai", "torch", "faiss-cpu", "numpy"], path, build, settings)
