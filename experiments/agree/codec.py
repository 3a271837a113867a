"""The residual codec: buckets, codes, packed residuals and decoded vectors, from the same centroids and sample."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from colbertv2.compression.clustering.kmeans import kmeans
from colbertv2.compression.residual import ResidualCodec
from experiments.agree.environments import Peers
from experiments.agree.report import Row
from experiments.agree.texts import documents, model

PEER = "colbert-ai 0.2.22"
NEAR_TIE = 1e-6  # largest difference of two dot products that count as tied: about the rounding of a matrix product


def run(work: Path, peers: Peers) -> Iterator[Row]:
    """Compare with 1, 2, 4 and 8 bits."""
    if not (work / "given.npz").exists():
        encoded = np.concatenate(model().encode_documents(documents(300)))
        vectors = encoded[np.random.default_rng(0).permutation(len(encoded))].astype(np.float16).astype(np.float32)
        centroids = kmeans(vectors[2000:], 512, iterations=4, max_points_per_centroid=256, seed=0, device="cpu").astype(
            np.float16
        )
        np.savez(work / "given.npz", vectors=vectors, held_out=vectors[:2000], centroids=centroids.astype(np.float32))
    given = np.load(work / "given.npz")
    peers.colbert_ai.run("codec_colbert_ai", work / "given.npz", work / "found.npz")
    found = np.load(work / "found.npz")
    for bits in (1, 2, 4, 8):
        yield from compared(bits, given, found)


def compared(bits: int, given: np.lib.npyio.NpzFile, found: np.lib.npyio.NpzFile) -> Iterator[Row]:
    """The rows for one number of bits."""
    codec = ResidualCodec.from_tables(bits, given["centroids"])
    codec.fit_buckets(given["held_out"])
    tables = max(
        np.abs(codec.cutoffs - found[f"cutoffs{bits}"]).max(),
        np.abs(codec.weights - found[f"weights{bits}"]).max(),
        abs(codec.average_residual - float(found[f"average{bits}"])),
    )
    yield Row("codec", PEER, f"{bits} bits: cutoffs, weights, average residual", float(tables), 1e-6)
    codec.cutoffs, codec.weights = found[f"cutoffs{bits}"], found[f"weights{bits}"]
    vectors = given["vectors"]
    encoded = codec.encode(vectors)
    theirs = found[f"codes{bits}"]
    other = np.flatnonzero(encoded["codes"] != theirs)
    similarity = [vectors[other] * codec.fitted().vectors[codes[other]] for codes in (encoded["codes"], theirs)]
    gap = np.abs(similarity[0].sum(1) - similarity[1].sum(1))
    note = f"{len(other)} near ties (dot products within {NEAR_TIE:g}) left out" if len(other) else ""
    yield Row("codec", PEER, f"{bits} bits: codes that differ, of {len(vectors)}", int((gap > NEAR_TIE).sum()), 0, note)
    same = encoded["codes"] == theirs
    wrong = (encoded["residuals"] != found[f"residuals{bits}"])[same].any(1).sum()
    yield Row("codec", PEER, f"{bits} bits: vectors whose packed bytes differ", int(wrong), 0)
    decoded = codec.decode({"codes": theirs, "residuals": found[f"residuals{bits}"]})
    yield Row(
        "codec", PEER, f"{bits} bits: decoded value", float(np.abs(decoded - found[f"decoded{bits}"]).max()), 1e-6
    )
