"""Does the engine hold on vectors that it was not tuned on? The cascade beside exhaustive search, on ten sets.

``python -m experiments.speed.vector_sets [names of sets]``: SciFact's documents and its 300 test claims, encoded by
all-MiniLM-L6-v2 with different projections, dimensions, lengths and queries. For every set and codec: how much of the
exact top 10 the codec keeps if every document is scored, what the cascade finds of that when it is asked for a recall,
and the time of both, one query at a time on one thread. What was measured is kept in outputs/speed/vector_sets, so an
interrupted run goes on; ``--again`` measures it again. Writes experiments/results/vector_sets.md, the worst set first.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from colbertv2.compression.clustering.kmeans import normalised
from colbertv2.compression.codec import Codec
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.indexing.index import Index
from colbertv2.reporting.rendering import markdown_rows
from colbertv2.search.cascade import Cascade
from colbertv2.search.engine import Engine
from colbertv2.search.exhaustive import Exhaustive
from experiments.agree.environments import ROOT
from experiments.speed.codecs import VECTORS, Vectors
from experiments.speed.machine import described
from experiments.speed.settings import FAST

K, TOP, TIMED = 100, 10, 100
RECALLS = (0.9, 0.95, 0.99)
ORTHOGONAL = ["pipeline=untrained", "model.projection=orthogonal"]
SETS: dict[str, tuple[list[str], bool]] = {  # name → overrides, and whether queries are filled up with [MASK]
    "PCA": (["pipeline=untrained", "model.projection=pca"], True),
    **{f"orthogonal, seed {seed}": ([*ORTHOGONAL, f"seed={seed}"], True) for seed in (1, 2, 3)},
    "without [MASK]": ([*ORTHOGONAL, "seed=1"], False),
    "short documents": ([*ORTHOGONAL, "seed=1", "document_maxlen=64"], True),
    "48 dimensions": ([*ORTHOGONAL, "seed=1", "model.dim=48"], True),
    "256 dimensions": ([*ORTHOGONAL, "seed=1", "model.dim=256"], True),
    "trained": (VECTORS["trained"], True),
}
SHIFTED = "common mean added"  # to the first orthogonal set
CODECS: dict[str, Callable[[], Codec]] = {
    "paper, 2 bits": partial(ResidualCodec, 2),
    "product, 2 bits": partial(ProductCodec, 2),
    "product, 4 bits": partial(ProductCodec, 4),
}


def shifted(vectors: Vectors, directory: Path) -> Vectors:
    """The same vectors after a common one was added to all of documents and queries, L2-normalised again."""
    random = np.random.default_rng(0).normal(size=vectors.embeddings.dim)
    common = (1.5 * random / np.linalg.norm(random)).astype(np.float32)

    def moved(own: NDArray[Any]) -> NDArray[np.float32]:
        return normalised(own.astype(np.float32) + common)

    writer = EmbeddingsWriter(directory, vectors.embeddings.dim)
    first = 0
    for shard in vectors.embeddings.shards():
        ids = vectors.embeddings.doc_ids[first : first + len(shard.lengths)]
        writer.add(ids, moved(shard.vectors), shard.lengths)
        first += len(ids)
    writer.close()
    other = object.__new__(Vectors)
    other.embeddings = Embeddings.open(directory)
    other.queries = {name: moved(own) for name, own in vectors.queries.items()}
    other.seen, other.qrels = moved(vectors.seen), vectors.qrels
    return other


def timed(engine: Engine, index: Index, queries: list[NDArray[np.float32]]) -> tuple[list[list[int]], float]:
    """The ``TOP`` best documents of every query, and the median of milliseconds of the first ``TIMED`` ones."""
    engine.search(index, queries[:2], K)  # compiles, calibrates, and reads the index
    found, seconds = [], []
    for query in queries:
        begun = time.perf_counter()
        (one,) = engine.search(index, [query], K)
        seconds.append(time.perf_counter() - begun)
        found.append(one.positions[:TOP].tolist())
    return found, 1e3 * float(np.median(seconds[:TIMED]))


def measure(vectors: Vectors, codec: Codec) -> dict[str, Any]:
    """One row: the codec's ceiling, and for each recall what the cascade finds and how long it takes."""
    queries = list(vectors.queries.values())
    with tempfile.TemporaryDirectory() as directory:
        index = Index.build(
            vectors.embeddings, codec, Path(directory) / "index",
            clustering=FAST, queries=vectors.seen, seed=1, bar=lambda items, *_: items,
        )  # fmt: skip
        exact, milliseconds = timed(Exhaustive(), index, queries)
        ids = index.doc_ids

        def overlap(found: list[list[int]]) -> float:
            pairs = zip(vectors.best, found, strict=True)
            return float(np.mean([len(best & {ids[place] for place in own}) / TOP for best, own in pairs]))

        row: dict[str, Any] = {"vectors": index.num_vectors, "ceiling": overlap(exact), "exhaustive ms": milliseconds}
        for recall in RECALLS:
            found, milliseconds = timed(Cascade(recall=recall), index, queries)
            kept = [len({*own} & {*best}) / TOP for own, best in zip(found, exact, strict=True)]
            settled = Cascade(recall=recall).settled(index, K)
            row[str(recall)] = {
                "found": float(np.mean(kept)), "overlap": overlap(found), "ms": milliseconds,
                "nprobe": settled.nprobe, "ndocs": settled.ndocs,
            }  # fmt: skip
    return row


def report(rows: dict[str, dict[str, Any]]) -> str:
    """The table, in ascending order of what is found when .99 is asked for."""
    lines = [
        "# The engine on vectors that it was not tuned on",
        "",
        "`python -m experiments.speed.vector_sets`: SciFact, 300 test claims, k=100, one query at a time on one "
        "thread. Overlap: of the ten best documents by exact MaxSim of the 16-bit vectors. All documents: the codec's "
        "ceiling, with exhaustive search. Found: of the codec's own ten best, by the cascade, when it is asked for a "
        "recall of the best 100. The worst set comes first.",
        "",
        described(),
        "",
    ]
    header = ["vectors", "codec", "overlap, all documents", "ms, all documents"]
    header += [f"{what} at {recall}" for recall in RECALLS for what in ("found", "overlap", "ms")]
    body = []
    for name, row in sorted(rows.items(), key=lambda item: item[1][str(RECALLS[-1])]["found"]):
        cells = [f"{row['ceiling']:.3f}", f"{row['exhaustive ms']:.1f}"]
        for recall in RECALLS:
            one = row[str(recall)]
            cells += [f"{one['found']:.3f}", f"{one['overlap']:.3f}", f"{one['ms']:.1f}"]
        body.append([*name.split(" | "), *cells])
    return "\n".join([*lines, *markdown_rows(header, body, left=2, padded=False)]) + "\n"


def main() -> None:
    """Measure what has not been measured yet, and write the table after each row."""
    parser = argparse.ArgumentParser(description="The cascade on several sets of vectors.")
    parser.add_argument("sets", nargs="*", default=[*SETS, SHIFTED], help=f"some of {', '.join([*SETS, SHIFTED])}")
    parser.add_argument("--again", action="store_true", help="measure again what was measured before")
    arguments = parser.parse_args()
    kept = ROOT / "outputs" / "speed" / "vector_sets"
    kept.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {}
    with threadpool_limits(1):
        for name in arguments.sets:
            overrides, augmented = SETS["orthogonal, seed 1" if name == SHIFTED else name]
            vectors = None
            for label, make in CODECS.items():
                file = kept / f"{name}, {label}.json"
                if arguments.again or not file.is_file():
                    if vectors is None:
                        vectors = Vectors(overrides, augmented)
                        if name == SHIFTED:
                            vectors = shifted(vectors, kept / "shifted")
                    file.write_text(json.dumps(measure(vectors, make())))
                rows[f"{name} | {label}"] = json.loads(file.read_text())
                print(name, label, rows[f"{name} | {label}"], flush=True)
                (ROOT / "experiments" / "results" / "vector_sets.md").write_text(report(rows))


if __name__ == "__main__":
    main()
