"""What a codec costs in quality: overlap with exact MaxSim and nDCG against bytes, every document scored.

``python -m experiments.speed.codecs [untrained] [trained]``: BEIR SciFact's 300 test claims, all-MiniLM-L6-v2 at 128
dimensions as it is, and after round 1 of the recipe (training claims, BM25's negatives). The product codec sees
training claims alone. What was measured is kept in outputs/speed/codecs; ``--again`` measures anew. Writes
experiments/results/codecs.md and .csv.
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


def encoded(overrides: list[str]) -> tuple[Embeddings, dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """Documents, test queries by id, and the vectors of training queries, all queries with [MASK] augmentation."""
    artifact = build(compose(["collection=scifact", "target=embeddings", *overrides]))
    model = ColBERT.load(artifact.ancestor("checkpoint").path)
    tokenization = dataclasses.replace(model.tokenizer.tokenization, query_augmentation=True)
    model.tokenizer = Tokenizer(model.tokenizer.tokenizer, tokenization)
    test, train = (list(ir_datasets.load(f"beir/scifact/{split}").queries_iter()) for split in ("test", "train"))
    queries = model.encode_queries([query.text for query in test])
    seen = np.concatenate(model.encode_queries([query.text for query in train]))
    return Embeddings.open(artifact.path), {q.query_id: v for q, v in zip(test, queries, strict=True)}, seen


class Vectors:
    """A collection's vectors, queries and what exact MaxSim finds, for one codec after the other."""

    def __init__(self, overrides: list[str]) -> None:
        self.embeddings, self.queries, self.seen = encoded(overrides)
        self.qrels: dict[str, dict[str, int]] = {}
        for qrel in ir_datasets.load("beir/scifact/test").qrels_iter():
            self.qrels.setdefault(qrel.query_id, {})[qrel.doc_id] = qrel.relevance

    @cached_property
    def best(self) -> list[set[str]]:
        """The exact ten best documents of each query."""
        shards = (dataclasses.replace(one, vectors=one.vectors.astype(np.float32)) for one in self.embeddings.shards())
        exact = np.concatenate([maxsim(list(self.queries.values()), shard) for shard in shards], axis=1)
        ids = self.embeddings.doc_ids
        return [{ids[place] for place in row} for row in np.argsort(-exact, axis=1, kind="stable")[:, :10]]

    def row(self, clustering: Clustering, codec: Codec) -> dict[str, Any]:
        """What ``codec`` costs and keeps."""
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
    """Where the vectors of each shard begin and end."""
    first = 0
    for size in embeddings.sizes:
        yield first, first + size["num_vectors"]
        first += size["num_vectors"]


def shown(value: object) -> str:
    """A cell of the table."""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure what has not been measured, and write the table after each codec."""
    parser = argparse.ArgumentParser(description="Codecs: quality against bytes.")
    parser.add_argument("vectors", nargs="*", default=list(VECTORS), help=f"of {', '.join(VECTORS)}")
    parser.add_argument("--again", action="store_true", help="measure anew what was measured before")
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
    """The table under experiments/results/."""
    results = ROOT / "experiments" / "results"
    frame.to_csv(results / "codecs.csv", index=False)
    lines = [
        "# Codecs",
        "",
        "`python -m experiments.speed.codecs`: SciFact's 5,183 documents, 300 test claims with [MASK] augmentation, "
        "128 dimensions, every document scored by its decoded vectors. Bytes a token are the papers' figure, with four "
        "for the centroid's id, and then all files of the index; overlap is with exact MaxSim of the float16 vectors; "
        "the squared error is that of a vector. Trained: round 1 of the recipe, one seed. Full k-means takes all "
        "sampled vectors and compares them with all centroids, and keeps 16-bit centroids; the others take 50 vectors "
        "a centroid, the hopeful groups and 8-bit centroids. 4 iterations each.",
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
