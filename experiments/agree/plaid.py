"""PLAID: the candidates after each stage and the final ranking, in an index that colbert-ai built."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colbertv2.indexing.index import Index
from colbertv2.search.plaid import Plaid
from experiments.agree.environments import Peers
from experiments.agree.indexes import COLBERT_AI, SETTINGS, built, cpu_scores, same_ranking, scored_by
from experiments.agree.report import Row

NAMES = ["k ≤ 10", "k ≤ 100", "k = 1000", "PeerQA", "hard pruning"]
STAGES = {"probed": "1 (cells)", "pruned": "2 (pruned centroids)", "ranked": "3 (all centroids)"}


class LaterFirst(Index):
    """An index that keeps the later of equal documents at a cut-off, as colbert-ai's CPU code does.

    Ours keeps the greater document id. Without this, candidates with equal scores are other ones.
    """

    @property
    def ranks(self) -> NDArray[np.int32]:
        return np.arange(self.num_documents, dtype=np.int32)[::-1]


def run(work: Path, peers: Peers) -> Iterator[Row]:
    """A row for every setting and stage."""
    found = built(work.parent / "indexes", peers.colbert_ai)
    index = LaterFirst.open(work.parent / "indexes" / "imported")
    queries = list(found["queries"])
    for number, (name, setting) in enumerate(zip(NAMES, SETTINGS, strict=True)):
        engine = Plaid(*setting)
        candidates = [engine.candidates(index, query, k=10) for query in queries]
        title = f"{name} (nprobe {setting[0]}, threshold {setting[1]}, ndocs {setting[2]})"
        for stage, described in STAGES.items():
            pairs = [
                (set(getattr(ours, stage).tolist()), set(found[f"{number}.{place}.{stage}"].tolist()))
                for place, ours in enumerate(candidates)
            ]
            differing = sum(ours != theirs for ours, theirs in pairs)
            size = np.mean([len(theirs) for _, theirs in pairs])
            note = f"{size:.0f} candidates per query"
            what = f"{title}: queries of {len(queries)} with other candidates after stage {described}"
            yield Row("plaid", COLBERT_AI, what, differing, 0, note)
        differing = 0
        for place, query in enumerate(queries):
            order, scores = (found[f"{number}.{place}.{what}"] for what in ("order", "scores"))
            differing += not same_ranking(scored_by(cpu_scores, index, engine, query, 10**4), order, scores)[0]
        what = f"{title}: queries of {len(queries)} with another final ranking"
        yield Row("plaid", COLBERT_AI, what, differing, 0, "to its end, up to float ties; scored as its CPU code does")
