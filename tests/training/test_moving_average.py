"""The moving average of weights: its values, what is validated and saved, and exact resumption."""

import json

import numpy as np
import pytest
import torch
from support import tiny_folder
from torch.optim.optimizer import register_optimizer_step_post_hook
from trainings import EXAMPLES, Interrupted, ranker, recipe, trained, weights

from colbertv2.artifacts.node import Component
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.training import fit as fitting
from colbertv2.training.optimization import Optimization
from colbertv2.training.recipe import Recipe
from colbertv2.training.search_validation import SearchValidation

DECAY = 0.6


def averaging(decay: float | None = DECAY, steps: int = 6, interval: int = 2, **keys) -> Recipe:
    optimization = Optimization(3e-3, 1, steps, 0.0, 0.2, moving_average_decay=decay)
    return recipe(steps, interval, optimization=optimization, **keys)


@pytest.fixture
def path():
    """The parameters after every optimizer step, filled while a training runs: a list of ``[parameters]``."""
    found: list[np.ndarray] = []

    def record(optimizer, *_):
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        found.append(torch.cat([one.detach().flatten() for one in parameters]).double().numpy())

    handle = register_optimizer_step_post_hook(record)
    yield found
    handle.remove()


def parameters(model) -> np.ndarray:
    return torch.cat([one.detach().flatten() for one in model.parameters()]).double().numpy()


def averages(path: list[np.ndarray], decay: float) -> list[np.ndarray]:
    """The moving averages after every step, which start from the weights after the first one."""
    found = [path[0]]
    for one in path[1:]:
        found.append(decay * found[-1] + (1 - decay) * one)
    return found


def test_the_average_of_all_steps_is_saved(tmp_path, path):
    model = trained(tmp_path / "run", averaging(gradient_accumulation_steps=2), [])
    assert len(path) == 6, "one update per optimizer step, not per batch"
    np.testing.assert_allclose(parameters(model), averages(path, DECAY)[-1], atol=1e-6)
    assert np.abs(parameters(model) - path[-1]).max() > 1e-3
    buffers = {name: one for name, one in ranker().named_buffers()}
    assert all(torch.equal(one, buffers[name]) for name, one in model.named_buffers()), "they are integers"


def test_the_training_itself_goes_on_with_the_weights(tmp_path, path):
    trained(tmp_path / "plain", averaging(None))
    plain = path.copy()
    path.clear()
    trained(tmp_path / "averaged", averaging())
    assert all(np.array_equal(one, other) for one, other in zip(plain, path, strict=True))


@pytest.fixture
def collections(tmp_path) -> dict:
    folder = tiny_folder(tmp_path / "folder")
    return {"own": {"documents": Collection(f"folder:{folder}"), "eval": Queries(f"folder:{folder}/dev")}}


def test_the_average_is_what_is_searched_with_and_what_decides(tmp_path, path, monkeypatch, collections):
    searched, means = [], iter([0.1, 0.3, 0.9, 0.2])

    def search(model, wanted, *_):
        searched.append(parameters(model))
        return {wanted.metric: next(means)}

    monkeypatch.setattr(fitting, "search_values", search)
    wanted = SearchValidation(collections, None, "nDCG@10", 100, 100, selects=True)
    model = trained(tmp_path / "run", averaging(search_validation=wanted))
    expected = averages(path, DECAY)
    np.testing.assert_array_equal(searched[0], parameters(ranker()))
    for found, step in zip(searched[1:], (2, 4, 6), strict=True):
        np.testing.assert_allclose(found, expected[step - 1], atol=1e-6)
    np.testing.assert_allclose(parameters(model), expected[3], atol=1e-6)


def test_the_average_is_what_ranks_the_candidates(tmp_path, path, monkeypatch):
    ranked = []
    before = fitting.RankingModule.validation_step

    def record(module, batch):
        ranked.append(parameters(module.ranker))
        return before(module, batch)

    monkeypatch.setattr(fitting.RankingModule, "validation_step", record)
    trained(tmp_path / "run", averaging())
    expected = averages(path, DECAY)
    after = ranked[2:]  # two dev queries at step 0, and two at every validation
    for place, step in enumerate((2, 4, 6)):
        np.testing.assert_allclose(after[2 * place], expected[step - 1], atol=1e-6)


@pytest.mark.parametrize(("dev", "after"), [(EXAMPLES, 7), ([], 3)], ids=["dev", "no dev"])
def test_a_resumed_training_ends_with_the_same_average(tmp_path, monkeypatch, dev, after):
    whole = trained(tmp_path / "whole", averaging(), dev)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr("trainings.LOOKUP", Interrupted(after))  # after step 2; dev queries are looked up too
        trained(tmp_path / "cut", averaging(), dev)
    assert [*(tmp_path / "cut" / "checkpoints").glob("*.ckpt")]
    resumed = trained(tmp_path / "cut", averaging(), dev)
    assert torch.equal(weights(whole), weights(resumed))
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "cut")]
    assert summaries[0] == summaries[1] and [*(tmp_path / "cut").glob("log-from-step-*")]


def test_no_decay_leaves_addresses_as_they_were_and_bad_values_are_refused():
    target = "colbertv2.training.optimization.Optimization"
    old = {"learning_rate": 1e-3, "weight_decay": 0.0, "dropout": None, "steps": 9, "warmup_steps": 1}
    identity = Component("optimization", target, old).identity
    assert Component("optimization", target, old | {"moving_average_decay": None}).identity == identity
    assert Component("optimization", target, old | {"moving_average_decay": 0.9}).identity != identity
    for wrong in (0.0, 1.0):
        with pytest.raises(InputError, match="'moving_average_decay' is"):
            Optimization(**old, moving_average_decay=wrong)
