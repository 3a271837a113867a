"""Indexes: we search theirs, they search ours, and the rankings must be the same."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from colbertv2.compression.bitpack import unpack
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.residual import ResidualCodec
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.indexing.index import Index
from colbertv2.indexing.packed import offsets_of, ranges
from colbertv2.interchange.conversion import convert_checkpoint, convert_index
from colbertv2.search.plaid import Plaid
from colbertv2.search.scoring import best_documents
from experiments.agree.environments import Peer, Peers
from experiments.agree.report import Row
from experiments.agree.texts import documents, model, queries

COLBERT_AI, FAST_PLAID = "colbert-ai 0.2.22", "fast-plaid 1.7.0"
NUM_DOCUMENTS, NUM_QUERIES = 1000, 300
# nprobe, threshold and ndocs: the presets for k up to 10, 100 and 1,000, those of PeerQA, and hard pruning.
SETTINGS = [(1, 0.5, 256), (2, 0.45, 1024), (4, 0.4, 4096), (4, 0.4, 40000), (2, 0.6, 64)]
DEPTH, NEAR_TIE = 100, 1e-4
FAST_PLAID_QUERIES = 40  # about a second each


def run(work: Path, peers: Peers) -> Iterator[Row]:
    """Compare in both directions with colbert-ai and with fast-plaid."""
    found = built(work, peers.colbert_ai)
    theirs = Index.open(work / "imported")
    vectors = list(found["queries"])
    plaid = Plaid(*SETTINGS[1])
    result = [scored_by(cpu_scores, theirs, plaid, query, DEPTH) for query in vectors]
    note = clamping(theirs, plaid, vectors)
    yield from compared("indexes", COLBERT_AI, "its index, converted and searched by us", result, found, "1", note)
    own = our_index(work)
    shutil.rmtree(work / "exported" / "ours", ignore_errors=True)
    convert_index(own.path, work / "exported" / "ours", "official", None, "official")
    searched = work / "searched.npz"
    peers.colbert_ai.run(
        "index_colbert_ai", work / "official", work / "texts.json", work / "exported", "ours", searched, "search"
    )
    what = "our index, converted and searched by its Searcher"
    result = [scored_by(cpu_scores, own, plaid, query, DEPTH) for query in vectors]
    yield from compared("indexes", COLBERT_AI, what, result, np.load(searched), "1", "scored as its CPU code does")
    yield from with_fast_plaid(work, peers.pylate, own, vectors[:FAST_PLAID_QUERIES])


def built(work: Path, colbert_ai: Peer) -> np.lib.npyio.NpzFile:
    """Build an index with colbert-ai and convert it to our layout. Returns what colbert-ai found in it.

    The index is in ``work/built``, the converted one in ``work/imported``.
    """
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
    """Build our own index of the same documents, with our own k-means."""
    shutil.rmtree(work / "own", ignore_errors=True)
    shutil.rmtree(work / "embeddings", ignore_errors=True)
    vectors = model().encode_documents(documents(NUM_DOCUMENTS))
    writer = EmbeddingsWriter(work / "embeddings", 128)
    ids = [str(number) for number in range(NUM_DOCUMENTS)]
    writer.add(ids, np.concatenate(vectors), np.array([len(one) for one in vectors]))
    writer.close()
    return Index.build(
        Embeddings.open(work / "embeddings"),
        ResidualCodec(nbits=2),
        work / "own",
        clustering=Clustering(kmeans_iterations=4),
        seed=0,
        bar=lambda items, *_: items,
    )


def with_fast_plaid(work: Path, pylate: Peer, own: Index, vectors: Sequence[np.ndarray]) -> Iterator[Row]:
    """Compare our index in its layout, and its index in ours; with all cells probed, and with its default of 8."""
    shard = next(iter(Embeddings.open(work / "embeddings").shards()))
    given = {"documents": shard.vectors.astype(np.float32), "lengths": shard.lengths, "queries": np.stack(vectors)}
    np.savez(work / "vectors.npz", **given)
    for path in (work / "fast-plaid", work / "fast-plaid-built", work / "fast-plaid-imported"):
        shutil.rmtree(path, ignore_errors=True)
    convert_index(own.path, work / "fast-plaid", "fast-plaid", None, None)
    built_path = work / "fast-plaid-built"
    for path, task in ((work / "fast-plaid", "search"), (built_path, "build")):
        pylate.run("index_fast_plaid", work / "vectors.npz", path, work / f"{path.name}.npz", task)
    convert_index(built_path, work / "fast-plaid-imported", "colbertv2", None, None)
    engines = {"all": ("every cell probed", len(own.centroids)), "default": ("8 cells", 8)}
    note = "scored in half precision, as it does"
    for index, name, whose in (
        (own, "fast-plaid", "our index, converted and searched by it"),
        (Index.open(work / "fast-plaid-imported"), "fast-plaid-built", "its index, converted and searched by us"),
    ):
        found = np.load(work / f"{name}.npz")
        for setting, (what, nprobe) in engines.items():
            plaid = Plaid(nprobe, -2.0, 4 * index.num_documents)
            result = [scored_by(half_scores, index, plaid, query, DEPTH) for query in vectors]
            yield from compared("indexes", FAST_PLAID, f"{whose}, {what}", result, found, setting, note)


def cpu_scores(index: Index, query: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """MaxSim as in colbert-ai's CPU code, where a query vector with a negative best similarity counts as 0."""
    documents = index.decode(positions)
    return np.maximum(largest(query @ documents.vectors.T, documents.lengths), 0).sum(axis=0)


def half_scores(index: Index, query: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """MaxSim as in fast-plaid, which decodes, normalises and multiplies vectors in half precision."""
    codec, lengths = index.codec, index.lengths[positions]
    assert isinstance(codec, ResidualCodec)
    rows = ranges(index.offsets[positions], lengths)
    residuals = torch.from_numpy(codec.weights).half()[unpack(index.arrays["residuals"][rows], codec.nbits).astype(int)]
    vectors = torch.from_numpy(codec.fitted().vectors).half()[index.stored_codes[rows]] + residuals
    vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    similarities = (torch.from_numpy(query).half() @ vectors.T).float().numpy()
    return largest(similarities, lengths).sum(axis=0)


def largest(similarities: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """``[L, D]``: the maximum of ``similarities [L, T]`` over the vectors of each document, of which all have some."""
    return np.maximum.reduceat(similarities, offsets_of(lengths)[:-1], axis=1)


def scored_by(scores: Callable, index: Index, engine: Plaid, query: np.ndarray, depth: int) -> tuple:
    """Score the candidates of the engine's last stage as one of the peers does, and rank them."""
    positions = engine.candidates(index, query, depth).ranked
    return best_documents(positions, scores(index, query, positions), depth, index.ranks)[:2]


def same_ranking(
    ours: tuple[np.ndarray, np.ndarray], order: np.ndarray, theirs: np.ndarray
) -> tuple[bool, bool, float]:
    """Whether two rankings are the same up to near ties, whether there are near ties, and the largest difference."""
    positions, scores = ours
    if len(order) != len(positions):
        return False, False, float("inf")
    differences = np.abs(scores - theirs)
    swapped = positions != order
    return not (differences[swapped] > NEAR_TIE).any(), bool(swapped.any()), float(differences.max(initial=0))


def compared(
    part: str, peer: str, what: str, ours: Sequence, found: Mapping[str, np.ndarray], key: str, note: str
) -> Iterator[Row]:
    """Compare the first ``DEPTH`` documents of all queries; documents within ``NEAR_TIE`` may be swapped."""
    results = [
        same_ranking(one, *(found[f"{key}.{place}.{name}"][:DEPTH] for name in ("order", "scores")))
        for place, one in enumerate(ours)
    ]
    differing, ties = sum(not same for same, _, _ in results), sum(tied for _, tied, _ in results)
    if ties:
        note = "; ".join(filter(None, [note, f"{ties} queries have documents within {NEAR_TIE:g} in another order"]))
    yield Row(part, peer, f"{what}: queries of {len(results)} with another top {DEPTH}", differing, 0, note)
    yield Row(part, peer, f"{what}: score", max(difference for _, _, difference in results), NEAR_TIE)


def clamping(index: Index, engine: Plaid, queries: Sequence[np.ndarray]) -> str:
    """A note on how many rankings change because colbert-ai's CPU code counts a negative maximum as 0."""
    exact = engine.search(index, queries, DEPTH)
    changed = sum(
        list(positions) != list(scored_by(cpu_scores, index, engine, query, DEPTH)[0])
        for query, (positions, *_) in zip(queries, exact, strict=True)
    )
    return (
        "scored as its CPU code does, which counts a query vector's negative maximum as 0 (its GPU code and our "
        f"engines do not; with these untrained vectors it changes {changed} of {len(queries)} rankings)"
    )
