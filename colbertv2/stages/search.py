"""Stage: search an index; with training queries, this mines candidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.compression.codec import Codec
from colbertv2.data.queries import Queries
from colbertv2.division import part_size
from colbertv2.evaluation.measurement import milliseconds_per_query
from colbertv2.evaluation.ranking import RUN
from colbertv2.files import write_json
from colbertv2.parts import WorkPart
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt
from colbertv2.search.engine import Engine

if TYPE_CHECKING:
    from colbertv2.modeling.query_vectors import QueryVectors

QUERIES_AT_ONCE = 64
FOUND = "found.npz"  # of a part: what some queries found in one shard


@stage(version=3, divided=True)
def run(index: Artifact, queries: Queries, engine: Engine, *, depth: PositiveInt, out: Path, runtime: Runtime) -> None:
    """Rank the index's documents for ``queries``, which are encoded by the model that encoded the documents.

    Writes ``run.trec`` and ``timing.json``. ``ms_per_query`` is the mean over the first ``runtime.latency_queries``
    queries, searched one at a time, without encoding the query (the protocol of the PLAID paper). ``searched_by`` says
    which device and which code of the engine searched. If the engine measures its settings on the index (of an index
    in shards: on the first), ``calibration.json`` has what was measured.

    Args:
        index: the index to search.
        queries: the queries.
        engine: the search engine.
        depth: maximum number of documents per query.
    """
    from colbertv2.indexing.sharded_index import open_index
    from colbertv2.search.scoring import ranking_of
    from colbertv2.search.searcher import Searcher
    from colbertv2.search.sharded import load_found, merged

    opened, asked = open_index(runtime.local(index.path)), list(queries)
    measured = engine.calibration(opened.shards[0], depth)
    engine = engine.settled(opened.shards[0], depth)
    size = part_size(len(asked) * len(opened.shards), QUERIES_AT_ONCE)
    chunks = -(-len(asked) // size)
    parts = runtime.divide(
        chunks * len(opened.shards),
        search_parts,
        index,
        type(opened.codec),
        queries,
        engine,
        depth,
        size,
        runtime,
        out=out,
    )
    results = {}
    for chunk in range(chunks):
        shards = [load_found(part.directory / FOUND) for part in parts[chunk::chunks]]
        best = [merged(found, opened, depth) for found in zip(*shards, strict=True)]
        results |= {query_id: one for (query_id, _), one in zip(asked[chunk * size :], best, strict=False)}
    ranking_of(results, opened.doc_ids).write(out / RUN, tag=out.name)
    device = runtime.device_of(0)
    searcher = Searcher(opened, engine, device)
    timed = vectors_of(index, queries, device, runtime)[: runtime.latency_queries]
    milliseconds = milliseconds_per_query(lambda one: searcher.search([one], depth), timed)
    write_json(out / "timing.json", {"ms_per_query": milliseconds, "searched_by": searcher.path})
    if measured is not None:
        write_json(out / "calibration.json", measured.record())


def search_parts(
    parts: Iterable[WorkPart],
    device: Any,
    index: Artifact,
    kind: type[Codec],  # makes a new process import the class, which it needs to load such a codec
    queries: Queries,
    engine: Engine,
    depth: PositiveInt,
    size: int,
    runtime: Runtime,
) -> None:
    """Search one shard of the index for some queries in each part, and write what was found to ``found.npz``.

    The parts of the first shard come first, so a process has one shard at a time in its memory and that of its device.

    Args:
        parts: parts of the queries and shards.
        device: the device to encode and search on.
        index: the index to search.
        kind: class of its codec.
        queries: all queries.
        engine: the search engine.
        depth: maximum number of documents per query.
        size: queries per part.
        runtime: batch size.
    """
    from colbertv2.indexing.sharded_index import open_shard
    from colbertv2.search.searcher import Searcher
    from colbertv2.search.sharded import save_found

    vectors, chunks, current = vectors_of(index, queries, device, runtime), -(-len(queries) // size), None
    for part in runtime.bar(parts, "search", f"× {size} queries"):
        shard, chunk = divmod(part.number, chunks)
        if current is None or current[0] != shard:
            current = None  # its memory is needed for the next
            current = shard, Searcher(open_shard(runtime.local(index.path), shard), engine, device)
        found, end = [], min((chunk + 1) * size, len(queries))
        for start in range(chunk * size, end, QUERIES_AT_ONCE):
            found += current[1].find(vectors[start : min(start + QUERIES_AT_ONCE, end)], depth)
        save_found(part.directory / FOUND, found)


def vectors_of(index: Artifact, queries: Queries, device: Any, runtime: Runtime) -> QueryVectors:
    """The vectors of the queries, by the model that encoded the documents; computed when they are asked for."""
    from colbertv2.modeling.query_vectors import QueryVectors

    checkpoint, texts = index.ancestor("checkpoint").path, [text for _, text in queries]
    return QueryVectors(checkpoint, texts, runtime, device, queries.prompt, queries.maxlen)


def check(index: Node, queries: Queries, engine: Engine, **_: object) -> Iterator[str]:
    """Check that the engine supports the codec, and that the model can use the queries' prompt and length."""
    from colbertv2.modeling.initial import text_problems

    yield from text_problems(index.ancestor("checkpoint"), queries)
    yield from engine.check(index.bound["codec"])
