"""Rates of encoding, training, k-means, building and searching on one device, beside plain matrix products there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from colbertv2.artifacts.artifact import Artifact
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.clustering.kmeans import kmeans, normalised
from colbertv2.compression.residual import ResidualCodec
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.index import Index
from colbertv2.modeling.attention import with_attention
from colbertv2.modeling.colbert import ColBERT
from colbertv2.search.device_search import DeviceCascade, DeviceExhaustive
from experiments.speed.limit import encoder_operations, matrix_product_rate, wait

DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}
QUERY_VECTORS = 32


def seconds(work: Callable[[], object], device: str, repeats: int = 3) -> float:
    """The least of several times, after one run to warm up; it waits for the device."""
    work()
    taken = []
    for _ in range(repeats):
        wait(device)
        begun = time.perf_counter()
        work()
        wait(device)
        taken.append(time.perf_counter() - begun)
    return min(taken)


def rates(
    embeddings: Artifact, texts: Sequence[str], device: str, train: Callable[[str, bool, int], float], tiny: bool
) -> list[list[str]]:
    """Rows of what, precision, rate and share of the limit.

    Args:
        embeddings: of a collection, by the model to measure.
        texts: documents to encode.
        device: such as ``cuda``.
        train: the seconds of a training with a precision, with or without ``torch.compile``, and of so many steps.
        tiny: small sizes, for tests.
    """
    size = 256 if tiny else 4096
    limits = {
        precision: matrix_product_rate(size=size, device=device, dtype=dtype) for precision, dtype in DTYPES.items()
    }
    rows = [["matrix products", name, f"{rate / 1e12:.2f} TFLOP/s", "1"] for name, rate in limits.items()]

    def add(what: str, precision: str, amount: float, unit: str, taken: float, operations: float | None = None) -> None:
        share = "–" if operations is None else f"{operations / taken / limits[precision]:.2f}"
        rows.append([what, precision, f"{amount / taken:,.0f} {unit}/s", share])
        print(" | ".join(rows[-1]), flush=True)

    model = ColBERT.load(embeddings.ancestor("checkpoint").path).to(device)
    lengths = [len(row) for row in model.tokenizer.document_ids(list(texts))]
    operations = encoder_operations(model.transformer.config, lengths, model.dim)
    for precision in DTYPES:
        for kernel in ("eager", "sdpa"):
            chosen = with_attention(model, kernel)
            taken = seconds(lambda: chosen.encode_documents(texts, 65536, precision=precision), device)  # noqa: B023
            add(f"encoding, {kernel} attention", precision, sum(lengths), "tokens", taken, operations)
    for precision in DTYPES:
        for compiled in (False,) if tiny else (False, True):  # compiling takes minutes on a CPU
            few, many = (2, 4) if tiny else (10, 60)
            taken = max(train(precision, compiled, many) - train(precision, compiled, few), 1e-9)
            name = "training, compiled" if compiled else "training"
            rows.append([name, precision, f"{(many - few) / taken:.2f} steps/s", "–"])
    opened = Embeddings.open(embeddings.path)
    points = np.concatenate([shard.vectors for shard in opened.shards()]).astype(np.float32)
    centroids, iterations = (16, 2) if tiny else (4096, 4)
    used = min(len(points), 256 * centroids)
    taken = seconds(
        lambda: kmeans(
            points, centroids, iterations=iterations, max_points_per_centroid=256, seed=0, device=device
        ),
        device, repeats=1,
    )  # fmt: skip
    products = 2.0 * used * centroids * points.shape[1] * iterations
    add("k-means with faiss", "32-true", used * iterations, "vectors", taken, products)
    with TemporaryDirectory() as directory:
        begun = time.perf_counter()
        index = Index.build(
            opened, ResidualCodec(2), Path(directory) / "index", seed=0, bar=lambda items, *_: items,
            clustering=Clustering(kmeans_iterations=4), device=device,
        )  # fmt: skip
        add("building an index", "32-true", index.num_vectors, "vectors", time.perf_counter() - begun)
        random = np.random.default_rng(0)
        number = 8 if tiny else 1024
        queries = [normalised(random.normal(size=(QUERY_VECTORS, index.dim)).astype(np.float32)) for _ in range(number)]
        engines = {
            "exhaustive search": DeviceExhaustive(index, device),
            "cascade, ndocs 512": DeviceCascade(index, device, lambda _: (None, 512)),
        }
        products = 2.0 * QUERY_VECTORS * index.dim * index.num_vectors * number
        for name, engine in engines.items():
            taken = seconds(lambda: engine.search(queries, 100), device, repeats=1)  # noqa: B023
            add(name, "32-true", number, "queries", taken, products if name.startswith("exh") else None)
    return rows
