"""Stage: search an index; with training queries, this mines candidates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.compression.codec import Codec
from colbertv2.data.queries import Queries
from colbertv2.evaluation.measurement import milliseconds_per_query
from colbertv2.evaluation.ranking import Ranking, remove
from colbertv2.files import write_json
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt
from colbertv2.search.engine import Engine

QUERIES_AT_ONCE = 64


@stage(version=3)
def run(index: Artifact, queries: Queries, engine: Engine, *, depth: PositiveInt, out: Path, runtime: Runtime) -> None:
    """Rank the index's documents for ``queries``, which are encoded by the model that encoded the documents.

    Writes ``run.trec`` and ``timing.json``. ``ms_per_query`` is the mean over the first ``runtime.latency_queries``
    queries, searched one at a time, without encoding the query (the protocol of the PLAID paper). ``searched_by`` says
    which device and which code of the engine searched.

    Args:
        index: the index to search.
        queries: the queries.
        engine: the search engine.
        depth: maximum number of documents per query.
    """
    from colbertv2.indexing.index import Index
    from colbertv2.modeling.colbert import are_kept, encoded_queries
    from colbertv2.parallel import run_on
    from colbertv2.search.searcher import Searcher

    opened = Index.open(index.path)
    run_on(runtime.devices, search_part, index, type(opened.codec), queries, engine, depth, out, runtime)
    parts = [out / f"run.{rank}.trec" for rank in range(runtime.devices)]
    read = [Ranking.read(part) for part in parts]
    found = {query_id: results for part in read for query_id, results in part.items()}
    Ranking(
        {query_id: found[query_id] for query_id, _ in queries if query_id in found},
        [query_id for part in read for query_id in part.tied_beyond],
    ).write(out / "run.trec", tag=out.name)
    for part in parts:
        remove(part)
    searcher = Searcher(opened, engine, runtime.device_of(0))
    texts = [text for _, text in queries]
    asked = texts if runtime.devices == 1 and are_kept(texts) else texts[: runtime.latency_queries]
    checkpoint = index.ancestor("checkpoint").path
    vectors = encoded_queries(checkpoint, asked, runtime, prompt=queries.prompt, maxlen=queries.maxlen)
    timed = vectors[: runtime.latency_queries]
    milliseconds = milliseconds_per_query(lambda one: searcher.search([one], depth), timed)
    write_json(out / "timing.json", {"ms_per_query": milliseconds, "searched_by": searcher.path})


def search_part(
    rank: int,
    world: int,
    index: Artifact,
    kind: type[Codec],  # makes a new process import the class, which it needs to load such a codec
    queries: Queries,
    engine: Engine,
    depth: PositiveInt,
    out: Path,
    runtime: Runtime,
) -> None:
    """Search every ``world``-th query, from number ``rank`` on, and write the results to ``run.<rank>.trec``.

    Args:
        rank: number of this process.
        world: number of processes.
        index: the index to search.
        kind: class of its codec.
        queries: the queries of all processes.
        engine: the search engine.
        depth: maximum number of documents per query.
        out: directory for the results.
        runtime: devices and batch size.
    """
    from colbertv2.indexing.index import Index
    from colbertv2.modeling.colbert import encoded_queries
    from colbertv2.search.scoring import ranking_of
    from colbertv2.search.searcher import Searcher

    device = runtime.device_of(rank)
    searcher = Searcher(Index.open(index.path), engine, device)
    texts = list(queries)[rank::world]
    checkpoint = index.ancestor("checkpoint").path
    asked = [text for _, text in texts]
    vectors = encoded_queries(checkpoint, asked, runtime, rank, queries.prompt, queries.maxlen)
    results = {}
    for start in runtime.bar(range(0, len(texts), QUERIES_AT_ONCE), "search", f"× {QUERIES_AT_ONCE} queries"):
        found = searcher.find(vectors[start : start + QUERIES_AT_ONCE], depth)
        results |= {query_id: one for (query_id, _), one in zip(texts[start:], found, strict=False)}
    ranking_of(results, searcher.index.doc_ids).write(out / f"run.{rank}.trec", tag="part")


def check(index: Node, queries: Queries, engine: Engine, **_: object) -> Iterator[str]:
    """Check that the engine supports the codec, and that the model can use the queries' prompt and length."""
    from colbertv2.modeling.initial import text_problems

    yield from text_problems(index.ancestor("checkpoint"), queries)
    yield from engine.check(index.bound["codec"])
