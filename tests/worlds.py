from pathlib import Path

import numpy as np
import pytest
from support import no_bar, unit

from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.indexing.index import Index

DIM = 16


class World:
    """A random collection whose token vectors form clusters; some documents are empty, two are equal."""

    def __init__(self, path: Path, num_documents: int, seed: int = 0, longest: int = 20) -> None:
        self.path = path
        self.random = np.random.default_rng(seed)
        self.directions = self.random.normal(size=(40, DIM))
        self.documents = [self.tokens(length) for length in self.random.integers(1, longest, num_documents)]
        if num_documents >= 20:
            self.documents[7] = self.documents[-1] = np.zeros((0, DIM), np.float32)
            self.documents[12] = self.documents[4]
        self.doc_ids = [f"d{number}" for number in range(num_documents)]

    def tokens(self, length: int) -> np.ndarray:
        around = self.directions[self.random.integers(len(self.directions), size=length)]
        return unit(around + 0.5 * self.random.normal(size=(length, DIM)))

    def queries(self, number: int) -> list[np.ndarray]:
        return [self.tokens(length) for length in self.random.integers(2, 9, number)]

    def embeddings(self, shard_documents: int = 1000) -> Embeddings:
        path = self.path / f"embeddings-{shard_documents}"
        writer = EmbeddingsWriter(path, DIM)
        for start in range(0, len(self.documents), shard_documents):
            shard = self.documents[start : start + shard_documents]
            ids = self.doc_ids[start : start + shard_documents]
            writer.add(ids, np.concatenate(shard), np.array([len(document) for document in shard]))
        writer.close()
        return Embeddings.open(path)

    def index(
        self, codec=None, name="index", *, clustering=None, seed=0, shard_documents=1000, devices=None, queries=None
    ) -> Index:
        return Index.build(
            self.embeddings(shard_documents),
            codec or ResidualCodec(2),
            self.path / name,
            clustering=clustering or Clustering(num_centroids=32, kmeans_iterations=4),
            seed=seed,
            bar=no_bar,
            devices=devices,
            queries=queries,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"), 150)


@pytest.fixture(scope="module")
def residual_index(world) -> Index:
    return world.index(name="residual")


@pytest.fixture(scope="module")
def float16_index(world) -> Index:
    return world.index(Float16Codec(), name="float16")


@pytest.fixture
def new_world(tmp_path):
    """A function that makes a world of a given number of documents, in a directory of its own."""
    return lambda num_documents, **settings: World(tmp_path / str(num_documents), num_documents, **settings)


def naive_search(vectors_of, num_documents, query, k):
    """(position, score), computed by a loop over documents with the definition of MaxSim."""
    scored = []
    for position in range(num_documents):
        vectors = vectors_of(position)
        if len(vectors):
            scored.append((position, sum(max(float(q @ v) for v in vectors) for q in query)))
    return sorted(scored, key=lambda one: (-one[1], one[0]))[:k]


@pytest.fixture(scope="session")
def naive():
    return naive_search


@pytest.fixture(scope="session")
def same_results():
    """Assert that two results agree: scores up to rounding, and documents wherever scores differ by more than that."""

    def check(found, expected):
        assert len(found) == len(expected)
        for (positions, scores, _), (expected_positions, expected_scores, *_) in zip(found, expected, strict=True):
            np.testing.assert_allclose(scores, expected_scores, atol=2e-5)
            by_document = dict(zip(expected_positions.tolist(), expected_scores.tolist(), strict=True))
            least = min(by_document.values(), default=0) + 2e-5
            for position, score in zip(positions.tolist(), scores.tolist(), strict=True):
                assert position in by_document or score <= least
                assert abs(by_document.get(position, score) - score) < 2e-5

    return check
