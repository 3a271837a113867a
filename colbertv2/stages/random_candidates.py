"""Stage: draw random documents as candidates, for the easiest negatives."""

from pathlib import Path

import numpy as np

from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection, is_empty
from colbertv2.data.queries import Queries
from colbertv2.evaluation.ranking import Ranking
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt, Seed


@stage(version=2)
def run(
    documents: Collection, queries: Queries, *, depth: PositiveInt, seed: Seed, out: Path, runtime: Runtime
) -> None:
    """For each query, draw ``depth`` different documents with text, and write them in this order to ``run.trec``."""
    ids = [doc_id for doc_id, text in documents if not is_empty(text)]
    number = min(depth, len(ids))
    drawn = {
        query_id: [
            (ids[place], -float(rank))
            for rank, place in enumerate(np.random.default_rng([seed, row]).choice(len(ids), number, replace=False))
        ]
        for row, (query_id, _) in enumerate(queries)
    }
    Ranking(drawn).write(out / "run.trec", tag=out.name)
