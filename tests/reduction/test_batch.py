"""Reduced documents in a training are those that the stage ``reduce`` makes, and have the gradient of a mean."""

import numpy as np
import pytest
import torch
from support import WORDS
from torch.nn.functional import normalize
from trainings import ranker

from colbertv2.reduction.batch import group_means, reduced_batch
from colbertv2.reduction.pooling import HierarchicalPooling, KMeansPooling, SequentialPooling
from colbertv2.reduction.pruning import FirstPruning, IdfPruning, RandomPruning, StopWordPruning
from colbertv2.reduction.reduction import NoReduction, special_ids

BUDGET = {"factor": 2.5, "num_vectors": None, "protected": "special"}
RULES = {
    "none": NoReduction,
    "hierarchical": lambda: HierarchicalPooling(**BUDGET, normalise=True),
    "hierarchical, first": lambda: HierarchicalPooling(**BUDGET | {"protected": "first"}, normalise=False),
    "kmeans": lambda: KMeansPooling(**BUDGET, normalise=True, iterations=3, seed=0),
    "sequential": lambda: SequentialPooling(**BUDGET, normalise=False),
    "first": lambda: FirstPruning(**BUDGET | {"factor": None, "num_vectors": 3}),
    "random": lambda: RandomPruning(**BUDGET, seed=0),
    "idf": lambda: IdfPruning(**BUDGET),
    "stop words": lambda: StopWordPruning(["list", "open"]),
}
TEXTS = [" ".join(WORDS[start : start + length]) for start, length in enumerate((1, 4, 9, 0, 7))] + ["list open"]


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_is_reduced_as_the_stage_reduces_each_document(rule):
    model, reduction = ranker(), RULES[rule]()
    encoding = model.tokenizer.documents(TEXTS)
    ids = [row[scored].numpy() for row, scored in zip(encoding.input_ids, encoding.scored, strict=True)]
    reduction.learn(model.tokenizer, ids)
    model.eval()
    with torch.no_grad():
        found, mask = reduced_batch(reduction, model.document_vectors(encoding), encoding, model.tokenizer)
    special, fewer = special_ids(model.tokenizer), 0
    for place, encoded in enumerate(model.encode_documents(TEXTS)):
        stored = encoded.astype(np.float16).astype(np.float32)
        expected = reduction.reduce(stored, ids[place], reduction.protects(ids[place], special))
        np.testing.assert_allclose(found[place][mask[place]].numpy(), expected, atol=1e-3)
        fewer += len(stored) - len(expected)
    assert (fewer > 0) == (rule != "none")


@pytest.mark.parametrize("normalise", [True, False])
def test_means_and_their_gradients_are_those_of_a_loop(normalise):
    torch.manual_seed(0)
    vectors = torch.randn(4, 7, 5, dtype=torch.float64, requires_grad=True)
    groups = torch.tensor([[0, 1, 0, -1, 2, 1, 0], [-1] * 7, [0, 1, 2, 3, 4, 5, 6], [0, 0, 0, 0, -1, -1, -1]])
    found, mask = group_means(vectors, groups, normalise)
    assert mask.sum(-1).tolist() == [3, 0, 7, 1] and not found[~mask].any()
    weights = torch.randn_like(found)
    expected = torch.zeros((), dtype=torch.float64)
    for row in range(4):
        for group in range(int(groups[row].max()) + 1):
            members = [vectors[row, place] for place in range(7) if groups[row, place] == group]
            mean = torch.stack(members).sum(0) / len(members)
            mean = normalize(mean, dim=0) if normalise else mean
            torch.testing.assert_close(found[row, group], mean)
            expected = expected + (weights[row, group] * mean).sum()
    (gradient,) = torch.autograd.grad((weights * found).sum(), vectors, retain_graph=True)
    torch.testing.assert_close(gradient, *torch.autograd.grad(expected, vectors))
    assert not gradient[groups < 0].any() and gradient[groups >= 0].any(-1).all()
