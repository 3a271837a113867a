"""Stage: documents drawn at random as candidates, the easiest of negatives."""

from pathlib import Path

import numpy as np

from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.evaluation.ranking import Ranking
from colbertv2.planning.estimate import Cost, Estimates
from colbertv2.planning.models import RESULT_BYTES, RESULT_SECONDS, mean, ranking_bytes
from colbertv2.planning.sizes import sampled
from colbertv2.runtime import Runtime


@stage(version=1)
def run(documents: Collection, queries: Queries, *, depth: int, seed: int, out: Path, runtime: Runtime) -> None:
    """Write ``depth`` different documents for every query, in the order drawn, as ``run.trec``."""
    ids = [doc_id for doc_id, _ in documents]
    number = min(depth, len(ids))
    drawn = {
        query_id: [
            (ids[place], -float(rank))
            for rank, place in enumerate(np.random.default_rng([seed, row]).choice(len(ids), number, replace=False))
        ]
        for row, (query_id, _) in enumerate(queries)
    }
    Ranking(drawn).write(out / "run.trec", tag=out.name)


def cost(estimates: Estimates, documents: Collection, queries: Queries, depth: int, **_: object) -> Cost:
    """A draw for each query."""
    query_id, document_id = (mean(len(name) for name, _ in sampled(texts)) for texts in (queries, documents))
    deep = min(depth, len(documents))
    return Cost(
        seconds=0.1 + len(documents) * 2e-5 + len(queries) * (5e-5 + len(documents) * 1e-8 + deep * RESULT_SECONDS),
        memory=len(documents) * 100 + len(queries) * deep * RESULT_BYTES,
        disk=ranking_bytes(len(queries), deep, query_id, document_id, 28),
        sizes={"queries": len(queries), "depth": deep, "id_bytes": document_id},
    )
