"""Stage: re-rank the candidates of another ranking, such as BM25's, by exact MaxSim."""

from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.queries import Queries, differ
from colbertv2.evaluation.measurement import milliseconds_per_query, timing
from colbertv2.evaluation.ranking import stored_ranking
from colbertv2.files import write_json
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt
from colbertv2.search.exhaustive import Exhaustive

QUERIES_AT_ONCE = 64


@stage(version=2)
def run(
    candidates: Artifact,
    index: Artifact,
    queries: Queries,
    *,
    candidate_depth: PositiveInt,
    depth: PositiveInt,
    out: Path,
    runtime: Runtime,
) -> None:
    """Rank each query's first ``candidate_depth`` candidates by MaxSim with the decoded vectors of the index.

    Queries are encoded by the model that encoded the documents. A query without candidates gets no results.

    Writes ``run.trec`` and ``timing.json``. ``rerank_ms_per_query`` is the time of re-ranking alone, in milliseconds
    per query, measured as in the stage ``search``. ``ms_per_query`` adds the candidates' own ``ms_per_query``, which
    was measured at the depth of their ranking; it is null if they have none. Neither includes encoding the query.

    Args:
        candidates: a ranking of documents of the index.
        index: the index with the vectors.
        queries: the queries of the candidates.
        candidate_depth: number of candidates to re-rank per query.
        depth: maximum number of documents per query in the result.
    """
    from colbertv2.modeling.query_vectors import encoded_queries
    from colbertv2.search.scoring import ranking_of
    from colbertv2.search.searcher import Searcher

    first = stored_ranking(candidates)
    texts, device = list(queries), runtime.device_of(0)
    ids = [[document for document, _ in first.get(query_id, ())][:candidate_depth] for query_id, _ in texts]
    checkpoint = index.ancestor("checkpoint").path
    asked = [text for _, text in texts]
    vectors = encoded_queries(checkpoint, asked, runtime, prompt=queries.prompt, maxlen=queries.maxlen)
    searcher = Searcher.open(runtime.local(index.path), Exhaustive(), device)
    results = {}
    for start in runtime.bar(range(0, len(texts), QUERIES_AT_ONCE), "re-rank", f"× {QUERIES_AT_ONCE} queries"):
        batch = slice(start, start + QUERIES_AT_ONCE)
        found = searcher.find_among(vectors[batch], ids[batch], depth)
        results |= {query_id: one for (query_id, _), one in zip(texts[batch], found, strict=True)}
    ranking_of(results, searcher.index.doc_ids).write(out / "run.trec", tag=out.name)

    timed = list(zip(vectors, ids, strict=True))[: runtime.latency_queries]
    alone = milliseconds_per_query(lambda one: searcher.rerank([one[0]], [one[1]], depth), timed)
    before = timing(candidates).get("ms_per_query")
    both = None if before is None else before + alone
    write_json(out / "timing.json", {"ms_per_query": both, "rerank_ms_per_query": alone})


def check(candidates: Node, index: Node, queries: Queries, candidate_depth: int, depth: int) -> Iterator[str]:
    """Check that the candidates fit the queries and the index, and that the model can use their texts."""
    from colbertv2.modeling.initial import text_problems

    yield from text_problems(index.ancestor("checkpoint"), queries)
    given = candidates.bound
    if "queries" in given and differ(given["queries"], queries):
        yield "the candidates are for other queries; both must use the same."
    of = candidates.parents["embeddings"].bound if "embeddings" in candidates.parents else given
    if "documents" in of and differ(of["documents"], index.parents["embeddings"].bound["documents"]):
        yield "the candidates are from other documents than those of the index; both must use the same."
    if "candidates" not in given and candidate_depth > (deepest := given.get("depth", candidate_depth)):
        yield (
            f"candidate_depth is {candidate_depth}, but there are at most {deepest} candidates per query; lower it, or "
            "raise the depth of the candidates."
        )
