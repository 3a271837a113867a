"""Stage: build a compressed index of encoded documents."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.compression.codec import Codec
from colbertv2.files import write_json
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt


@stage(version=4, divided=True, prepares=True, neutral={"num_shards": 1})
def run(
    embeddings: Artifact,
    centroids: Artifact | None,
    codec: Codec,
    *,
    num_shards: PositiveInt,
    out: Path,
    runtime: Runtime,
) -> None:
    """Learn the codec, compress every vector, in parts, and build the inverted list.

    Writes the index and ``statistics.json``, its codec and size
    (:func:`~colbertv2.indexing.sharded_index.statistics_of`).

    Args:
        embeddings: the vectors to compress.
        centroids: artifact of the stage ``centroids`` for the same vectors; ``None`` for a codec without centroids.
        codec: how vectors are compressed.
        num_shards: 1 for an index in one piece. With more, it is kept as so many indexes of consecutive documents,
            which are searched apart. The number is part of the address, because an approximate engine keeps its best
            documents of each shard, and so finds others than in one index.
    """
    from colbertv2.compression.clustering.clustering import Clusters
    from colbertv2.indexing import building
    from colbertv2.indexing.codes import CODES
    from colbertv2.indexing.sharded_index import open_index, statistics_of

    vectors = Embeddings.open(embeddings.path)

    def learn() -> int:
        if centroids is None:
            building.check(vectors, codec, runtime.bar)
            clusters = building.sample_for(codec, vectors)
        else:
            clusters = Clusters.load(centroids.path)
        codec.learn(clusters, query_vectors(codec, embeddings, runtime))
        building.save_codec(out, codec)
        return clusters.num_sampled_documents

    building.encode_all(
        vectors,
        out,
        type(codec),
        num_sampled_documents=runtime.once(out, learn),
        bar=runtime.bar,
        divide=partial(runtime.divide, out=out),
        num_shards=num_shards,
        codes=None if centroids is None else centroids.file(CODES, mapped=True),
    )
    write_json(out / "statistics.json", statistics_of(open_index(out)))


def query_vectors(codec: Codec, embeddings: Artifact, runtime: Runtime) -> NDArray[np.float32] | None:
    """Vectors of the queries that the codec learns from, float32 ``[n, dim]``, by the model that encoded the documents.

    Returns ``None`` if the codec learns from no queries.
    """
    from colbertv2.indexing.encoding import sampled_vectors

    def encode(texts: list[str], **settings: Any) -> list[NDArray[np.float32]]:
        from colbertv2.modeling.query_vectors import encoded_queries

        return encoded_queries(embeddings.ancestor("checkpoint").path, texts, runtime, **settings)

    return sampled_vectors(codec, encode)


def unneeded(codec: type[Codec], **_: object) -> Iterator[str]:
    """The parent ``centroids``, if the codec has no centroids."""
    if not codec.has_centroids:
        yield "centroids"


def check(embeddings: Node, centroids: Node | None, codec: Codec, num_shards: int) -> Iterator[str]:
    """Check that the centroids belong to these vectors, and that the codec and the number of shards fit them."""
    from colbertv2.indexing.shards import shard_problems
    from colbertv2.modeling.initial import dim_of

    if codec.has_centroids and centroids is None:
        yield f"{type(codec).__name__} needs centroids; give the node of the stage centroids."
    if centroids is not None and "centroids" not in centroids.stage.provides:
        yield f"centroids is the node {centroids.key} of the stage {centroids.stage.name}; expected stage centroids."
    elif centroids is not None and centroids.parents["embeddings"].address != embeddings.address:
        yield "the centroids are those of other embeddings; centroids and index must read the same node."
    yield from codec.check(dim_of(embeddings.ancestor("checkpoint")))
    documents = embeddings.bound.get("documents")
    if documents is not None:
        yield from shard_problems(num_shards, len(documents))


def lacks(centroids: Node | None, **_: object) -> Iterator[str]:
    """Say if faiss is not installed, which finds the groups of a search for the nearest centroid by groups."""
    from colbertv2.compression.clustering.kmeans import missing_package

    grouped = centroids is not None and centroids.bound["clustering"].group_search_radius is not None
    if grouped and (missing := missing_package()):
        yield missing
