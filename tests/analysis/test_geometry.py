"""The figures of a space of vectors against loops over pairs and a singular value decomposition."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import shrunk, tiny_folder, unit

from colbertv2.analysis.geometry import geometry_of
from colbertv2.configuration.composition import build, compose
from colbertv2.indexing.embeddings import Embeddings


@settings(max_examples=25)
@given(st.integers(2, 20), st.integers(1, 6), st.floats(0, 3), st.integers(0, 99), st.integers(1, 9))
def test_figures_are_those_of_their_definitions(number, dim, shift, seed, size):
    vectors = unit(np.random.default_rng(seed).normal(size=(number, dim)) + shift)
    found = geometry_of(vectors[start : start + size] for start in range(0, number, size))
    pairs = [float(vectors[i].astype(float) @ vectors[j]) for i in range(number) for j in range(number) if i != j]
    assert found.mean_cosine == pytest.approx(np.mean(pairs), abs=1e-6)
    assert found.mean_norm == pytest.approx(np.linalg.norm(vectors.mean(0)), abs=1e-6)
    variances = np.linalg.svd(vectors.astype(float) - vectors.mean(0, dtype=float), compute_uv=False) ** 2
    if variances.sum() > 1e-6:
        shares = variances[variances > 1e-14] / variances.sum()
        assert found.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-4)
        assert found.largest_share == pytest.approx(shares.max(), rel=1e-6)


def test_the_rank_of_even_vectors_is_their_dimension_and_of_a_line_one():
    random = np.random.default_rng(0)
    assert geometry_of([unit(random.normal(size=(5000, 16)))]).effective_rank == pytest.approx(16, rel=0.01)
    assert geometry_of([np.array([[1.0, 0], [-1, 0], [1, 0]], np.float32)]).effective_rank == pytest.approx(1)


def test_the_stage_measures_all_documents_and_prints_a_table(tmp_path):
    small = shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts")
    overrides = [*small, "pipeline=untrained", "analysis=geometry", "runtime.device=cpu", "target=geometry"]
    artifact = build(compose(overrides))
    embeddings = Embeddings.open(artifact.parents["embeddings"].path)
    figures = json.loads((artifact.path / "metrics.json").read_text())
    expected = geometry_of([embeddings.vectors(0, embeddings.num_vectors).astype(np.float32)])
    assert figures == pytest.approx(vars(expected))
    assert f"| effective rank | {figures['effective_rank']:.3f} |" in " ".join(
        (artifact.path / "table.md").read_text().split()
    )
