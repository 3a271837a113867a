"""LoRA: what is trained, what is saved, exact resumption, and refusals before any work."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import shrunk, tiny_bert, tiny_folder
from trainings import EXAMPLES, Interrupted, ranker, recipe, trained, weights

from colbertv2.configuration.composition import build, compose, plan, target_node
from colbertv2.errors import InputError
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.cross_encoder import CrossEncoder
from colbertv2.training import lora as module
from colbertv2.training.lora import LoRA
from colbertv2.training.recipe import Recipe

RANK = 3
TEXTS = ["the list", "open a file"]


def adapted(steps: int = 4, lora: LoRA | None = None, **keys) -> Recipe:
    return recipe(steps, 2, learning_rate=1e-2, lora=lora or LoRA(RANK, 6.0, 0.2, None), **keys)


@pytest.fixture(autouse=True)
def installed():
    pytest.importorskip("peft", reason="needs the extra lora")


def test_updates_change_nothing_at_first_and_are_merged_exactly():
    model = ranker()
    plain, vectors = {name: one.clone() for name, one in model.state_dict().items()}, model.encode_queries(TEXTS)
    LoRA(RANK, 6.0, 0.2, ["query", "value"]).add(model.transformer, seed=1)
    updates = {name: one for name, one in model.named_parameters() if "lora_" in name}
    assert {name for name, one in model.named_parameters() if one.requires_grad} == {
        *updates,
        "projection.0.linear.weight",
    }
    assert len(updates) == 2 * 2 * 2 and all(".query." in name or ".value." in name for name in updates)
    for found, expected in zip(model.encode_queries(TEXTS), vectors, strict=True):
        np.testing.assert_array_equal(found, expected)
    expected = dict(plain)
    for name, one in updates.items():
        torch.nn.init.normal_(one, generator=torch.Generator().manual_seed(len(name)))
    for name in updates:
        if "lora_A" in name:
            stem, other = name.partition(".lora_A")[0], name.replace("lora_A", "lora_B")
            expected[f"{stem}.weight"] = plain[f"{stem}.weight"] + 6.0 / RANK * updates[other] @ updates[name]
    before = model.encode_queries(TEXTS)
    LoRA.merge(model.transformer)
    assert model.state_dict().keys() == plain.keys() and all(one.requires_grad for one in model.parameters())
    for name, one in model.state_dict().items():
        torch.testing.assert_close(one, expected[name], msg=name)
    np.testing.assert_allclose(model.encode_queries(TEXTS)[0], before[0], atol=1e-5)


def test_a_training_changes_matrices_by_low_ranks_and_saves_an_ordinary_checkpoint(tmp_path):
    plain = dict(ranker().named_parameters())
    cheap = {"gradient_checkpointing": True, "gradient_cache_chunk": 2, "gradient_accumulation_steps": 2}
    undropped = LoRA(RANK, 6.0, 0.0, None)  # dropout draws anew for every pass, and chunks are passes of their own
    model = trained(tmp_path / "run", adapted(lora=undropped, **cheap), [])
    for name, one in model.named_parameters():
        change = (one - plain[name]).detach()
        if "encoder.layer" in name and one.ndim == 2:
            values = torch.linalg.svdvals(change.double())
            assert values[RANK - 1] > 1e-4 and values[RANK] < 1e-5, name
        else:
            assert change.abs().max() > 0 if name.startswith("projection") else not change.any(), name
    loaded = ColBERT.load(tmp_path / "run")
    assert torch.equal(weights(loaded), weights(model)) and not [*(tmp_path / "run").glob("adapter*")]
    whole = trained(tmp_path / "whole", adapted(lora=undropped, gradient_accumulation_steps=2), [])
    torch.testing.assert_close(weights(whole), weights(model), atol=1e-4, rtol=0)


@pytest.mark.parametrize("optimizer", ["adamw", "schedule_free"])
def test_a_resumed_training_ends_with_the_same_weights(tmp_path, monkeypatch, optimizer):
    chosen = adapted(6)
    chosen = replace(chosen, optimization=replace(chosen.optimization, optimizer=optimizer))
    whole = trained(tmp_path / "whole", chosen, [])
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr("trainings.LOOKUP", Interrupted(3))
        trained(tmp_path / "cut", chosen, [])
    resumed = trained(tmp_path / "cut", chosen, [])
    assert [*(tmp_path / "cut").glob("log-from-step-*")]
    assert torch.equal(weights(whole), weights(resumed)) and not torch.equal(weights(whole), weights(ranker()))


def test_without_a_better_dev_metric_the_first_weights_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("colbertv2.training.fit.reciprocal_rank", lambda own, *_: torch.zeros(len(own)))
    model = trained(tmp_path / "run", adapted(2), EXAMPLES)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["dev_best"] == 0
    assert torch.equal(weights(model), weights(ranker()))


def test_the_classifier_of_a_cross_encoder_is_trained():
    teacher = CrossEncoder.pretrained(tiny_bert(), 20, "classifier", 1.0)
    adapted().lora.add(teacher.transformer, 0)  # pyright: ignore[reportOptionalMemberAccess]
    trainable = {name for name, one in teacher.named_parameters() if one.requires_grad and "lora_" not in name}
    assert trainable == {"transformer.classifier.weight", "transformer.classifier.bias"}


def test_what_does_not_fit_is_refused_before_any_work(tmp_path, monkeypatch):
    small = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "target=round2.checkpoint"]
    for role in ("round1", "teacher", "round2"):
        chosen = [*small, f"lora@training.{role}.lora=default", f"training.{role}.lora.target_modules"]
        assert plan(compose([*chosen[:-1], f"{chosen[-1]}=[query,dense]"]))
        with pytest.raises(InputError, match=r"names 'q_proj', but .* are called dense, key, query, value"):
            plan(compose([*chosen[:-1], f"{chosen[-1]}=[query,q_proj]"]))
    with pytest.raises(InputError, match="target_modules is empty"):
        LoRA(4, 8.0, 0.0, [])
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pipeline.round1: lora needs the package peft; run: pip install .*\[lora\]"):
        build(compose([*small, "lora@training.round1.lora=default", "target=round1", "pipeline=round1"]))


def test_no_lora_leaves_addresses_as_they_were(tmp_path):
    small = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "target=round1"]

    def address(*overrides: str) -> str:
        return target_node(compose([*small, *overrides])).address

    assert "lora" not in target_node(compose(small)).identity["arguments"]["recipe"]
    assert address() == address("++training.round1.lora=null") != address("lora@training.round1.lora=default")
