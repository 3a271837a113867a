"""Stage: the centroids of a codec and, where bit widths share them, the centroid of every vector (ColBERTv2 §3.3)."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.compression.clustering.clusters import CentroidsOf
from colbertv2.compression.product import ProductCodec
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.runtime import Runtime

CODES = "codes.npy"


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
    from colbertv2.indexing import building
    from colbertv2.modeling.colbert import ColBERT

    kind = codec.codec
    if isinstance(kind, ProductCodec) and kind.queries is not None:
        texts = [text for _, text in kind.queries]
        chosen = np.random.default_rng(seed).permutation(len(texts))[: kind.num_queries]
        model = ColBERT.load(embeddings.ancestor("checkpoint").path).to(runtime.torch_device)
        vectors = model.encode_queries([texts[place] for place in chosen], runtime.batch_tokens)
        kind.fit_query_moment(np.concatenate(vectors))
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
