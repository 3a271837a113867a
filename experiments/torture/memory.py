"""The peak memory of building and searching an index, with 1, 4 and 16 times as many documents.

``python -m experiments.torture.memory`` prints the table that ``make torture`` adds to its results. Each document has
32 random unit vectors; a shard has 1,000 documents. Each value is measured in a Python process of its own.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from colbertv2.reporting.rendering import markdown_rows

SIZES = (5_000, 20_000, 80_000)
TOKENS, DIM, SHARD = 32, 128, 1_000
TASKS = ("import", "build", "search")


def table() -> list[str]:
    """Make the lines of a Markdown table: peak resident MiB above those of a process that only imports."""
    rows = []
    for size in SIZES:
        with TemporaryDirectory() as directory:
            peaks = {task: _peak(task, size, directory) for task in ("write", *TASKS)}
            megabytes = sum(file.stat().st_size for file in (Path(directory) / "index").iterdir()) / 2**20
        above = [f"{peaks[task] - peaks['import']:,.0f}" for task in ("build", "search")]
        rows.append([f"{size:,}", f"{size * TOKENS:,}", f"{megabytes:,.0f}", f"{peaks['import']:,.0f}", *above])
    header = ["documents", "vectors", "index MiB", "imports MiB", "building: MiB more", "searching: MiB more"]
    return list(markdown_rows(header, rows, left=(), padded=False))


def _peak(task: str, size: int, directory: str) -> float:
    words = [sys.executable, "-m", "experiments.torture.memory", task, str(size), directory]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main(words: Sequence[str]) -> None:
    """Run one task in this process, and print the peak memory in MiB."""
    import numpy as np

    from colbertv2.artifacts.process import peak_memory
    from colbertv2.compression.clustering.clustering import Clustering
    from colbertv2.compression.residual import ResidualCodec
    from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
    from colbertv2.indexing.index import Index
    from colbertv2.search.plaid import Plaid
    from colbertv2.search.searcher import Searcher

    task, size, directory = words[0], int(words[1]), Path(words[2])
    random = np.random.default_rng(0)

    def unit(count: int) -> np.ndarray:
        vectors = random.standard_normal((count, DIM), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    if task == "write":
        writer = EmbeddingsWriter(directory / "embeddings", DIM)
        for first in range(0, size, SHARD):
            names = [f"d{number}" for number in range(first, first + SHARD)]
            writer.add(names, unit(SHARD * TOKENS), np.full(SHARD, TOKENS))
        writer.close()
    elif task == "build":
        clustering = Clustering(num_centroids=4096, kmeans_iterations=2, sample_documents=2_000)
        Index.build(
            Embeddings.open(directory / "embeddings"), ResidualCodec(2), directory / "index",
            clustering=clustering, seed=0, bar=lambda items, *_: items,
        )  # fmt: skip
    elif task == "search":
        searcher = Searcher(Index.open(directory / "index"), Plaid())
        for _ in range(20):
            searcher.search([unit(TOKENS)], k=1000)
    print(peak_memory() / 2**20)


if __name__ == "__main__":
    main(sys.argv[1:]) if len(sys.argv) > 1 else print("\n".join(table()))
