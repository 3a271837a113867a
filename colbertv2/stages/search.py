"""Stage: search an index; also how candidates are mined, with training queries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.queries import Queries
from colbertv2.evaluation.latency import milliseconds_per_query
from colbertv2.evaluation.ranking import Ranking
from colbertv2.runtime import Runtime
from colbertv2.search.engine import Engine

if TYPE_CHECKING:
    from colbertv2.compression.codec import Codec

QUERIES_AT_ONCE = 64
KEPT_CHARACTERS = 2**20  # of queries whose vectors are kept for the next search: some hundred MB


@stage(version=1)
def run(index: Artifact, queries: Queries, engine: Engine, *, depth: int, out: Path, runtime: Runtime) -> None:
    """Rank the index's documents for ``queries``, encoded by the model that encoded the documents.

    Writes ``run.trec`` and ``timing.json``: milliseconds a query, one at a time, encoding of the query excluded (the
    PLAID paper's protocol), over the first ``runtime.latency_queries``; and on what device, by what part of the engine.

    Args:
        depth: documents a query, at most.
    """
    from colbertv2.distributed import run_on
    from colbertv2.indexing.index import Index
    from colbertv2.search.searcher import Searcher

    run_on(runtime.devices, search_part, index, queries, engine, depth, out, runtime)
    parts = [out / f"run.{rank}.trec" for rank in range(runtime.devices)]
    found = {query_id: results for part in parts for query_id, results in Ranking.read(part).items()}
    Ranking({query_id: found[query_id] for query_id, _ in queries if query_id in found}).write(
        out / "run.trec", tag=out.name
    )
    for part in parts:
        part.unlink()
    searcher = Searcher(Index.open(index.path), engine, runtime.device_of(0))
    texts = [text for _, text in queries]
    asked = texts if runtime.devices == 1 and kept(texts) else texts[: runtime.latency_queries]
    vectors = query_vectors(index, asked, runtime, 0)[: runtime.latency_queries]
    milliseconds = milliseconds_per_query(lambda one: searcher.search([one], depth), vectors)
    (out / "timing.json").write_text(json.dumps({"ms_per_query": milliseconds, "searched_by": searcher.path}) + "\n")


def query_vectors(documents: Artifact, texts: list[str], runtime: Runtime, rank: int) -> list[NDArray[Any]]:
    """The vectors of each text, by the model that encoded the documents of an index or of embeddings."""
    encode = encoded if kept(texts) else encoded.__wrapped__
    return encode(
        documents.ancestor("checkpoint").path, tuple(texts), runtime.batch_tokens, str(runtime.device_of(rank))
    )


def kept(texts: list[str]) -> bool:
    """Whether the vectors of so many texts are kept for the next search."""
    return sum(map(len, texts)) <= KEPT_CHARACTERS


@lru_cache(maxsize=1)  # the points of a sweep ask different indexes the same queries
def encoded(checkpoint: Path, texts: tuple[str, ...], batch_tokens: int, device: str) -> list[NDArray[Any]]:
    """``[Lq, dim]`` of each text."""
    from colbertv2.modeling.colbert import ColBERT

    return ColBERT.load(checkpoint).to(device).encode_queries(list(texts), batch_tokens)


def search_part(
    rank: int, world: int, index: Artifact, queries: Queries, engine: Engine, depth: int, out: Path, runtime: Runtime
) -> None:
    """Write the results of one process's queries, every so-manieth."""
    from colbertv2.indexing.index import Index
    from colbertv2.search.searcher import Searcher

    device = runtime.device_of(rank)
    searcher = Searcher(Index.open(index.path), engine, device)
    texts = list(queries)[rank::world]
    vectors = query_vectors(index, [text for _, text in texts], runtime, rank)
    results = {}
    for start in runtime.bar(range(0, len(texts), QUERIES_AT_ONCE), "search", f"× {QUERIES_AT_ONCE} queries"):
        ranked = searcher.search(vectors[start : start + QUERIES_AT_ONCE], depth)
        results |= {query_id: one for (query_id, _), one in zip(texts[start:], ranked, strict=False)}
    Ranking(results).write(out / f"run.{rank}.trec", tag="part")


def check(index: Node, engine: Engine, depth: int, **_: object) -> Iterator[str]:
    """The engine must go with the codec."""
    yield from unsearchable(engine, index.bound["codec"], depth)


def unsearchable(engine: Engine, codec: Codec, depth: int) -> Iterator[str]:
    """Why an engine can't search vectors of a codec to a depth."""
    if engine.needs_centroids and not codec.has_centroids:
        engine_name, codec_name = type(engine).__name__, type(codec).__name__
        yield f"{engine_name} probes centroids, which {codec_name} has not; use search=exhaustive or codec=residual."
    if depth < 1:
        yield f"depth is {depth}; expected at least 1."
