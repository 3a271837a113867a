"""Stage: the single-vector baseline's ranking."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.evaluation.measurement import milliseconds_per_query
from colbertv2.evaluation.ranking import Ranking
from colbertv2.files import write_json
from colbertv2.modeling.backbone import Backbone
from colbertv2.runtime import Runtime
from colbertv2.schema import MaxLength, PositiveInt


@stage(version=1)
def run(
    backbone: Backbone,
    documents: Collection,
    queries: Queries,
    *,
    maxlen: MaxLength,
    depth: PositiveInt,
    out: Path,
    runtime: Runtime,
) -> None:
    """Rank by the dot product of mean-pooled vectors, the whole collection scored.

    Args:
        maxlen: tokens of a text. depth: documents a query.
    """
    from colbertv2.modeling.sentence import SentenceEncoder

    encoder = SentenceEncoder(backbone, maxlen, runtime.torch_device)
    ids, vectors = [], []
    stream = iter(documents)
    while shard := list(islice(stream, runtime.shard_documents)):
        ids += [document_id for document_id, _ in shard]
        texts = [text for _, text in shard]
        vectors.append(
            encoder.encode(texts, runtime.batch_tokens, lambda it: runtime.bar(it, "single vectors", "batches"))
        )
    matrix = np.concatenate(vectors)
    query_vectors = encoder.encode([text for _, text in queries], runtime.batch_tokens)

    def search_one(vector: np.ndarray) -> list[tuple[str, float]]:
        scores = matrix @ vector
        best = np.argsort(-scores, kind="stable")[:depth]
        return [(ids[position], float(scores[position])) for position in best]

    results = {query_id: search_one(vector) for (query_id, _), vector in zip(queries, query_vectors, strict=True)}
    Ranking(results).write(out / "run.trec", tag=out.name)
    milliseconds = milliseconds_per_query(search_one, list(query_vectors[: runtime.latency_queries]))
    write_json(out / "timing.json", {"ms_per_query": milliseconds})
    statistics = {"num_documents": len(ids), "bytes_per_document": matrix.shape[1] * matrix.itemsize}
    write_json(out / "statistics.json", statistics)


def check(backbone: Backbone, maxlen: int, **_: object) -> Iterator[str]:
    """No more tokens than the backbone has positions."""
    if maxlen > backbone.max_length:
        yield f"maxlen is {maxlen}; the backbone reads at most {backbone.max_length} tokens."
