"""How the results of a stage on two devices are compared: what differs, by how much, and what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from colbertv2.artifacts.artifact import Artifact
from colbertv2.checkpoints.checkpoint import read_tensors
from colbertv2.evaluation.ranking import stored_ranking
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.index import Index
from colbertv2.training.examples import read_examples
from colbertv2.training.scored import SCORED_FILE

Difference = tuple[str, float, float]  # what was compared, the largest difference, and what is allowed


def weights(first: Artifact, again: Artifact) -> Iterator[Difference]:
    """The largest difference of a trained weight, as a share of the farthest that any weight moved in the training."""
    start = next((one for one in first.parents.values() if one.has("model.safetensors")), None)
    one, other = read_tensors(first.path), read_tensors(again.path)
    moved = 1.0
    if start is not None:
        begun = read_tensors(start.path)
        shared = [name for name in one if name in begun and one[name].shape == begun[name].shape]
        moved = largest(one[name] - begun[name] for name in shared) or 1.0
    yield "weights, as a share of the farthest move", largest(one[name] - other[name] for name in one) / moved, 0.2


def vectors(first: Artifact, again: Artifact) -> Iterator[Difference]:
    """Values of vectors of length 1, as 16-bit floats."""
    shards = zip(*(Embeddings.open(one.path).shards() for one in (first, again)), strict=True)
    pairs = [(one.vectors.astype(np.float32), other.vectors.astype(np.float32)) for one, other in shards]
    yield "values of vectors", largest(one - other for one, other in pairs), 2e-3


def centroids(first: Artifact, again: Artifact) -> Iterator[Difference]:
    """k-means ends in another local optimum on another device, so its quality is compared."""
    embeddings = Embeddings.open(first.parents["embeddings"].path)
    sample = embeddings.sample(min(200, len(embeddings.lengths)), seed=0).vectors.astype(np.float32)
    one, other = (
        (sample @ np.load(artifact.file("centroids.npy")).astype(np.float32).T).max(axis=1).mean()
        for artifact in (first, again)
    )
    yield "mean cosine with the nearest centroid", abs(float(one - other)), 5e-3


def codes(first: Artifact, again: Artifact) -> Iterator[Difference]:
    """The share of vectors with another code, or another residual."""
    one, other = Index.open(first.path), Index.open(again.path)
    assert one.stored_codes is not None and other.stored_codes is not None
    differ = one.stored_codes[:] != other.stored_codes[:]
    yield "share of other codes", float(differ.mean()), 1e-3
    residuals = (np.asarray(one.residuals) != np.asarray(other.residuals)).any(axis=1)
    yield "share of other residuals with the same code", float((residuals & ~differ).mean()), 1e-2


def ranking(first: Artifact, again: Artifact) -> Iterator[Difference]:
    """Scores of the same documents, and the share of the best ten that only one of the two has."""
    one, other = (stored_ranking(artifact) for artifact in (first, again))
    scores, missing = [0.0], []
    for query_id, found in one.items():
        theirs = dict(other[query_id])
        scores += [abs(score - theirs[document]) for document, score in found if document in theirs]
        missing.append(np.mean([document not in dict(other[query_id][:10]) for document, _ in found[:10]]))
    yield "scores", float(max(scores)), 5e-3
    yield "share of other documents in the top 10", float(np.mean(missing)), 2e-3


def teacher_scores(first: Artifact, again: Artifact) -> Iterator[Difference]:
    """Scores of the cross-encoder, in their own unit."""

    one, other = (list(read_examples(artifact.file(SCORED_FILE))) for artifact in (first, again))
    assert [example.query_id for example in one] == [example.query_id for example in other]
    pairs = zip(one, other, strict=True)
    yield (
        "scores",
        largest(np.subtract(np.array(left.scores, float), np.array(right.scores, float)) for left, right in pairs),
        1e-2,
    )


def largest(differences: Iterable[Any]) -> float:
    """The largest absolute value in any of the arrays."""
    return max((float(abs(one).max()) for one in differences), default=0.0)


COMPARISONS: dict[str, Callable[[Artifact, Artifact], Iterator[Difference]]] = {
    "train": weights,
    "teacher": weights,
    "encode": vectors,
    "centroids": centroids,
    "index": codes,
    "search": ranking,
    "score": teacher_scores,
}
