"""``python -m experiments.speed.opening [--vectors 30000000]``: the time to open a large index with a record.

Writes an index of random codes and residuals with its ``artifact.json`` to ``outputs/opening``, and times
``Artifact.open`` and ``Index.open``: just after it was built, after all files changed (so that all bytes are checked),
and again. Prints medians of CPU time, which other processes on the machine do not lengthen.
"""

import argparse
import shutil
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.integrity import seal
from colbertv2.compression.clustering.centroids import Centroids
from colbertv2.compression.clustering.clustering import Clusters
from colbertv2.compression.residual import ResidualCodec
from colbertv2.indexing.building import create_arrays, finish, save_codec, write_block
from colbertv2.indexing.index import Index
from experiments.agree.environments import ROOT

DIM, CENTROIDS, LENGTH, BLOCK = 128, 2**16, 70, 2**20


def milliseconds(task: Callable[[], object], times: int = 7) -> float:
    """The median CPU time of several calls of ``task``, in milliseconds."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        task()
        taken.append(1000 * (time.process_time() - start))
    return median(taken)


def main() -> None:
    """Make the index and time it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=30_000_000)
    number = parser.parse_args().vectors
    out = ROOT / "outputs" / "opening" / f"index-{number}"
    random = np.random.default_rng(0)
    shutil.rmtree(out.parent, ignore_errors=True)
    out.mkdir(parents=True)
    drawn = random.normal(size=(CENTROIDS, DIM)).astype(np.float32)
    centroids = Centroids.rounded(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
    codec = ResidualCodec(nbits=2)
    codec.learn(Clusters(centroids, centroids.vectors[:1000] + np.float32(0.01)))
    lengths = np.full(number // LENGTH, LENGTH)
    save_codec(out, codec)
    create_arrays(out, codec, DIM, (f"d{place}" for place in range(len(lengths))), lengths)
    for start in range(0, int(lengths.sum()), BLOCK):
        block = min(BLOCK, int(lengths.sum()) - start)
        residuals = random.integers(0, 256, (block, DIM // 4), np.uint8)
        write_block(out, codec, start, {"codes": random.integers(0, CENTROIDS, block), "residuals": residuals})
    finish(out, codec, DIM, lengths, 0)
    time.sleep(3)  # in a real build most files are older than this when the build ends
    record = {"stage": "index", "address": out.name, "arguments": {}, "parents": {}}
    print(f"hashing after building: {milliseconds(lambda: seal(out, record), 1):.0f} ms")
    print(f"{Artifact.open(out).record['bytes'] / 1e9:.2f} GB")
    print(f"Artifact.open: {milliseconds(lambda: Artifact.open(out)):.1f} ms")
    print(f"Index.open of an artifact: {milliseconds(lambda: Index.open(out)):.1f} ms")
    for file in out.iterdir():
        file.touch()
    time.sleep(3)
    print(f"Index.open after every file changed: {milliseconds(lambda: Index.open(out), 1):.0f} ms")
    print(f"Index.open again: {milliseconds(lambda: Index.open(out)):.1f} ms")
    (out / "artifact.json").unlink()
    print(f"Index.open without a record: {milliseconds(lambda: Index.open(out)):.1f} ms")


if __name__ == "__main__":
    main()
