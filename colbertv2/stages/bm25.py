"""Stage: rank documents with BM25."""

from pathlib import Path

from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.evaluation.measurement import milliseconds_per_query
from colbertv2.files import write_json
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt
from colbertv2.search.bm25 import BM25
from colbertv2.search.scoring import ranking_of


@stage(version=2)
def run(
    documents: Collection, queries: Queries, bm25: BM25, *, depth: PositiveInt, out: Path, runtime: Runtime
) -> None:
    """Rank ``documents`` for ``queries`` with BM25.

    Writes ``run.trec``, ``timing.json`` {"ms_per_query"} and ``statistics.json`` {"num_documents",
    "bytes_per_document"}.

    Args:
        bm25: tokenization and parameters.
        depth: maximum number of documents per query.
    """
    index = bm25.index(runtime.bar(documents, "BM25 index", "documents", total=len(documents)))
    found = {
        query_id: index.find(text, depth)
        for query_id, text in runtime.bar(queries, "BM25 search", "queries", total=len(queries))
    }
    ranking_of(found, index.doc_ids).write(out / "run.trec", tag="BM25")
    sample = [text for _, text in queries][: runtime.latency_queries]
    milliseconds = milliseconds_per_query(lambda text: index.search_one(text, depth), sample)
    write_json(out / "timing.json", {"ms_per_query": milliseconds})
    statistics = {"num_documents": len(index.doc_ids), "bytes_per_document": index.num_bytes / len(index.doc_ids)}
    write_json(out / "statistics.json", statistics)
