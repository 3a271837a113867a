"""Stage: rank documents with the single-vector baseline."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from colbertv2.artifacts.stage import stage
from colbertv2.checkpoints.pretrained import too_long
from colbertv2.data.collection import Collection, is_empty
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import milliseconds_per_query
from colbertv2.evaluation.ranking import greatest_first, inverse
from colbertv2.files import write_json
from colbertv2.modeling.backbone import Backbone
from colbertv2.runtime import Runtime
from colbertv2.schema import MaxLength, PositiveInt, Precision
from colbertv2.search.scoring import Found, best_documents, inner_products, ranking_of


@stage(version=2)
def run(
    backbone: Backbone,
    documents: Collection,
    queries: Queries,
    *,
    maxlen: MaxLength,
    depth: PositiveInt,
    precision: Precision,
    out: Path,
    runtime: Runtime,
) -> None:
    """Rank all documents by the dot product of mean-pooled vectors, exhaustively.

    Writes ``run.trec``, ``timing.json`` {"ms_per_query"} and ``statistics.json`` {"num_documents",
    "bytes_per_document"}. Documents without text are left out: their vectors would be those of the special tokens.

    Args:
        backbone: the sentence encoder.
        documents: the collection.
        queries: the queries.
        maxlen: maximum number of tokens per query or document.
        depth: maximum number of documents per query.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``, of the encoder; vectors are float32.

    Raises:
        InputError: no document has text.
    """
    from colbertv2.modeling.attention import with_attention
    from colbertv2.modeling.sentence import SentenceEncoder

    encoder = with_attention(SentenceEncoder(backbone, maxlen, runtime.torch_device), runtime.attention)
    ids, vectors = [], []
    stream = ((doc_id, text) for doc_id, text in documents if not is_empty(text))
    while shard := list(islice(stream, runtime.shard_documents)):
        ids += [document_id for document_id, _ in shard]
        texts = [text for _, text in shard]
        bar = partial(runtime.bar, description="single vectors", unit="batches")
        vectors.append(encoder.encode(texts, runtime.batch_tokens, bar, precision))
    if not vectors:
        raise InputError(f"{documents.id!r} has no document with text; expected at least one.")
    matrix = np.concatenate(vectors)
    query_vectors = encoder.encode([text for _, text in queries], runtime.batch_tokens, precision=precision)

    positions, ranks = np.arange(len(ids)), inverse(greatest_first(ids))

    def search_one(vector: np.ndarray) -> Found:
        return best_documents(positions, inner_products(matrix, vector), depth, ranks)

    found = {query_id: search_one(vector) for (query_id, _), vector in zip(queries, query_vectors, strict=True)}
    ranking_of(found, ids).write(out / "run.trec", tag=out.name)
    milliseconds = milliseconds_per_query(search_one, list(query_vectors[: runtime.latency_queries]))
    write_json(out / "timing.json", {"ms_per_query": milliseconds})
    statistics = {"num_documents": len(ids), "bytes_per_document": matrix.shape[1] * matrix.itemsize}
    write_json(out / "statistics.json", statistics)


def check(backbone: Backbone, maxlen: int, **_: object) -> Iterator[str]:
    """Check that the backbone can read texts of ``maxlen`` tokens."""
    if problem := too_long("maxlen", maxlen, backbone.max_length):
        yield problem
