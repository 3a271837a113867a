"""Stage: the centroids of a codec and, where bit widths share them, the centroid of every vector (ColBERTv2 §3.3)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.compression.clustering.clustering import HELD_OUT_SHARE, MAX_HELD_OUT
from colbertv2.compression.clustering.clusters import CentroidsOf
from colbertv2.compression.clustering.kmeans import num_sampled_documents_rule
from colbertv2.compression.product import ProductCodec
from colbertv2.indexing import building
from colbertv2.indexing.codes import code_width
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.modeling.colbert import ColBERT
from colbertv2.planning.estimate import Cost, Estimates
from colbertv2.runtime import Runtime

CODES = "codes.npy"
CHECKED = 5e8  # values a second, of vectors whose norm is checked
COMPARED = 0.15  # share of the centroids that a vector is compared with where most groups are left out
ASSIGNED = 1e-6  # seconds a vector beside the products


@stage(version=2)
def run(
    embeddings: Artifact, codec: CentroidsOf, *, sample_documents: int | None, seed: int, out: Path, runtime: Runtime
) -> None:
    """Cluster a sample, and assign every vector to its centroid in ``runtime.devices`` processes.

    Neither depends on the bits of the residual, so a sweep over these does both once. A codec without centroids has
    nothing to do here.

    Writes what ``Clusters.load`` reads, ``codes.npy`` where the codec shares its codes, and ``sample.json``.

    Args:
        sample_documents: documents to cluster; ``None`` is the official rule.
    """
    kind = codec.codec
    if isinstance(kind, ProductCodec) and kind.queries is not None:
        texts = [text for _, text in kind.queries]
        chosen = np.random.default_rng(seed).permutation(len(texts))[: kind.num_queries]
        model = ColBERT.load(embeddings.ancestor("checkpoint").path).to(runtime.torch_device)
        vectors = model.encode_queries([texts[place] for place in chosen], runtime.batch_tokens)
        kind.see_queries(np.concatenate(vectors))
    vectors = Embeddings.open(embeddings.path)
    building.check(vectors, kind, runtime.bar)
    clusters, num_sampled = building.cluster(
        kind, vectors, seed=seed, sample_documents=sample_documents, device=runtime.torch_device
    )
    clusters.save(out)
    if kind.shares_codes:
        kind.learn(clusters, seed=seed, device=runtime.torch_device)
        devices = [runtime.device_of(rank) for rank in range(runtime.devices)]
        building.assign_all(vectors, kind, out / CODES, runtime.bar, devices)
    (out / "sample.json").write_text(json.dumps({"num_sampled_documents": num_sampled}) + "\n")


def check(embeddings: Node, codec: CentroidsOf, **_: object) -> Iterator[str]:
    """The codec must take the model's dimension, which the untrained checkpoint furthest upstream was given."""
    checkpoint = embeddings.ancestor("checkpoint")
    while "checkpoint" in checkpoint.parents:
        checkpoint = checkpoint.parents["checkpoint"]
    yield from codec.codec.check(checkpoint.bound["dim"])


def cost(estimates: Estimates, embeddings: Node, codec: CentroidsOf, sample_documents: int | None, **_: object) -> Cost:
    """The products of sampled vectors, then of all, with the centroids; the sample in memory, in three copies."""
    documents, vectors, dim = (estimates.size(embeddings, name) for name in ("documents", "vectors", "dim"))
    kind: Any = codec.codec
    checking = vectors * dim / CHECKED
    if not kind.has_centroids:
        return Cost(seconds=checking, disk=1000, sizes={"centroids": 0}, kind="none")
    clustering = kind.clustering
    per_document = vectors / documents
    wanted = min(sample_documents or num_sampled_documents_rule(int(documents)), documents)
    drawn = min(wanted * per_document, clustering.max_sampled_vectors(vectors))
    most = clustering.wanted(vectors) * clustering.max_points_per_centroid
    held_out = min(max(HELD_OUT_SHARE * drawn, drawn - most), MAX_HELD_OUT)
    points = min(drawn - held_out, most)
    number = min(clustering.wanted(vectors), points)
    share = 1.0 if clustering.assignment_reach is None else COMPARED
    others = vectors if kind.shares_codes else 0
    codes = vectors * code_width(int(number)) if kind.shares_codes else 0
    assigning = 2 * dim * number * share
    fitting = assigning * clustering.kmeans_iterations * points
    by_faiss = clustering.assignment_reach is None
    return Cost(
        flops=assigning * others + (0 if by_faiss else fitting),
        cpu_flops=fitting if by_faiss else 0,
        seconds=1 + checking + (clustering.kmeans_iterations * points + others) * ASSIGNED,
        memory=4 * dim * (2 * drawn + points) + 100_000_000,
        disk=4 * dim * (number + held_out) + codes,
        sizes={"centroids": number},
        kind=f"{type(kind).__name__}, reach {clustering.assignment_reach}",
    )
