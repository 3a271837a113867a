"""How much quality a codec loses: overlap with exact MaxSim and nDCG against bytes, with every document scored.

``python -m experiments.speed.codecs [untrained] [trained]``: the 300 test claims of BEIR SciFact, and all-MiniLM-L6-v2
with 128 dimensions, untrained and after round 1 of the recipe (training claims, negatives from BM25). The product codec
learns from training claims only. Measured values are kept in outputs/speed/codecs; ``--again`` measures them again.
Writes experiments/results/codecs.md and .csv.
"""

import argparse
import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import ir_datasets
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from colbertv2 import build, compose
from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.codec import Codec
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.evaluation.measures import evaluate
from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.index import Index
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.tokenizer import Tokenizer
from colbertv2.reporting.rendering import markdown_rows
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.scoring import maxsim
from colbertv2.search.searcher import Searcher
from experiments.agree.environments import ROOT
from experiments.speed.machine import described
from experiments.speed.settings import FAST, FULL

K, MEASURES = 100, ["RR@10", "nDCG@10"]
VECTORS = {
    "untrained": ["pipeline=untrained"],
    "trained": ["+quality=recipe", "pipeline.embeddings.checkpoint=${pipeline.round1}"],
}
CODECS: dict[str, tuple[Clustering, Callable[[], Codec]]] = {
    "fp16": (FAST, Float16Codec),
    **{f"product, {nbits} bits": (FAST, partial(ProductCodec, nbits)) for nbits in (1, 2, 4)},
    **{f"lloyd, {nbits} bits": (FAST, partial(ResidualCodec, nbits, buckets="lloyd")) for nbits in (1, 2, 4)},
    **{f"quantile (paper), {nbits} bits": (FAST, partial(ResidualCodec, nbits)) for nbits in (1, 2, 4)},
    "quantile (paper), 2 bits, full k-means": (FULL, partial(ResidualCodec, 2)),
    "sign": (FAST, BinaryCodec),
}


def encoded(
    overrides: list[str], augmented: bool = True
) -> tuple[Embeddings, dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """The documents, the vectors of test queries by id, and those of all training queries; with [MASK] if augmented."""
    artifact = build(compose(["collection=scifact", "target=embeddings", *overrides]))
    model = ColBERT.load(artifact.ancestor("checkpoint").path)
    tokenization = dataclasses.replace(model.tokenizer.tokenization, query_augmentation=augmented)
    model.tokenizer = Tokenizer(model.tokenizer.tokenizer, tokenization)
    test, train = (list(ir_datasets.load(f"beir/scifact/{split}").queries_iter()) for split in ("test", "train"))
    queries = model.encode_queries([query.text for query in test])
    seen = np.concatenate(model.encode_queries([query.text for query in train]))
    return Embeddings.open(artifact.path), {q.query_id: v for q, v in zip(test, queries, strict=True)}, seen


class Vectors:
    """The vectors, queries and exact results of a collection, to measure one codec after the other."""

    def __init__(self, overrides: list[str], augmented: bool = True) -> None:
        self.embeddings, self.queries, self.seen = encoded(overrides, augmented)
        self.qrels: dict[str, dict[str, int]] = {}
        for qrel in ir_datasets.load("beir/scifact/test").qrels_iter():
            self.qrels.setdefault(qrel.query_id, {})[qrel.doc_id] = qrel.relevance

    @cached_property
    def best(self) -> list[set[str]]:
        """The ten best documents of each query by exact MaxSim."""
        shards = (dataclasses.replace(one, vectors=one.vectors.astype(np.float32)) for one in self.embeddings.shards())
        exact = np.concatenate([maxsim(list(self.queries.values()), shard) for shard in shards], axis=1)
        ids = self.embeddings.doc_ids
        return [{ids[place] for place in row} for row in np.argsort(-exact, axis=1, kind="stable")[:, :10]]

    def row(self, clustering: Clustering, codec: Codec) -> dict[str, Any]:
        """Measure the size and the quality of ``codec``."""
        with tempfile.TemporaryDirectory() as directory:
            index = Index.build(
                self.embeddings, codec, Path(directory) / "index",
                clustering=clustering, queries=self.seen, seed=1, bar=lambda items, *_: items,
            )  # fmt: skip
            bytes_per_token = index.bytes_per_token
            found = Searcher(index, Exhaustive()).search(list(self.queries.values()), K)
            originals = np.concatenate([shard.vectors[::10].astype(np.float32) for shard in self.embeddings.shards()])
            decoded = np.concatenate(
                [index.decode_rows(np.arange(first, last, 10)) for first, last in ends(self.embeddings)]
            )
        overlap = [len(own & {one for one, _ in top[:10]}) / 10 for own, top in zip(self.best, found, strict=True)]
        quality = evaluate(Ranking(dict(zip(self.queries, found, strict=True))), self.qrels, MEASURES).mean()
        return {
            "bytes/token": index.bytes_per_vector,
            "bytes/token, whole index": bytes_per_token,
            "squared error": float(np.square(decoded - originals).sum(1).mean()),
            "overlap@10": float(np.mean(overlap)),
            **quality.to_dict(),
        }


def ends(embeddings: Embeddings) -> Iterator[tuple[int, int]]:
    """The first and the last position (exclusive) of the vectors of each shard."""
    first = 0
    for size in embeddings.sizes:
        yield first, first + size["num_vectors"]
        first += size["num_vectors"]


def shown(value: object) -> str:
    """Format a cell of the table."""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure what has not been measured yet, and write the table after each codec."""
    parser = argparse.ArgumentParser(description="Codecs: quality against bytes.")
    parser.add_argument("vectors", nargs="*", default=list(VECTORS), help=f"some of {', '.join(VECTORS)}")
    parser.add_argument("--again", action="store_true", help="measure again what was measured before")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    kept = ROOT / "outputs" / "speed" / "codecs"
    rows: list[dict[str, Any]] = []
    for name in arguments.vectors:
        vectors = Vectors(VECTORS[name])
        directory = kept / vectors.embeddings.path.name
        directory.mkdir(parents=True, exist_ok=True)
        for label, (clustering, make) in CODECS.items():
            file = directory / f"{label}.json"
            if arguments.again or not file.is_file():
                file.write_text(json.dumps({"vectors": name, "codec": label, **vectors.row(clustering, make())}))
            rows.append(json.loads(file.read_text()))
            write(pd.DataFrame(rows))


def write(frame: pd.DataFrame) -> None:
    """Write the table to experiments/results/."""
    results = ROOT / "experiments" / "results"
    frame.to_csv(results / "codecs.csv", index=False)
    lines = [
        "# Codecs",
        "",
        "`python -m experiments.speed.codecs`: SciFact's 5,183 documents, 300 test claims with [MASK] augmentation, "
        "128 dimensions, every document scored with its decoded vectors. Bytes per token are given as in the papers, "
        "with four bytes for the number of the centroid, and then for all files of the index. Overlap is with exact "
        "MaxSim of the float16 vectors; the squared error is the mean of a vector's. Trained: round 1 of the recipe, "
        "one seed. Full k-means uses all sampled vectors, compares them with all centroids, and keeps 16-bit "
        "centroids. The others use 50 vectors per centroid, near groups only, and 8-bit centroids. All have 4 "
        "iterations.",
        "",
        described(),
        "",
        *markdown_rows(
            list(frame), [[shown(value) for value in row] for row in frame.itertuples(index=False)], padded=False
        ),
    ]
    (results / "codecs.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
