"""Padded, all-pairs and naive MaxSim agree; empty documents score 0."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colbertv2.modeling import maxsim, maxsim_all_pairs

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


@settings(max_examples=60, deadline=None)
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
