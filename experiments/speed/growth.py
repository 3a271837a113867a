"""How the costs of building, opening and searching grow: with 50,000, 200,000 and a million generated documents.

``python -m experiments.speed.growth [--sizes 50000,200000,1000000] [--codec …] [--threads 1] [--keep] [--again]``:
``growth_collection`` generates the documents; the queries are SciFact's test claims. The search that counts is the
fastest of ``settings.ENGINES["growth"]`` that has a share ``RECALL`` of the exact top 10 in its top 100. A million
documents take 8 GB on disk; they are deleted after use without ``--keep``. Measured values are kept in
outputs/speed/growth; ``--again`` measures them again. Writes experiments/results/growth.md, .csv and .png.
"""

import argparse
import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.packed import Packed
from colbertv2.search.scoring import maxsim
from experiments.agree.environments import ROOT, Ours
from experiments.speed import growth_collection
from experiments.speed.growth_report import write
from experiments.speed.search import SYSTEMS, commit
from experiments.speed.search import WORK as SEARCH
from experiments.speed.search_inputs import prepare
from experiments.speed.settings import GROWTH_CODECS

WORK = ROOT / "outputs" / "speed" / "growth"
RECALL = 0.95
DOCUMENT = {"average_length": 32.0, "noise": 0.3, "seed": 0}


def exact_best(queries: NDArray[np.float32], embeddings: Embeddings, k: int) -> NDArray[np.int64]:
    """Positions ``[n, k]`` of the best documents by exact MaxSim for ``queries [n, Lq, dim]``; reads shard by shard."""
    scores = np.full((len(queries), 0), -np.inf, np.float32)
    positions = np.zeros((len(queries), 0), np.int64)
    first = 0
    for shard in embeddings.shards():
        found = maxsim(list(queries), Packed(shard.vectors.astype(np.float32), shard.lengths))
        here = np.broadcast_to(first + np.arange(len(shard)), found.shape)
        scores, positions = np.concatenate([scores, found], axis=1), np.concatenate([positions, here], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, positions = np.take_along_axis(scores, best, axis=1), np.take_along_axis(positions, best, axis=1)
        first += len(shard)
    return positions


def measured(
    source: Packed, queries: Path, size: int, work: Path, *, codec: str, num_queries: int, threads: int, keep: bool
) -> dict[str, Any]:
    """Measure one size: generate the documents, find the exact results, then build and search in separate processes.

    Args:
        source: the documents to generate from.
        queries: the directory with ``queries.npy`` and ``train_queries.npy``.
        size: the number of documents.
        work: the directory for everything that is written.
        codec: a key of ``GROWTH_CODECS``.
        num_queries: the number of test claims.
        threads: for building and searching.
        keep: whether to keep the collection for later.
    """
    collection = {"size": size, **DOCUMENT}
    mark = work / "collection.json"
    if not mark.is_file() or json.loads(mark.read_text()) != collection:
        shutil.rmtree(work, ignore_errors=True)
        print(f"{size} documents: generating", flush=True)
        growth_collection.write(source, work / "embeddings", size, **DOCUMENT)
        mark.write_text(json.dumps(collection))
    shutil.copyfile(queries / "train_queries.npy", work / "train_queries.npy")
    chosen = np.load(queries / "queries.npy")[:num_queries]
    np.save(work / "queries.npy", chosen)
    (work / "embeddings.txt").write_text(str(work / "embeddings"))
    embeddings = Embeddings.open(work / "embeddings")
    print(f"{size} documents: exact MaxSim", flush=True)
    best = exact_best(chosen, embeddings, 10).tolist()
    out, tasks = work / "running.json", {}
    for task in ("build", "search"):
        print(f"{size} documents: {task}", flush=True)
        Ours().run(SYSTEMS / "ours_search.py", work, out, task, codec, "growth", threads=threads)
        tasks[task] = [json.loads(line) for line in out.read_text().splitlines()]
    (built,), points = tasks["build"], tasks["search"]
    for point in points:
        found = point.pop("found")
        shares = [len({*own} & {*one}) / len(own) for own, one in zip(best, found, strict=True)]
        point["recall"] = float(np.mean(shares))
    shutil.rmtree(work / f"ours {codec}")
    if not keep:
        shutil.rmtree(work)
    return {"documents": size, "vectors": embeddings.num_vectors, **built, "points": points}


def main() -> None:
    """Measure every size, the smallest first, and write the table and the figure after each."""
    parser = argparse.ArgumentParser(description="Growth of building and searching with the collection.")
    parser.add_argument("--sizes", default="50000,200000,1000000", help="numbers of documents, separated by commas")
    parser.add_argument("--codec", default=next(iter(GROWTH_CODECS)), choices=list(GROWTH_CODECS))
    parser.add_argument("--queries", type=int, default=20, help="number of test claims (at most 300)")
    parser.add_argument("--threads", type=int, default=1, help="for building and searching")
    parser.add_argument("--keep", action="store_true", help="keep the generated collections")
    parser.add_argument("--again", action="store_true", help="measure again what was measured before")
    parser.add_argument("--out", type=Path, default=ROOT / "experiments" / "results", help="directory of the results")
    arguments = parser.parse_args()
    address = prepare(SEARCH)
    source = Packed(np.load(SEARCH / "vectors.npy", mmap_mode="r"), np.load(SEARCH / "lengths.npy"))
    torch.set_num_threads(arguments.threads)
    results = []
    for size in sorted(int(text) for text in arguments.sizes.split(",")):
        what = {name: getattr(arguments, name) for name in ("codec", "queries", "threads")}
        what |= {"address": address, **DOCUMENT}
        file = WORK / f"{size}.json"
        kept = json.loads(file.read_text()) if file.is_file() else {}
        if arguments.again or kept.get("what") != what:
            kept = {"what": what, "date": datetime.date.today().isoformat(), "commit": commit()}
            kept |= measured(
                source, SEARCH, size, WORK / str(size), codec=arguments.codec, num_queries=arguments.queries,
                threads=arguments.threads, keep=arguments.keep,
            )  # fmt: skip
            file.write_text(json.dumps(kept))
        results.append(kept)
        write(results, RECALL, arguments.out)


if __name__ == "__main__":
    main()
