"""Stage: a compressed index over encoded documents."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from colbertv2.artifacts import Artifact, Node, stage
from colbertv2.compression import Codec, ProductCodec
from colbertv2.modeling import ColBERT
from colbertv2.retrieval import Embeddings, Index
from colbertv2.runtime import Runtime


@stage(version=2)
def run(
    embeddings: Artifact, codec: Codec, *, sample_documents: int | None, seed: int, out: Path, runtime: Runtime
) -> None:
    """Fit ``codec`` on a sample, encode every vector in ``runtime.devices`` processes, build the inverted list.

    Writes the index and ``statistics.json``: its codec and size. ``bytes_per_token`` is what one encoded vector
    takes with an id of four bytes, the papers' figure; ``index_bytes_per_token`` counts everything on disk, where ids
    take fewer, as ``bytes_per_document`` does.

    Args:
        sample_documents: documents to fit on; ``None`` is the official rule.
    """
    if isinstance(codec, ProductCodec) and codec.queries is not None:
        texts = [text for _, text in codec.queries]
        chosen = np.random.default_rng(seed).permutation(len(texts))[: codec.num_queries]
        model = ColBERT.load(embeddings.ancestor("checkpoint").path).to(runtime.torch_device)
        vectors = model.encode_queries([texts[place] for place in chosen], runtime.batch_tokens)
        codec.see_queries(np.concatenate(vectors))
    index = Index.build(
        Embeddings.open(embeddings.path),
        codec,
        out,
        seed=seed,
        sample_documents=sample_documents,
        device=runtime.torch_device,
        bar=runtime.bar,
        devices=[runtime.device_of(rank) for rank in range(runtime.devices)],
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


def check(embeddings: Node, codec: Codec, **_: object) -> Iterator[str]:
    """The codec must take the model's dimension, which the untrained checkpoint furthest upstream was given."""
    checkpoint = embeddings.ancestor("checkpoint")
    while "checkpoint" in checkpoint.parents:
        checkpoint = checkpoint.parents["checkpoint"]
    yield from codec.check(checkpoint.bound["dim"])
