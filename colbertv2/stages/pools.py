"""Stage: search each query in its own pool of documents, with a separate index for each pool (PeerQA)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.codec import Codec
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import milliseconds_per_query
from colbertv2.evaluation.ranking import Ranking, Results
from colbertv2.files import write_json
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter, notes_on_empty
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt, Seed
from colbertv2.search.engine import Engine

if TYPE_CHECKING:
    from colbertv2.indexing.index import Index


@stage(version=3)
def run(
    embeddings: Artifact,
    queries: Queries,
    clustering: Clustering,
    codec: Codec,
    engine: Engine,
    *,
    depth: PositiveInt,
    seed: Seed,
    out: Path,
    runtime: Runtime,
) -> None:
    """For each query, rank the documents of its pool.

    The id of ``queries`` decides which documents form a pool (:mod:`colbertv2.data.queries`). One pool after the other
    is indexed in a temporary directory, searched and deleted, in one process; memory and disk are bounded by the
    largest pool. Pools without queries are skipped.

    Writes ``run.trec``; ``timing.json`` as the stage ``search`` does, with three timed passes over the queries of each
    pool; and ``statistics.json``. Its sizes are sums over the searched pools, and its ``notes`` say, pool by pool, what
    the codec had to change, such as the number of centroids.

    Args:
        embeddings: the vectors of all documents.
        queries: the queries, with their pools.
        clustering: how the vectors of each pool are clustered.
        codec: how vectors are compressed; it learns from each pool separately.
        engine: the search engine.
        depth: maximum number of documents per query. For a measure without cut-off, it must be at least the size of the
            largest pool.
        seed: the seed of the centroids of every pool.
    """
    from colbertv2.modeling.query_vectors import encoded_queries
    from colbertv2.search.scoring import ranking_of
    from colbertv2.search.searcher import Searcher

    vectors = Embeddings.open(embeddings.path)
    positions = pool_positions(vectors.doc_ids, queries)
    asked = dict(queries)
    checkpoint = embeddings.ancestor("checkpoint").path
    texts = list(asked.values())
    found = encoded_queries(checkpoint, texts, runtime, prompt=queries.prompt, maxlen=queries.maxlen)
    encoded = dict(zip(asked, found, strict=True))
    timed = set(list(asked)[: runtime.latency_queries])
    results: dict[str, Results] = {}
    tied: list[str] = []
    sizes, notes, milliseconds, searched_by = Counter(), [], 0.0, ""
    pools = queries_by_pool(queries)
    for pool, query_ids in runtime.bar(pools.items(), "search pools", "pools", total=len(pools)):
        with TemporaryDirectory(dir=None if runtime.scratch else out) as directory:
            index = index_of(vectors, positions[pool], clustering, codec, Path(directory), seed, runtime)
            searcher = Searcher(index, engine, runtime.device_of(0))
            found = searcher.find([encoded[one] for one in query_ids], depth)
            ranking = ranking_of(dict(zip(query_ids, found, strict=True)), index.doc_ids)
            results |= ranking
            tied += ranking.tied_beyond
            if sample := [encoded[one] for one in query_ids if one in timed]:
                mean = milliseconds_per_query(lambda one, own=searcher: own.search([one], depth), sample)
                milliseconds += mean * len(sample) / len(timed)
            searched_by = searcher.path
            sizes.update(sizes_of(index))
            notes += [f"{pool}: {note}" for note in [*codec.notes, *notes_on_empty(index.lengths)]]
    Ranking({query_id: results[query_id] for query_id in asked}, tied).write(out / "run.trec", tag=out.name)
    write_json(out / "timing.json", {"ms_per_query": milliseconds, "searched_by": searched_by})
    taken = sizes.pop("bytes")
    statistics = {
        "codec": codec.label,
        "num_pools": len(pools),
        **sizes,
        "bytes_per_token": codec.bytes_per_vector(vectors.dim),
        "index_bytes_per_token": taken / sizes["num_vectors"],
        "bytes_per_document": taken / sizes["num_documents"],
        "notes": notes,
    }
    write_json(out / "statistics.json", statistics)


def queries_by_pool(queries: Queries) -> dict[str, list[str]]:
    """The query ids of each pool, with pools and ids in the order of ``queries``."""
    from colbertv2.data.queries import query_pools

    found: dict[str, list[str]] = {}
    for query_id, pool in query_pools(queries).items():
        found.setdefault(pool, []).append(query_id)
    return found


def pool_positions(doc_ids: list[str], queries: Queries) -> dict[str, NDArray[np.int64]]:
    """The positions of each pool's documents in ``doc_ids``, ascending int64 ``[n]``, by pool.

    Raises:
        InputError: a document belongs to no pool, or the pool of a query has no documents.
    """
    from colbertv2.data.queries import document_pools, query_pools

    pool_of, found = document_pools(queries), {}
    for position, doc_id in enumerate(doc_ids):
        if doc_id not in pool_of:
            raise InputError(
                f"The encoded document {doc_id!r} is not in {queries.id!r}; use one id for documents and queries."
            )
        found.setdefault(pool_of[doc_id], []).append(position)
    for query_id, pool in query_pools(queries).items():
        if pool not in found:
            raise InputError(
                f"The pool {pool!r} of the query {query_id!r} of {queries.id!r} has no documents; add them, or remove "
                "the query."
            )
    return {pool: np.array(positions, dtype=np.int64) for pool, positions in found.items()}


def index_of(
    vectors: Embeddings,
    positions: NDArray[np.int64],
    clustering: Clustering,
    codec: Codec,
    path: Path,
    seed: int,
    runtime: Runtime,
) -> Index:
    """Build an index of only the documents at ``positions`` (ascending) in the directory ``path``."""
    from colbertv2.indexing.index import Index

    runs = np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1)  # consecutive documents are read at once
    own = [vectors.vectors(int(vectors.offsets[run[0]]), int(vectors.offsets[run[-1] + 1])) for run in runs]
    writer = EmbeddingsWriter(path / "embeddings", vectors.dim)
    doc_ids = [vectors.doc_ids[position] for position in positions]
    writer.add(doc_ids, np.concatenate(own), vectors.lengths[positions])
    writer.close()
    return Index.build(
        Embeddings.open(writer.path),
        codec,
        path / "index",
        seed=seed,
        clustering=clustering,
        device=runtime.torch_device,
        bar=lambda items, *_: items,  # the loop over the pools has a bar already
    )


def sizes_of(index: Index) -> dict[str, int]:
    """The sizes of an index that are summed over pools; ``bytes`` counts all its files on disk."""
    return {
        "num_documents": index.num_documents,
        "num_vectors": index.num_vectors,
        "num_centroids": index.num_centroids,
        "bytes": round(index.bytes_per_token * index.num_vectors),
    }


def check(embeddings: Node, queries: Queries, codec: Codec, engine: Engine, **_: object) -> Iterator[str]:
    """Check that the pools consist of the encoded documents, and that model, prompt, codec and engine fit together."""
    from colbertv2.data.queries import document_pools
    from colbertv2.modeling.initial import dim_of, text_problems

    yield from text_problems(embeddings.ancestor("checkpoint"), queries)
    documents = Collection(queries.id)
    if embeddings.bound["documents"].identity() != documents.identity():
        yield (
            f"the encoded documents are of {embeddings.bound['documents'].id!r}, but the queries of {queries.id!r}; "
            "use one id for both."
        )
    pool_positions(list(document_pools(queries)), queries)
    yield from codec.check(dim_of(embeddings.ancestor("checkpoint")))
    yield from engine.check(codec)
    if codec.sample_queries():
        yield "codec.queries can't be used when each pool has its own index; set codec.queries=null."


def lacks(codec: Codec, **_: object) -> Iterator[str]:
    """Say if faiss is not installed, unless the codec has no centroids."""
    from colbertv2.compression.clustering.kmeans import missing_package

    if codec.has_centroids and (missing := missing_package()):
        yield missing
