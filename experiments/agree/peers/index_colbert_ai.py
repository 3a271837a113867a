"""Build an index with colbert-ai's Indexer and search it with its Searcher, or only search one of ours.

Arguments: the checkpoint, the texts (JSON), the directory that contains the index, the index's name, the output (.npz),
and ``build`` or ``search``. Writes the query vectors and, for every setting in the file of texts, the candidates after
each stage and the final ranking.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from colbert import Indexer, Searcher
from colbert.infra import ColBERTConfig, Run, RunConfig


def main(checkpoint: str, texts_file: str, root: str, name: str, out: str, task: str) -> None:
    """Build if asked to, search, and write what was found."""
    texts = json.loads(Path(texts_file).read_text())
    with Run().context(RunConfig(nranks=1, root=root, index_root=root, avoid_fork_if_possible=True)):
        if task == "build":
            config = ColBERTConfig(nbits=2, kmeans_niters=4, avoid_fork_if_possible=True, index_root=root)
            indexer = Indexer(checkpoint, config=config, verbose=0)
            indexer.index(name=name, collection=texts["documents"], overwrite=True)
        searcher = Searcher(name, checkpoint=checkpoint, collection=texts["documents"], index_root=root, verbose=0)
    queries = searcher.encode(texts["queries"])
    found = {"queries": queries.numpy()}
    for number, (ncells, threshold, ndocs) in enumerate(texts["settings"]):
        searcher.config.configure(ncells=ncells, centroid_score_threshold=threshold, ndocs=ndocs)
        for place in range(len(queries)):
            stages(searcher, queries[place : place + 1], f"{number}.{place}", found)
    np.savez(out, **found)


def stages(searcher: Searcher, query: torch.Tensor, key: str, found: dict) -> None:
    """Add the candidates after stages 1, 2 and 3 and the ranking of a query to ``found``."""
    ranker, config = searcher.ranker, searcher.config
    pids, similarities = ranker.retrieve(config, query)
    kept = similarities.max(-1).values >= config.centroid_score_threshold
    tables = ranker.embeddings.codes, ranker.doclens, ranker.offsets
    # Its filter runs two stages at once. Pruned centroids get a score that can't win, so that only the first one acts.
    alone = similarities.clone()
    alone[~kept] = -9999
    pruned = type(ranker).filter_pids(pids, alone, *tables, kept, 4 * config.ndocs)
    ranked = type(ranker).filter_pids(pids, similarities, *tables, kept, config.ndocs)
    order, scores = ranker.rank(config, query)
    values = {"probed": pids, "pruned": pruned, "ranked": ranked, "order": order, "scores": scores}
    found |= {f"{key}.{name}": np.asarray(value) for name, value in values.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
