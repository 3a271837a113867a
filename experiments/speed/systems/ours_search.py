"""Build and search with this project. Further arguments: the names of a codec and of engines in ``settings``."""

import shutil
import sys
from pathlib import Path

import numpy as np
from measure import K, Setting, run

from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.index import Index
from experiments.speed.settings import CODECS, ENGINES, GROWTH_CODECS

work, name, engines = Path(sys.argv[1]), sys.argv[4], ENGINES[sys.argv[5]]
path = work / f"ours {name}"


def build():
    """Build the index. The product codec learns from training queries; no codec sees the queries of the search."""
    shutil.rmtree(path, ignore_errors=True)
    clustering, make = (CODECS | GROWTH_CODECS)[name]
    embeddings = Embeddings.open(Path((work / "embeddings.txt").read_text()))
    Index.build(
        embeddings,
        make(),
        path,
        clustering=clustering,
        queries=np.concatenate(np.load(work / "train_queries.npy")),
        seed=1,
        bar=lambda items, *_: items,
    )


def settings():
    """One setting per engine; all use the same opened index."""
    index = Index.open(path)

    def setting(name, engine):
        def many(queries):
            return [found[0] for found in engine.search(index, list(queries), K)]

        return Setting(name, lambda query: many(query[None])[0], many)

    return [setting(*item) for item in engines.items()]


run(["colbertv2", "torch", "numpy", "numba", "faiss-cpu"], path, build, settings)
