"""Index directories: theirs searched by us, ours searched by them, with the same rankings."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from colbertv2.compression import ResidualCodec
from colbertv2.interchange.checkpoints import convert_checkpoint
from colbertv2.interchange.indexes import convert_index
from colbertv2.retrieval import Embeddings, EmbeddingsWriter, Exhaustive, Index, Plaid
from experiments.agree.environments import Peer
from experiments.agree.report import Row
from experiments.agree.texts import documents, model, queries

COLBERT_AI, FAST_PLAID = "colbert-ai 0.2.22", "fast-plaid 1.7.0"
NUM_DOCUMENTS, NUM_QUERIES = 1000, 300
# nprobe, threshold and ndocs of the presets for k up to 10, 100 and 1,000, of PeerQA, and of hard pruning.
SETTINGS = [(1, 0.5, 256), (2, 0.45, 1024), (4, 0.4, 4096), (4, 0.4, 40000), (2, 0.6, 64)]
DEPTH, NEAR_TIE = 100, 1e-4


def run(work: Path, colbert_ai: Peer, pylate: Peer) -> Iterator[Row]:
    """Both directions with colbert-ai, both with fast-plaid."""
    found = built(work, colbert_ai)
    theirs = Index.open(work / "imported")
    vectors = list(found["queries"])
    plaid = Plaid(*SETTINGS[1])
    yield from compared(COLBERT_AI, "its index, converted and searched by us", theirs, plaid, vectors, found, "1")
    own = our_index(work)
    shutil.rmtree(work / "exported" / "ours", ignore_errors=True)
    convert_index(own.path, work / "exported" / "ours", "official", None, "official")
    searched = work / "searched.npz"
    colbert_ai.run(
        "index_colbert_ai", work / "official", work / "texts.json", work / "exported", "ours", searched, "search"
    )
    yield from compared(
        COLBERT_AI, "our index, converted and searched by its Searcher", own, plaid, vectors, np.load(searched), "1"
    )
    yield from with_fast_plaid(work, pylate, own, vectors)


def built(work: Path, colbert_ai: Peer) -> np.lib.npyio.NpzFile:
    """What colbert-ai found in the index it built, which lies in ``work``/built; and that index in our layout."""
    if not (work / "imported").exists():
        shutil.rmtree(work)
        (work / "ours").mkdir(parents=True)
        model().save(work / "ours")
        convert_checkpoint(str(work / "ours"), work / "official", "official")
        texts = {"documents": documents(NUM_DOCUMENTS), "queries": queries(NUM_QUERIES), "settings": SETTINGS}
        (work / "texts.json").write_text(json.dumps(texts))
        out = work / "built.npz"
        colbert_ai.run("index_colbert_ai", work / "official", work / "texts.json", work, "built", out, "build")
        convert_index(work / "built", work / "imported", "colbertv2", None, None)
    return np.load(work / "built.npz")


def our_index(work: Path) -> Index:
    """An index of the same documents with our own k-means."""
    shutil.rmtree(work / "own", ignore_errors=True)
    shutil.rmtree(work / "embeddings", ignore_errors=True)
    vectors = model().encode_documents(documents(NUM_DOCUMENTS))
    writer = EmbeddingsWriter(work / "embeddings", 128)
    ids = [str(number) for number in range(NUM_DOCUMENTS)]
    writer.add(ids, np.concatenate(vectors), np.array([len(one) for one in vectors]))
    writer.close()
    return Index.build(
        Embeddings.open(work / "embeddings"),
        ResidualCodec(bits=2, kmeans_iterations=4),
        work / "own",
        seed=0,
        sample_documents=None,
        device="cpu",
        bar=lambda items, *_: items,
    )


def with_fast_plaid(work: Path, pylate: Peer, own: Index, vectors: Sequence[np.ndarray]) -> Iterator[Row]:
    """Ours in its layout, and one it built in ours; with all cells probed, and with its default of 8."""
    shard = next(iter(Embeddings.open(work / "embeddings").shards()))
    given = {"documents": shard.vectors.astype(np.float32), "lengths": shard.lengths, "queries": np.stack(vectors)}
    np.savez(work / "vectors.npz", **given, num_centroids=len(own.codec.centroids))
    for path in (work / "fast-plaid", work / "fast-plaid-built", work / "fast-plaid-imported"):
        shutil.rmtree(path, ignore_errors=True)
    convert_index(own.path, work / "fast-plaid", "fast-plaid", None, None)
    built_path = work / "fast-plaid-built"
    for path, task in ((work / "fast-plaid", "search"), (built_path, "build")):
        pylate.run("index_fast_plaid", work / "vectors.npz", path, work / f"{path.name}.npz", task)
    convert_index(built_path, work / "fast-plaid-imported", "colbertv2", None, None)
    engines = {"all": ("every cell probed", Exhaustive()), "default": ("8 cells", Plaid(8, -np.inf, 4 * 10**6))}
    for index, name, whose in (
        (own, "fast-plaid", "our index, converted and searched by it"),
        (Index.open(work / "fast-plaid-imported"), "fast-plaid-built", "its index, converted and searched by us"),
    ):
        for setting, (what, engine) in engines.items():
            result = np.load(work / f"{name}.npz")
            yield from compared(FAST_PLAID, f"{whose}, {what}", index, engine, vectors, result, setting)


def compared(
    peer: str,
    what: str,
    index: Index,
    engine: Exhaustive | Plaid,
    queries: Sequence,
    found: np.lib.npyio.NpzFile,
    key: str,
) -> Iterator[Row]:
    """Rankings to ``DEPTH`` and scores of all queries; documents nearer than ``NEAR_TIE`` may change places."""
    differing, ties, largest = 0, 0, 0.0
    for place, (positions, scores) in enumerate(engine.search(index, queries, DEPTH)):
        order, theirs = (found[f"{key}.{place}.{name}"][:DEPTH] for name in ("order", "scores"))
        if len(order) != len(positions):
            differing += 1
            continue
        largest = max(largest, float(np.abs(scores - theirs).max(initial=0)))
        swapped = positions != order
        ties += bool(swapped.any())
        differing += bool((np.abs(scores - theirs)[swapped] > NEAR_TIE).any())
    note = f"{ties} queries with documents within {NEAR_TIE:g} of each other in another order" if ties else ""
    yield Row("indexes", peer, f"{what}: queries of {len(queries)} with another top {DEPTH}", differing, 0, note)
    yield Row("indexes", peer, f"{what}: score", largest, NEAR_TIE)
