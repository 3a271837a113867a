"""Stage: a compressed index over encoded documents."""

import json
from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.clustering.clusters import Clusters
from colbertv2.compression.codec import Codec
from colbertv2.compression.product import ProductCodec
from colbertv2.indexing.building import BLOCK_VECTORS
from colbertv2.indexing.codes import code_width
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.index import Index
from colbertv2.planning.estimate import Cost, Estimates
from colbertv2.runtime import Runtime
from colbertv2.stages.centroids import CODES, COMPARED
from colbertv2.stages.table import read_json

ENCODED = 2e8  # values a second that become residuals
CODEWORD_SEARCH = 16.0  # operations for each pair of dimensions where codewords stand for several at once
LISTED = 1.0  # bytes of the inverted list for each vector


@stage(version=3)
def run(embeddings: Artifact, centroids: Artifact, codec: Codec, *, seed: int, out: Path, runtime: Runtime) -> None:
    """Learn residuals for ``centroids``, encode every vector in ``runtime.devices`` processes, build the inverted list.

    Writes the index and ``statistics.json``: its codec and size. ``bytes_per_token`` is what one encoded vector
    takes with an id of four bytes, the papers' figure; ``index_bytes_per_token`` counts everything on disk, where ids
    take fewer, as ``bytes_per_document`` does.

    Args:
        centroids: of the stage of that name, for the same vectors and codec.
    """
    codec.learn(Clusters.load(centroids.path), seed=seed, device=runtime.torch_device)
    index = Index.build_fitted(
        Embeddings.open(embeddings.path),
        codec,
        out,
        num_sampled_documents=read_json(centroids.path / "sample.json")["num_sampled_documents"],
        device=runtime.torch_device,
        bar=runtime.bar,
        devices=[runtime.device_of(rank) for rank in range(runtime.devices)],
        codes=centroids.path / CODES if codec.shares_codes else None,
    )
    statistics = {
        "codec": index.codec.label,
        "num_documents": index.num_documents,
        "num_vectors": index.num_vectors,
        "num_centroids": 0 if index.codec.centroids is None else len(index.codec.centroids),
        "bytes_per_token": index.codec.bytes_per_vector,
        "index_bytes_per_token": index.bytes_per_token,
        "bytes_per_document": index.bytes_per_token * index.num_vectors / index.num_documents,
        "notes": index.codec.notes,
    }
    (out / "statistics.json").write_text(json.dumps(statistics, indent=2) + "\n")


def check(embeddings: Node, centroids: Node, codec: Codec, **_: object) -> Iterator[str]:
    """The centroids must be those of these vectors and this codec."""
    if centroids.parents["embeddings"].address != embeddings.address:
        yield "the centroids are those of other embeddings; both must read the same node."
    if (found := centroids.bound["codec"].identity()) != (wanted := codec.cluster_settings()):
        yield f"the centroids are those of another codec: {found}; expected {wanted}."


def cost(estimates: Estimates, embeddings: Node, centroids: Node, codec: Codec, **_: object) -> Cost:
    """Reading, encoding and writing every vector once; a few blocks of them in memory."""
    documents, vectors, dim = (estimates.size(embeddings, name) for name in ("documents", "vectors", "dim"))
    number = estimates.size(centroids, "centroids")
    stored = bytes_of_vector(codec, dim)
    block = min(vectors, BLOCK_VECTORS)
    flops = 0.0
    if codec.has_centroids:
        reach = codec.cluster_settings().get("assignment_reach")
        held_out = min(vectors / 20, 50_000) * (1 if reach is None else COMPARED)
        flops = 2 * dim * number * (held_out + (0 if codec.shares_codes else vectors * COMPARED))
        flops += vectors * dim * dim * (CODEWORD_SEARCH if isinstance(codec, ProductCodec) else 0)
    listed = vectors * (code_width(max(1, int(number))) + LISTED) if number else 0
    return Cost(
        flops=flops,
        seconds=0.5 + vectors * dim / ENCODED,
        memory=block * dim * 4 * 5 + min(vectors, 2**24) * 12 + number * dim * 12,
        disk=vectors * stored + listed + 2 * number * dim + documents * (2 + estimates.size(embeddings, "id_bytes")),
        sizes={
            "documents": documents,
            "vectors": vectors,
            "dim": dim,
            "id_bytes": estimates.size(embeddings, "id_bytes"),
            "centroids": number,
            "bytes": vectors * stored + listed,
        },
        kind=type(codec).__name__,
    )


def bytes_of_vector(codec: Codec, dim: float) -> float:
    """What a codec that has not learned yet will take for a vector, beside the id of its centroid."""
    bits = getattr(codec, "bits", 1 if type(codec) is BinaryCodec else 16)
    return dim * bits / 8 + (1 if isinstance(codec, ProductCodec) else 0)
