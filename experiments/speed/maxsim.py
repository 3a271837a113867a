"""``python -m experiments.speed.maxsim``: exact MaxSim beside a BLAS library, on one thread.

Documents and queries are random. The baseline multiplies blocks of 2,048 vectors by BLAS and takes the maximum over
each document by ``np.maximum.reduceat``. Prints the smallest of five times of each, their ratio, and our floating-point
operations per second. The ratio depends on which kernels BLAS has for the processor.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from colbertv2.indexing.packed import Packed, blocks
from colbertv2.search.scoring import maxsim

NUM_VECTORS, BLOCK = 60_000, 2**11


def by_blas(query: np.ndarray, documents: Packed) -> np.ndarray:
    """``[D]``: MaxSim of one query."""
    scores = np.empty(len(documents), np.float32)
    for first, last in blocks(documents.offsets, BLOCK):
        start, end = documents.offsets[first], documents.offsets[last]
        similarities = query @ documents.vectors[start:end].T
        starts = documents.offsets[first:last] - start
        scores[first:last] = np.maximum.reduceat(similarities, starts, axis=1).sum(axis=0)
    return scores


def seconds(task: Callable[[], object]) -> float:
    """The smallest of five times."""
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        task()
        taken.append(time.perf_counter() - start)
    return min(taken)


def main() -> None:
    """Print a row for each number of dimensions, length of documents and length of the query."""
    random = np.random.default_rng(0)
    print("| dim | vectors per document | query vectors | BLAS ms | ours ms | ours / BLAS | ours GFLOP/s |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    with threadpool_limits(1):
        for dim in (128, 384):
            for mean in (20, 80, 200):
                lengths = random.integers(mean // 2, mean * 3 // 2, NUM_VECTORS // mean)
                documents = Packed(random.normal(size=(lengths.sum(), dim)).astype(np.float32), lengths)
                for length in (8, 20, 32):
                    query = random.normal(size=(length, dim)).astype(np.float32)
                    np.testing.assert_allclose(maxsim([query], documents)[0], by_blas(query, documents), rtol=1e-4)
                    blas, ours = (
                        seconds(partial(by_blas, query, documents)),
                        seconds(partial(maxsim, [query], documents)),
                    )
                    speed = 2 * length * dim * lengths.sum() / ours / 1e9
                    times = f"{1e3 * blas:.1f} | {1e3 * ours:.1f} | {ours / blas:.2f} | {speed:.0f}"
                    print(f"| {dim} | {mean} | {length} | {times} |")


if __name__ == "__main__":
    main()
