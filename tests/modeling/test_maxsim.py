"""Padded, all-pairs and naive MaxSim agree; empty documents score 0."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colbertv2.modeling.maxsim import maxsim, maxsim_all_pairs

lengths = st.lists(st.integers(0, 5), min_size=1, max_size=4)


def naive(query: np.ndarray, document: np.ndarray) -> float:
    if not len(document):
        return 0.0
    return float(sum(max(float(q @ d) for d in document) for q in query))


def padded(rows: list[np.ndarray], dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(1, *map(len, rows))
    vectors, mask = torch.full((len(rows), longest, dim), 7.0), torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        vectors[i, : len(row)] = torch.from_numpy(row)
        mask[i, : len(row)] = True
    return vectors, mask


@settings(max_examples=60)
@given(queries=lengths, documents=lengths, dim=st.integers(1, 6), seed=st.integers(0, 99))
def test_all_forms_equal_the_naive_loop(queries, documents, dim, seed):
    generator = np.random.default_rng(seed)
    query_rows = [generator.standard_normal((n, dim)).astype(np.float32) for n in queries]
    document_rows = [generator.standard_normal((n, dim)).astype(np.float32) for n in documents]
    expected = np.array([[naive(q, d) for d in document_rows] for q in query_rows])
    q, q_mask = padded(query_rows, dim)
    d, d_mask = padded(document_rows, dim)
    np.testing.assert_allclose(maxsim_all_pairs(q, d, q_mask, d_mask), expected, atol=1e-4)
    own = maxsim(q, d.expand(len(q), *d.shape), q_mask, d_mask.expand(len(q), *d_mask.shape))
    np.testing.assert_allclose(own, expected, atol=1e-4)


def test_gradient_stays_finite_with_an_empty_document():
    q = torch.randn(1, 3, 4, requires_grad=True)
    d_mask = torch.tensor([[[True, False], [False, False]]])
    maxsim(q, torch.randn(1, 2, 2, 4), torch.ones(1, 3, dtype=torch.bool), d_mask).sum().backward()
    assert q.grad is not None and torch.isfinite(q.grad).all()


@settings(max_examples=40)
@given(
    batch=st.integers(1, 3),
    n=st.integers(1, 3),
    shared=st.booleans(),
    lengths=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    seed=st.integers(0, 99),
)
def test_gradient_is_that_of_the_dense_formula(batch, n, shared, lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(batch, lengths[0], 3, generator=generator, dtype=torch.float64, requires_grad=True)
    shape = (1 if shared else batch, n, lengths[1])
    documents = torch.randn(*shape, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(shape, generator=generator) > 0.2
    mask[..., 0] = True
    query_mask = torch.rand(batch, lengths[0], generator=generator) > 0.2
    weights = torch.randn(batch, n, generator=generator, dtype=torch.float64)
    scores = maxsim(queries, documents, query_mask, mask)
    gradients = torch.autograd.grad((weights * scores).sum(), [queries, documents])
    similarities = (queries.unsqueeze(1) @ documents.transpose(-1, -2)).masked_fill(~mask.unsqueeze(-2), -torch.inf)
    dense = (similarities.amax(-1) * query_mask.unsqueeze(1)).sum(-1)
    expected = torch.autograd.grad((weights * dense).sum(), [queries, documents])
    torch.testing.assert_close(scores, dense)
    torch.testing.assert_close(gradients, expected)
