"""The stage ``sliced``: the first dimensions of a model, for queries and documents alike."""

import numpy as np
import pytest
import torch
from support import shrunk, tiny_folder, unit

from colbertv2.checkpoints.projection import Dense
from colbertv2.configuration.composition import build, compose, plan
from colbertv2.errors import InputError
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.index import Index
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.projection import ProjectionLayers


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("sliced")
    overrides = shrunk(tiny_folder(directory / "folder"), directory / "artifacts")
    return [*overrides, "runtime.device=cpu", "pipeline=untrained", "analysis=sliced", "codec=rotated"]


def test_queries_and_documents_have_the_first_dimensions_of_the_model(small):
    overrides = [*small, "pipeline.sliced.dim=8"]
    index = build(compose([*overrides, "target=sliced_index"]))
    whole = Embeddings.open(build(compose([*overrides, "target=embeddings"])).path)
    cut = Embeddings.open(index.parents["embeddings"].path)
    vectors = whole.vectors(0, whole.num_vectors).astype(np.float32)
    assert cut.dim == 8 and whole.dim == 16
    np.testing.assert_allclose(cut.vectors(0, cut.num_vectors), unit(vectors[:, :8]), atol=2e-3)  # 16-bit floats
    assert Index.open(index.path).dim == 8
    sliced = index.ancestor("checkpoint")
    after, before = ColBERT.load(sliced.path), ColBERT.load(sliced.parents["checkpoint"].path)
    queries = [model.encode_queries(["the python list"])[0] for model in (after, before)]
    np.testing.assert_allclose(queries[0], unit(queries[1][:, :8]), atol=1e-5)
    assert build(compose([*overrides, "target=sliced_metrics"])).stage == "evaluate"


def test_too_many_dimensions_and_part_bytes_are_refused_before_any_work(small):
    def planned(*overrides):
        return plan(compose([*small, "target=sliced_metrics", *overrides]))

    assert planned()  # all dimensions
    with pytest.raises(InputError, match=r"dim is 17; expected 1 to 16, the dimensions of pipeline\.initial"):
        planned("pipeline.sliced.dim=17")
    with pytest.raises(InputError, match="6 dimensions of 2 bits do not fill bytes"):
        planned("pipeline.sliced.dim=6")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("inputs", [None, 5, 7])  # of a residual connection
def test_a_sliced_layer_has_the_first_outputs_of_the_layer(bias, inputs):
    random = torch.Generator().manual_seed(0)
    outputs = 5
    weight = torch.randn(outputs, inputs or 7, generator=random)
    residual = torch.randn(weight.shape, generator=random) if inputs == 7 else None
    given = torch.randn(outputs, generator=random) if bias else None
    layer = Dense(weight, given, "Tanh", inputs is not None, residual)
    states = torch.randn(3, weight.shape[1], generator=random)
    expected = ProjectionLayers([layer])(states)
    for dim in (1, 3, 5):
        torch.testing.assert_close(ProjectionLayers([layer.sliced(dim)])(states), expected[:, :dim])


def test_all_dimensions_are_those_of_the_model_and_nothing_is_encoded_again(small):
    sliced, whole = (
        {step.address: step.stage for step in plan(compose([*small, f"target={target}"]))}
        for target in ("sliced_metrics", "metrics")
    )
    assert sliced == whole and "sliced" not in sliced.values()
