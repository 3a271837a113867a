"""Overlap with exact MaxSim against milliseconds a query: ours beside other engines, on the same vectors.

``python -m experiments.speed.search [peer …]`` (so far tachiom): BEIR SciFact by all-MiniLM-L6-v2 untrained, 128
dimensions, the test claims as 32 vectors each, one thread, k=100, each system in processes of its own, one after the
other. The product codec sees training claims alone. Writes experiments/results/speed_search.md and .png.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import ir_datasets
import matplotlib
import numpy as np
import torch

from colbertv2 import build, compose
from colbertv2.modeling import ColBERT
from colbertv2.modeling.tokenizer import Tokenizer
from colbertv2.retrieval import Embeddings
from colbertv2.retrieval.scoring import maxsim
from experiments.agree.environments import ROOT, Ours, Peer

matplotlib.use("Agg")
import matplotlib.pyplot as plt

QUERIES, BLOCK = 100, 64
CODECS = [("quantile", 2), ("lloyd", 2), ("lloyd", 4), ("product", 1), ("product", 2), ("product", 4)]
PEERS = {"tachiom": "tachiom_search"}
HERE = Path(__file__).parent


def prepare(work: Path) -> np.ndarray:
    """Write vectors, token ids, lengths and queries; the exact scores ``[queries, documents]``."""
    work.mkdir(parents=True, exist_ok=True)
    encoded = build(compose(["collection=scifact", "pipeline=untrained", "target=embeddings"]))
    (work / "embeddings.txt").write_text(str(encoded.path))
    model = ColBERT.load(encoded.ancestor("checkpoint").path)
    conventions = dataclasses.replace(model.tokenizer.conventions, query_augmentation=True)
    model.tokenizer = Tokenizer(model.tokenizer.tokenizer, conventions)
    for split, name in (("test", "queries"), ("train", "train_queries")):
        texts = [query.text for query in ir_datasets.load(f"beir/scifact/{split}").queries_iter()]
        np.save(work / f"{name}.npy", np.stack(model.encode_queries(texts[: QUERIES if split == "test" else None])))
    documents = ir_datasets.load("beir/scifact").docs_iter()
    ids = model.tokenizer.document_ids([f"{document.title} {document.text}".strip() for document in documents])
    kept = [np.array(row)[~np.isin(row, model.tokenizer.skipped)] for row in ids]
    shards = list(Embeddings.open(encoded.path).shards())
    lengths = np.concatenate([shard.lengths for shard in shards])
    if [len(row) for row in kept] != lengths.tolist():
        raise RuntimeError("The token ids do not fit the vectors; the text of a document is put together otherwise.")
    np.save(work / "tokens.npy", np.concatenate(kept).astype(np.int64))
    np.save(work / "lengths.npy", lengths.astype(np.int32))
    np.save(work / "vectors.npy", np.concatenate([shard.vectors for shard in shards]))
    queries = list(np.load(work / "queries.npy"))
    exact = [maxsim(queries, dataclasses.replace(shard, vectors=shard.vectors.astype(np.float32))) for shard in shards]
    return np.concatenate(exact, axis=1)


def measured(name: str, peer: Peer, script: str, work: Path, *arguments: Any) -> list[dict[str, Any]]:
    """The points of one system: built in one process, searched in another."""
    peer.install()
    file, out = HERE / "systems" / f"{script}.py", work / f"{name}.json"
    peer.run(file, work, out, *arguments, "build")
    built = json.loads(out.read_text())
    peer.run(file, work, out, *arguments, "search")
    points = [{"system": name, **built, **json.loads(line)} for line in out.read_text().splitlines()]
    print(name, [(point["setting"], round(point["ms"], 2)) for point in points], flush=True)
    return points


def overlap(found: list[list[int]], exact: np.ndarray, k: int, depth: int) -> float:
    """Share of the exact top ``k`` in the first ``depth`` that were found."""
    best = np.argsort(-exact, axis=1)[:, :k]
    return float(np.mean([len(set(one[:depth]) & set(own.tolist())) / k for one, own in zip(found, best, strict=True)]))


def main() -> None:
    """Measure, and write the table and the picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peers", nargs="*", choices=[*PEERS, []], help="default: all")
    chosen = parser.parse_args().peers or list(PEERS)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[variable] = "1"
    torch.set_num_threads(1)
    work = ROOT / "outputs" / "speed" / "search"
    exact = prepare(work)
    points, missing = [], []
    for kind, bits in CODECS:
        points += measured(f"ours, {kind} {bits} bits", Ours(), "ours_search", work, kind, bits)
    for name in chosen:
        try:
            points += measured(name, Peer(name), PEERS[name], work)
        except Exception as error:  # a peer that can't be had is shown as such
            missing.append(f"{name}: {str(error).strip().splitlines()[-1]}")
    for point in points:
        found = point.pop("found")
        point["overlap@10"], point["top 10 in 100"] = overlap(found, exact, 10, 10), overlap(found, exact, 10, 100)
    write(points, missing, exact.shape)


def write(points: list[dict[str, Any]], missing: list[str], shape: tuple[int, ...]) -> None:
    """The table and the picture under experiments/results/."""
    lines = [
        "# Speed of search",
        "",
        f"`python -m experiments.speed.search`: {shape[1]} documents of SciFact, {shape[0]} test claims of 32 vectors, "
        "untrained vectors of 128 dimensions, k=100, one thread; milliseconds are the best of 3 passes, one query at a "
        "time. Overlap is with exact MaxSim of the float16 vectors. Builds are CPU seconds.",
        "",
        "| system | setting | ms/query | overlap@10 | exact top 10 in top 100 | build CPU s | build MiB | search MiB "
        "| bytes/token, whole index |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for point in points:
        lines.append(
            f"| {point['system']} | {point['setting']} | {point['ms']:.2f} | {point['overlap@10']:.3f} "
            f"| {point['top 10 in 100']:.3f} | {point['build_seconds']:.0f} | {point['build_mib']:.0f} "
            f"| {point['search_mib']:.0f} | {point['bytes_per_token']:.1f} |"
        )
    lines += ["", *(f"Not measured: {one}" for one in missing)]
    results = ROOT / "experiments" / "results"
    (results / "speed_search.md").write_text("\n".join(lines).rstrip() + "\n")
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for system in dict.fromkeys(point["system"] for point in points):
        own = [point for point in points if point["system"] == system]
        own.sort(key=lambda point: point["ms"])
        axes.plot(
            [p["ms"] for p in own], [p["overlap@10"] for p in own], "o-" if "ours" in system else "s--", label=system
        )
    axes.set(xscale="log", xlabel="milliseconds a query, one thread", ylabel="overlap@10 with exact MaxSim")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(results / "speed_search.png", dpi=150)


if __name__ == "__main__":
    main()
