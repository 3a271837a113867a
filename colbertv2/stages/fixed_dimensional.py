"""Stage: rank documents by encodings of a fixed number of dimensions, one per document, as candidates for re-ranking.

The encoding is MUVERA's, which is dense, or SMVE's, which is sparse.
"""

from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.queries import Queries
from colbertv2.evaluation.measurement import milliseconds_per_query
from colbertv2.files import write_json
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt, Seed
from colbertv2.search.document_encoding import DocumentEncoding


@stage(version=1)
def run(
    embeddings: Artifact,
    queries: Queries,
    encoding: DocumentEncoding,
    *,
    depth: PositiveInt,
    seed: Seed,
    out: Path,
    runtime: Runtime,
) -> None:
    """Encode each document as one vector, and rank documents by inner products.

    Writes ``run.trec``, ``timing.json`` {"ms_per_query"} and ``statistics.json`` {"num_documents", "dimensions",
    "bytes_per_document"}. The time includes turning a query's vectors into one, but not the model. Documents without
    vectors are left out.

    Args:
        embeddings: the uncompressed vectors of the documents.
        queries: the queries, which are encoded by the model that encoded the documents.
        encoding: the kind of encoding, and its settings.
        depth: maximum number of documents per query.
        seed: the seed of everything that the encoding draws at random.
    """
    from colbertv2.indexing.embeddings import Embeddings
    from colbertv2.modeling.query_vectors import encoded_queries
    from colbertv2.search.scoring import ranking_of

    opened = Embeddings.open(embeddings.path)
    index = encoding.index(list(opened.shards()), opened.doc_ids, opened.dim, seed)
    checkpoint = embeddings.ancestor("checkpoint").path
    texts = [text for _, text in queries]
    vectors = encoded_queries(checkpoint, texts, runtime, prompt=queries.prompt, maxlen=queries.maxlen)
    found = {query_id: index.find(own, depth) for (query_id, _), own in zip(queries, vectors, strict=True)}
    ranking_of(found, index.doc_ids).write(out / "run.trec", tag=out.name)
    milliseconds = milliseconds_per_query(lambda own: index.find(own, depth), vectors[: runtime.latency_queries])
    write_json(out / "timing.json", {"ms_per_query": milliseconds})
    statistics = {
        "num_documents": len(index.doc_ids),
        "dimensions": index.dimensions,
        "bytes_per_document": index.bytes_per_document,
    }
    write_json(out / "statistics.json", statistics)


def check(embeddings: Node, queries: Queries, encoding: DocumentEncoding, **_: object) -> Iterator[str]:
    """Check that the vectors can be encoded, and that the model can use the queries' prompt and length."""
    from colbertv2.modeling.initial import dim_of, text_problems

    yield from text_problems(embeddings.ancestor("checkpoint"), queries)
    yield from encoding.check(dim_of(embeddings.ancestor("checkpoint")))
