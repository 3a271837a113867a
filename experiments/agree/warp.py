"""WARP: rankings and scores of xtr-warp-rs and of our engine, in indexes that xtr-warp-rs built."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from colbertv2.indexing.index import Index
from colbertv2.interchange.foreign_index import ForeignIndex, checked_codec, import_index
from colbertv2.search.xtr import XTR
from experiments.agree.environments import Peers
from experiments.agree.indexes import DEPTH, NUM_DOCUMENTS, compared, same_ranking
from experiments.agree.report import Row
from experiments.agree.texts import documents, model, queries

NAME = "xtr-warp-rs 2.1.0"
NUM_QUERIES = 100  # a setting with all centroids takes both systems a second per query
BITS = (2, 4)  # all that it can search
# nprobe and t'. The last one probes all centroids, so only the similarities themselves are compared.
SETTINGS = {"few": (1, 1), "some": (8, 500), "many": (32, 5000), "all": (None, 1)}
# What xtr-warp-rs adds to WARP: values that change nothing, and its defaults for k = 100 in an index of this size.
NEUTRAL = {"bound": "all", "centroid_score_threshold": -2.0, "max_candidates": NUM_DOCUMENTS}
DEFAULTS = {"threshold of .45": {"centroid_score_threshold": 0.45}, "bound of 102 centroids": {"bound": 102}}
EIGHT_BITS = "similarities in 8 bits"  # its default, too


def run(work: Path, peers: Peers) -> Iterator[Row]:
    """Two rows for each number of bits and each setting."""
    start = model()
    texts, asked = start.encode_documents(documents(NUM_DOCUMENTS)), start.encode_queries(queries(NUM_QUERIES))
    lengths = np.array([len(one) for one in texts])
    np.savez(work / "vectors.npz", documents=np.concatenate(texts), lengths=lengths, queries=np.stack(asked))
    searches = {name: {"nprobe": nprobe or "all", "t_prime": t, **NEUTRAL} for name, (nprobe, t) in SETTINGS.items()}
    others = {name: searches["some"] | changed for name, changed in DEFAULTS.items()}
    for path in (work / "built", work / "imported"):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    found: dict[str, np.ndarray] = {}
    for task, chosen in (("build", searches | others), ("search", {EIGHT_BITS: searches["some"]})):
        wanted, out = json.dumps([(nbits, chosen) for nbits in BITS]), work / f"{task}.npz"
        peers.xtr_warp.run("index_xtr_warp", work / "vectors.npz", wanted, work / "built", out, task)
        found |= np.load(out)
    for nbits in BITS:
        import_index(opened(work / "built" / str(nbits), nbits, lengths), work / "imported" / str(nbits), None)
        index = Index.open(work / "imported" / str(nbits))
        for name, (nprobe, t_prime) in SETTINGS.items():
            result = [one[:2] for one in XTR(nprobe, None, t_prime, normalise=False).search(index, asked, DEPTH)]
            what = f"its index of {nbits} bits, {index.num_centroids} centroids, nprobe {nprobe or 'all'}, t' {t_prime}"
            note = f"without its {', its '.join(DEFAULTS)} and its {EIGHT_BITS}"
            if name == "some":
                changed = [different(result, found, f"{nbits}.{one}") for one in (*DEFAULTS, EIGHT_BITS)]
                note += f"; rankings that these change: {', '.join(map(str, changed))}"
            yield from compared("warp", NAME, what, result, found, f"{nbits}.{name}", note)


def opened(path: Path, nbits: int, lengths: np.ndarray) -> ForeignIndex:
    """The index that xtr-warp-rs wrote to ``path``, of documents with ``lengths``."""
    names = ("centroids", "bucket_cutoffs", "bucket_weights", "avg_residual")
    codec = checked_codec(path, nbits, *(np.load(path / f"{name}.npy") for name in names))
    chunks = range(json.loads((path / "metadata.json").read_text())["num_chunks"])

    def read() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for chunk in chunks:
            yield np.load(path / f"{chunk}.codes.npy").astype(np.int32), np.load(path / f"{chunk}.residuals.npy")

    return ForeignIndex(path, codec, lengths.astype(np.int32), read, None)


def different(ours: list, found: Mapping[str, np.ndarray], key: str) -> int:
    """How many of our rankings are not those of ``found``, up to near ties."""
    return sum(
        not same_ranking(one, found[f"{key}.{place}.order"], found[f"{key}.{place}.scores"])[0]
        for place, one in enumerate(ours)
    )
