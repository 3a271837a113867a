"""The shapes of a projection: what an untrained head computes, what it learns, and how it is stored."""

import itertools

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from support import shrunk, tiny_bert, tiny_folder, unit
from torch.nn import functional

from colbertv2.artifacts.node import Node
from colbertv2.checkpoints.layouts import read_checkpoint, write_checkpoint
from colbertv2.checkpoints.projection import Dense
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.configuration.composition import CONF, build, compose, plan, target_node
from colbertv2.errors import InputError
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.head import FeedForwardHead, Head, LinearHead
from colbertv2.modeling.projection import ProjectionLayers

HIDDEN, DIM = 12, 4
ACTIVATIONS = {
    "Identity": lambda x: x,
    "ReLU": functional.relu,
    "GELU": functional.gelu,
    "SiLU": lambda x: x * torch.sigmoid(x),
    "Sigmoid": torch.sigmoid,
}


def head(**keys) -> FeedForwardHead:
    usual = {"factor": 2.0, "depth": 2, "activation": "GELU", "gated": False, "residual": True, "bias": False}
    return FeedForwardHead(**{**usual, **keys})


def layers(shape: Head, start: torch.Tensor | None) -> tuple[Dense, ...]:
    return shape.layers(HIDDEN, DIM, start, torch.Generator().manual_seed(0))


def matrix() -> torch.Tensor:
    return torch.linalg.qr(torch.randn(HIDDEN, DIM, generator=torch.Generator().manual_seed(1))).Q.T


STATES = torch.randn(50, HIDDEN, generator=torch.Generator().manual_seed(2))
SHAPES = [
    head(factor=factor, depth=depth, activation=activation, gated=gated, residual=residual, bias=bias)
    for factor, depth, activation, gated, residual, bias in itertools.product(
        (0.75, 1.0, 2.0), (2, 3), ACTIVATIONS, (False, True), (False, True), (False, True)
    )
    if gated or activation != "Sigmoid"
]


def test_an_untrained_head_computes_the_matrix_that_it_starts_as():
    tried = 0
    for shape in SHAPES:
        if [*shape.problems(HIDDEN, DIM, starts=True)]:
            continue
        found = ProjectionLayers(layers(shape, matrix()))(STATES)
        torch.testing.assert_close(found, STATES @ matrix().T, atol=1e-5, rtol=1e-5, msg=str(shape))
        tried += 1
    assert tried > 70


def test_every_layer_of_a_head_learns_from_the_start():
    for shape in SHAPES:
        if [*shape.problems(HIDDEN, DIM, starts=True)]:
            continue
        module = ProjectionLayers(layers(shape, matrix()))
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-2)
        before = [one.detach().clone() for one in module.parameters()]
        for _ in range(3):
            optimizer.zero_grad()
            (module(STATES) - torch.tanh(STATES[:, :DIM])).square().sum().backward()
            optimizer.step()
        assert all(not torch.equal(one, old) for one, old in zip(module.parameters(), before, strict=True)), shape


@pytest.mark.parametrize("name", ["GELU", "Sigmoid"])
def test_a_random_head_is_the_formula(name):
    shape = head(activation=name, gated=name == "Sigmoid", bias=True, depth=3)
    first, second, last = layers(shape, None)
    values = STATES
    for layer in (first, second):
        inner = values @ layer.weight.T + layer.bias
        if layer.gate is None:
            inner = ACTIVATIONS[name](inner)
        else:
            inner = ACTIVATIONS[name](values @ layer.gate.T + layer.gate_bias) * inner
        values = inner + (values if layer.residual is None else values @ layer.residual.T)
    assert second.residual is None and [one.inputs for one in (first, second, last)] == [12, 24, 24]
    expected = values @ last.weight.T + last.bias
    torch.testing.assert_close(ProjectionLayers((first, second, last))(STATES), expected)
    bound = 24**-0.5  # of torch.nn.Linear
    assert 0.9 * bound < second.weight.abs().max() <= bound and abs(second.weight.mean()) < 0.03


def test_a_wrong_head_is_refused(tmp_path):
    with pytest.raises(InputError, match="Sigmoid, which is for gates only"):
        head(activation="Sigmoid")
    with pytest.raises(InputError, match="'depth' is 1"):
        head(depth=1)

    def refusals(starts: bool = True, **keys) -> str:
        return "\n".join(head(**keys).problems(HIDDEN, DIM, starts))

    assert "times the backbone's hidden size 12 it is 15.6, expected a whole number" in refusals(factor=1.3)
    assert "hidden layers have 3 units; expected at least 4 for 4 dimensions." in refusals(factor=0.25)
    pairs = {"factor": 0.5, "residual": False}
    assert "expected at least 8 for 4 dimensions; without residual connections, two" in refusals(**pairs)
    assert refusals(**pairs, activation="Identity") == refusals(starts=False, **pairs) == refusals(factor=0.5) == ""
    assert "can't start as the projection" in refusals(gated=True, residual=False)
    assert refusals(starts=False, gated=True, residual=False) == ""
    assert "would never learn" in refusals(activation="ReLU", factor=1.0)
    weight = torch.ones(4, 3)
    with pytest.raises(InputError, match=r"gate is \[3, 4\]; expected \[4, 3\]"):
        Dense(weight, gate=weight.T)
    with pytest.raises(InputError, match=r"bias of a projection's gate is \[4\]; expected \[4\] and a gate"):
        Dense(weight, gate_bias=torch.ones(4))


def test_a_sliced_gated_layer_has_the_first_outputs_of_the_layer():
    layer = layers(head(gated=True, bias=True), None)[0]
    expected = ProjectionLayers([layer])(STATES)
    for dim in (1, 5):
        torch.testing.assert_close(ProjectionLayers([layer.sliced(dim)])(STATES), expected[:, :dim])


TOKENIZATION = Tokenization(12, 40, None, None, False, False, True)


def model(shape: Head | None, projection: str = "orthogonal") -> ColBERT:
    return initial.colbert(Backbone(str(tiny_bert()), None), TOKENIZATION, 16, projection, [], 0, shape)


def test_an_untrained_model_with_a_head_encodes_as_with_the_linear_projection():
    texts = ["the python list", "open a file"]
    expected = model(None).encode_queries(texts)
    for choice in sorted(file.stem for file in (CONF / "head").glob("*.yaml")):
        shape = instantiate(compose([f"head={choice}"]).head)
        for found, own in zip(model(shape).encode_queries(texts), expected, strict=True):
            np.testing.assert_allclose(found, own, atol=1e-5)
        other = model(shape, "linear").encode_queries(texts)
        assert np.abs(other[0] - expected[0]).max() > 0.1


@pytest.mark.parametrize("gated", [False, True])
def test_a_head_is_saved_and_converted_or_refused(tmp_path, gated):
    saved = model(head(gated=gated, bias=True, depth=3), "linear")
    saved.save(tmp_path / "own")
    expected = saved.encode_queries(["the python list"])[0]
    np.testing.assert_array_equal(ColBERT.load(tmp_path / "own").encode_queries(["the python list"])[0], expected)
    checkpoint = read_checkpoint(tmp_path / "own")
    assert ("32 × 64 (GELU gate, bias, residual)" in checkpoint.describe()) == gated
    for layout in ("pylate", "sentence_transformers"):
        if gated:
            with pytest.raises(InputError, match=r"gated layer \(GLU\), .* can't express. Use the layout colbertv2"):
                write_checkpoint(checkpoint, tmp_path / layout, layout)
            assert not (tmp_path / layout).exists()
            continue
        write_checkpoint(checkpoint, tmp_path / layout, layout)
        again = ColBERT.load(tmp_path / layout).encode_queries(["the python list"])[0]
        np.testing.assert_allclose(again, expected, atol=1e-6)
    with pytest.raises(InputError, match="can't express"):
        write_checkpoint(checkpoint, tmp_path / "official", "official")


def test_a_checkpoint_with_a_projection_of_its_own_refuses_a_head(tmp_path):
    model(None).save(tmp_path / "trained")
    backbone = Backbone(str(tmp_path / "trained"), None)
    with pytest.raises(InputError, match="trained projection is kept; expected head=linear"):
        initial.colbert(backbone, TOKENIZATION, 16, "orthogonal", [], 0, head())
    assert initial.colbert(backbone, TOKENIZATION, 16, "orthogonal", [], 0, LinearHead()).dim == 16


@pytest.fixture
def small(tmp_path) -> list[str]:
    return [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "runtime.device=cpu"]


def test_the_linear_head_leaves_addresses_as_they_were(small):
    def node(*overrides):
        return target_node(compose([*small, "target=initial", *overrides]))

    before = node()
    assert "head" not in before.identity["arguments"] and before.arguments["head"]
    values = {key: value for key, value in before.values.items() if key != "head"}
    assert before.address == Node(before.key, before.stage, values).address
    addresses = {node(*one).address for one in ([], ["head=glu"], ["head=feed_forward"], ["head=glu", "head.depth=3"])}
    assert len(addresses) == 4


def test_a_head_is_trained_sliced_and_searched(small):
    overrides = [*small, "head=glu", "pipeline=round1", "analysis=sliced", "pipeline.sliced.dim=8"]
    trained = build(compose([*overrides, "target=round1"]))
    before = read_checkpoint(trained.parents["checkpoint"].path).projection
    after = read_checkpoint(trained.path).projection
    assert len(after) == 2 and after[0].gate is not None and not torch.equal(after[0].gate, before[0].gate)
    cut = build(compose([*overrides, "target=sliced"]))
    whole, sliced = (ColBERT.load(one.path).encode_queries(["the python list"])[0] for one in (trained, cut))
    np.testing.assert_allclose(sliced, unit(whole[:, :8]), atol=1e-5)
    with pytest.raises(InputError, match=r"head.factor is 0.3; times the backbone's hidden size 32 it is 9.6"):
        plan(compose([*small, "head=glu", "head.factor=0.3"]))
