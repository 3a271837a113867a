"""Tests that documents with equal scores are in descending order of ids: for every engine, depth and index order."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import CODECS, no_bar, unit

from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.evaluation.measures import evaluate
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.indexing.index import Index
from colbertv2.indexing.packed import Packed
from colbertv2.search import device_search, exhaustive, scoring
from colbertv2.search.bm25 import BM25
from colbertv2.search.cascade import Cascade
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.plaid import Plaid
from colbertv2.search.scoring import ranking_of
from colbertv2.search.searcher import Searcher
from colbertv2.search.vanilla_colbertv2 import VanillaColBERTv2
from colbertv2.search.xtr import XTR

COPIES, OTHERS, DIM = 30, 170, 128
ENGINES = {
    "exhaustive": Exhaustive(),
    "plaid": Plaid(nprobe=8, centroid_score_threshold=-2.0, ndocs=160),
    "plaid prunes": Plaid(nprobe=8, centroid_score_threshold=2.0, ndocs=80),
    "cascade": Cascade(ndocs=40),
    "cascade cuts copies": Cascade(ndocs=25),
    "cascade probes": Cascade(nprobe=4, ndocs=60),
    "vanilla": VanillaColBERTv2(nprobe=8),
    "vanilla cuts copies": VanillaColBERTv2(nprobe=8, ncandidates=12),
    "xtr": XTR(nprobe=8, num_tokens=20, imputation_tokens=None),
    "warp": XTR(nprobe=4),
}


def index_of(path, documents, doc_ids, codec):
    """An index of documents, with three documents per shard."""
    writer = EmbeddingsWriter(path / "embeddings", documents[0].shape[1])
    for start in range(0, len(documents), 3):
        part = documents[start : start + 3]
        writer.add(doc_ids[start : start + 3], np.concatenate(part), np.array([len(one) for one in part]))
    writer.close()
    clustering = Clustering(num_centroids=16, kmeans_iterations=2) if codec.has_centroids else None
    return Index.build(
        Embeddings.open(path / "embeddings"), codec, path / "index", seed=0, clustering=clustering, bar=no_bar
    )


@pytest.fixture(scope="module", params=sorted(CODECS))
def world(request, tmp_path_factory):
    """Thirty copies of one document among others, with shuffled ids; and a query that is nearest to them."""
    random = np.random.default_rng(3)
    copy = unit(random.normal(size=(7, DIM)))
    documents = [copy] * COPIES + [unit(random.normal(size=(length, DIM))) for length in random.integers(3, 12, OTHERS)]
    places, names = random.permutation(len(documents)), random.permutation(len(documents))
    documents = [documents[place] for place in places]
    doc_ids = [f"copy{name}" if place < COPIES else f"another{name}" for place, name in zip(places, names, strict=True)]
    index = index_of(tmp_path_factory.mktemp("ties"), documents, doc_ids, CODECS[request.param](2))
    return index, unit(copy[:4] + 0.05 * random.normal(size=(4, DIM)))


def found_by(index, engine, query, k, monkeypatch, device="cpu"):
    if device == "cuda":  # the CPU in place of a GPU
        real = device_search.DeviceIndex
        monkeypatch.setattr(device_search, "DeviceIndex", lambda index, device: real(index, "cpu"))
    return Searcher(index, engine, device).find([query], k)[0]


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_copies_come_by_falling_id_at_every_depth(world, name, device, monkeypatch):
    index, query = world
    engine = ENGINES[name]
    if engine.needs_centroids and not index.codec.has_centroids:
        pytest.skip("it probes centroids")
    copies = sorted((one for one in index.doc_ids if one.startswith("copy")), reverse=True)
    everything = found_by(index, engine, query, 1000, monkeypatch, device).scores.tolist()
    for depth in (1, 5, 10, 29, 30, 1000):
        found = found_by(index, engine, query, depth, monkeypatch, device)
        ids = [index.doc_ids[place] for place in found.positions]
        kept = [one for one in ids if one in copies]
        assert ids[: len(kept)] == kept == copies[: len(kept)] and len(kept) >= min(depth, 10)
        assert len(set(found.scores[: len(kept)].tolist())) == 1
        if len(kept) == min(depth, 30):  # ties beyond an earlier stage are unknown
            last, following = everything[depth - 1 : depth], everything[depth : depth + 1]
            tied = following != [] and following == last  # with centroids alone, other documents are as good
            assert found.tied == tied >= (depth < 30) or "cuts" in name or "prunes" in name
        for relevant in (copies[0], copies[7], copies[29]):
            ranking = ranking_of({"q": found}, index.doc_ids)
            value = evaluate(ranking, {"q": {relevant: 1}}, ["RR@10"])["RR@10"].item()
            rank = copies.index(relevant) + 1
            assert value == (1 / rank if rank <= min(10, depth) else 0)


@pytest.mark.parametrize("dim", [16, 50, 128, 384])
@pytest.mark.parametrize("num_vectors", [1, 4, 15, 32])
def test_a_document_has_the_same_score_wherever_it_stands_and_whatever_beside_it(dim, num_vectors):
    random = np.random.default_rng(0)
    queries = [random.normal(size=(number, dim)).astype(np.float32) for number in (num_vectors, 3, 40, num_vectors)]
    document = random.normal(size=(5, dim)).astype(np.float32)
    found = [set[float]() for _ in queries]
    for number in (1, 2, 7, 300):
        lengths = random.integers(0, 20, number)
        others = random.normal(size=(lengths.sum(), dim)).astype(np.float32)
        vectors = np.concatenate([document, others, document])
        for chosen in (range(len(queries)), [0], [1, 3]):
            own = [queries[place] for place in chosen]
            scores = scoring.maxsim(own, Packed(vectors, np.array([5, *lengths, 5])))
            for place, row in zip(chosen, scores, strict=True):
                found[place] |= {float(row[0]), float(row[-1])}
    assert all(len(scores) == 1 for scores in found)


def test_equal_documents_have_equal_single_vector_scores():
    random = np.random.default_rng(0)
    vector, query = random.normal(size=(2, 384)).astype(np.float32)
    for number in (1, 15, 513):
        assert len(set(np.einsum("nd,d->n", np.tile(vector, (number, 1)), query).tolist())) == 1


@pytest.mark.parametrize("blocks", [1, 40, 10**6])
def test_copies_have_the_same_score_wherever_they_lie(world, blocks, monkeypatch):
    index, query = world
    copies = np.array([place for place, one in enumerate(index.doc_ids) if one.startswith("copy")])
    for module in (exhaustive, scoring):
        monkeypatch.setattr(module, "DECODED_VECTORS", blocks)
    whole = exhaustive.search_decoded(index, [query], index.num_documents)[0]
    assert len(set(whole.scores[np.isin(whole.positions, copies)].tolist())) == 1
    assert len(set(scoring.score_documents(index, query, copies).tolist())) == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    vectors=st.lists(st.integers(0, 3), min_size=1, max_size=25),
    ids=st.randoms(use_true_random=False),
    k=st.integers(1, 30),
    work=st.sampled_from([64, 2**12, 2**22]),
)
def test_the_first_k_are_the_first_of_all(tmp_path_factory, monkeypatch, vectors, ids, k, work):
    halves = 0.5 * np.eye(16, dtype=np.float32).reshape(4, 4, 16).sum(axis=1)  # their dot products are exact
    names = [f"d{number}" for number in range(len(vectors))]
    ids.shuffle(names)
    index = index_of(tmp_path_factory.mktemp("ties"), [halves[[one]] for one in vectors], names, Float16Codec())
    query = halves[[2]]
    scores = {name: float(one == 2) for name, one in zip(names, vectors, strict=True)}
    expected = sorted(scores, key=lambda name: (scores[name], name), reverse=True)
    there = device_search.DeviceExhaustive(index, "cpu")
    there.there.work_bytes = work
    with monkeypatch.context() as patched:
        patched.setattr(exhaustive, "DECODED_VECTORS", 4)
        for engine in (Searcher(index, Exhaustive()).engine, there):
            (found,) = engine.search([query], k)
            assert [names[place] for place in found.positions] == expected[:k]
            assert found.tied == (k < len(names) and scores[expected[k - 1]] == scores[expected[k]])
            some = np.sort(np.unique(np.array([0, len(names) // 2, len(names) - 1])))
            among = [name for name in expected if name in {names[place] for place in some}]
            assert [names[place] for place in engine.rerank(query, some, k).positions] == among[:k]


def test_bm25_breaks_ties_alike_at_every_depth():
    texts = {f"d{number}": "whale song" if number % 3 else "whale whale song" for number in range(40)}
    index = BM25(k1=1.2, b=0.75, tokenizer="words").index(texts.items())
    everything = index.search([("q", "whale")], 1000)
    assert [doc_id for doc_id, _ in everything["q"]] == sorted(
        texts, key=lambda doc_id: (texts[doc_id].count("whale"), doc_id), reverse=True
    )
    for depth in range(1, 41):
        found = index.search([("q", "whale")], depth)
        assert found["q"] == everything["q"][:depth]
        assert found.tied_beyond == (frozenset() if depth in (14, 40) else {"q"})
