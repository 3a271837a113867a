"""Stage: build a compressed index of encoded documents."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.compression.codec import Codec
from colbertv2.files import write_json
from colbertv2.indexing.embeddings import Embeddings, notes_on_empty
from colbertv2.runtime import Runtime


@stage(version=4)
def run(embeddings: Artifact, centroids: Artifact | None, codec: Codec, *, out: Path, runtime: Runtime) -> None:
    """Learn the codec, compress every vector in ``runtime.devices`` processes, and build the inverted list.

    Writes the index and ``statistics.json``: its codec and size. ``bytes_per_token`` is the papers' figure, the size of
    one compressed vector with a centroid id of four bytes. ``index_bytes_per_token`` and ``bytes_per_document`` count
    all files of the index, in which ids take less space.

    Args:
        embeddings: the vectors to compress.
        centroids: artifact of the stage ``centroids`` for the same vectors; ``None`` for a codec without centroids.
        codec: how vectors are compressed.
    """
    from colbertv2.compression.clustering.clustering import Clusters
    from colbertv2.indexing import building
    from colbertv2.indexing.codes import CODES
    from colbertv2.indexing.index import Index

    vectors = Embeddings.open(embeddings.path)
    if centroids is None:
        building.check(vectors, codec, runtime.bar)
        clusters = building.sample_for(codec, vectors)
    else:
        clusters = Clusters.load(centroids.path)
    codec.learn(clusters, query_vectors(codec, embeddings, runtime))
    index = Index.build_learned(
        vectors,
        codec,
        out,
        num_sampled_documents=clusters.num_sampled_documents,
        bar=runtime.bar,
        devices=[runtime.device_of(rank) for rank in range(runtime.devices)],
        codes=None if centroids is None else centroids.file(CODES, mapped=True),
    )
    statistics = {
        "codec": index.codec.label,
        "num_documents": index.num_documents,
        "num_vectors": index.num_vectors,
        "num_centroids": index.num_centroids,
        "bytes_per_token": index.bytes_per_vector,
        "index_bytes_per_token": index.bytes_per_token,
        "bytes_per_document": index.bytes_per_token * index.num_vectors / index.num_documents,
        "notes": [*index.codec.notes, *notes_on_empty(index.lengths)],
    }
    write_json(out / "statistics.json", statistics)


def query_vectors(codec: Codec, embeddings: Artifact, runtime: Runtime) -> NDArray[np.float32] | None:
    """Vectors of the queries that the codec learns from, float32 ``[n, dim]``, by the model that encoded the documents.

    Returns ``None`` if the codec learns from no queries.
    """
    from colbertv2.indexing.encoding import sampled_vectors

    def encode(texts: list[str], **settings: Any) -> list[NDArray[np.float32]]:
        from colbertv2.modeling.colbert import encoded_queries

        return encoded_queries(embeddings.ancestor("checkpoint").path, texts, runtime, **settings)

    return sampled_vectors(codec, encode)


def unneeded(codec: type[Codec], **_: object) -> Iterator[str]:
    """The parent ``centroids``, if the codec has no centroids."""
    if not codec.has_centroids:
        yield "centroids"


def check(embeddings: Node, centroids: Node | None, codec: Codec) -> Iterator[str]:
    """Check that the centroids belong to these vectors, and that the codec supports the model's dimension."""
    from colbertv2.modeling.initial import dim_of

    if codec.has_centroids and centroids is None:
        yield f"{type(codec).__name__} needs centroids; give the node of the stage centroids."
    if centroids is not None and "centroids" not in centroids.stage.provides:
        yield f"centroids is the node {centroids.key} of the stage {centroids.stage.name}; expected stage centroids."
    elif centroids is not None and centroids.parents["embeddings"].address != embeddings.address:
        yield "the centroids are those of other embeddings; centroids and index must read the same node."
    yield from codec.check(dim_of(embeddings.ancestor("checkpoint")))


def lacks(centroids: Node | None, **_: object) -> Iterator[str]:
    """Say if faiss is not installed, which finds the groups of a search for the nearest centroid by groups."""
    from colbertv2.compression.clustering.kmeans import missing_package

    grouped = centroids is not None and centroids.bound["clustering"].group_search_radius is not None
    if grouped and (missing := missing_package()):
        yield missing
