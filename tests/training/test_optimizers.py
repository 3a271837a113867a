"""The optimisers of a training: which weights each one moves and how, what is validated and saved, exact resumption."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from support import shrunk, tiny_folder
from torch.optim.optimizer import register_optimizer_step_post_hook
from trainings import EXAMPLES, Interrupted, ranker, recipe, trained, weights

from colbertv2.artifacts.node import Component
from colbertv2.configuration.composition import build, compose
from colbertv2.errors import InputError
from colbertv2.training import fit as fitting
from colbertv2.training import optimization
from colbertv2.training.optimization import Optimization
from colbertv2.training.optimizers import MuonAndAdamW, matrices, optimizer_for
from colbertv2.training.recipe import Recipe

VALUES = {"learning_rate": 3e-3, "warmup_steps": 2, "steps": 6, "weight_decay": 0.01, "dropout": 0.2}
BETA = 0.9


def optimized(name: str, **keys) -> Recipe:
    return recipe(6, 2, optimization=Optimization(**VALUES, optimizer=name), **keys)  # pyright: ignore


def parameters(model) -> np.ndarray:
    return torch.cat([one.detach().flatten() for one in model.parameters()]).double().numpy()


@pytest.fixture
def path():
    """The weights in use and the fast sequence z after every step of schedule-free AdamW."""
    found: list[tuple[np.ndarray, np.ndarray]] = []

    def record(optimizer, *_):
        every = [one for group in optimizer.param_groups for one in group["params"]]
        fast = [optimizer.state[one].get("z", one) for one in every]
        found.append(
            tuple(torch.cat([one.detach().flatten() for one in part]).double().numpy() for part in (every, fast))
        )

    handle = register_optimizer_step_post_hook(record)
    yield found
    handle.remove()


def averages(path: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """x after every step: an average of z with the squares of the largest learning rates so far as weights."""
    rates = [min(1, (step + 1) / VALUES["warmup_steps"]) ** 2 for step in range(len(path))]
    found, average = [], parameters(ranker())
    for step, (_, fast) in enumerate(path):
        share = rates[step] / sum(rates[: step + 1])
        average = (1 - share) * average + share * fast
        found.append(average)
    return found


def test_schedule_free_saves_the_average_and_trains_between(tmp_path, path):
    model = trained(tmp_path / "run", optimized("schedule_free", gradient_accumulation_steps=2), [])
    expected = averages(path)
    assert len(path) == 6
    np.testing.assert_allclose(parameters(model), expected[-1], atol=2e-6)
    for (used, fast), average in zip(path, expected, strict=True):
        np.testing.assert_allclose(used, (1 - BETA) * fast + BETA * average, atol=2e-6)
    assert np.abs(path[-1][0] - expected[-1]).max() > 1e-4


def test_schedule_free_validates_the_average_and_validation_changes_nothing(tmp_path, path, monkeypatch):
    ranked = []
    before = fitting.RankingModule.validation_step

    def record(module, batch):
        ranked.append(parameters(module.ranker))
        return before(module, batch)

    trained(tmp_path / "without", optimized("schedule_free"), [])
    without = path.copy()
    path.clear()
    monkeypatch.setattr(fitting.RankingModule, "validation_step", record)
    model = trained(tmp_path / "with", optimized("schedule_free"))
    assert all(np.array_equal(one, other) for one, other in zip(np.array(path), np.array(without), strict=True))
    expected = averages(path)
    for place, step in enumerate((2, 4, 6), 1):  # two dev queries at step 0, and two at every validation
        np.testing.assert_allclose(ranked[2 * place], expected[step - 1], atol=2e-6)
    saved = parameters(model)
    assert min(np.abs(saved - one).max() for one in [parameters(ranker()), *expected[1::2]]) < 2e-6


@pytest.mark.parametrize(
    ("name", "dev", "after"), [("schedule_free", EXAMPLES, 7), ("schedule_free", [], 3), ("muon", [], 3)]
)
def test_a_resumed_training_ends_with_the_same_weights(tmp_path, path, monkeypatch, name, dev, after):
    whole = trained(tmp_path / "whole", optimized(name), dev)
    in_use = path[-1][0]
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr("trainings.LOOKUP", Interrupted(after))  # after step 2; dev queries are looked up too
        trained(tmp_path / "cut", optimized(name), dev)
    assert [*(tmp_path / "cut" / "checkpoints").glob("*.ckpt")]
    resumed = trained(tmp_path / "cut", optimized(name), dev)
    assert torch.equal(weights(whole), weights(resumed)) and np.array_equal(path[-1][0], in_use)
    assert not np.array_equal(in_use, parameters(ranker()))
    summaries = [json.loads((tmp_path / one / "summary.json").read_text()) for one in ("whole", "cut")]
    assert summaries[0] == summaries[1] and [*(tmp_path / "cut").glob("log-from-step-*")]


def test_optimisers_work_in_mixed_precision(tmp_path):
    found = [parameters(ranker())]
    for name in ("adamw", "schedule_free", "muon"):
        found.append(parameters(trained(tmp_path / name, optimized(name, precision="bf16-mixed"), [])))
    for place, one in enumerate(found):
        assert np.isfinite(one).all() and all(np.abs(one - other).max() > 1e-3 for other in found[:place])


def test_muon_takes_the_matrices_of_the_encoder_and_adamw_the_rest():
    model = ranker()
    names = {id(one): name for name, one in model.named_parameters()}
    chosen = Optimization(**VALUES, optimizer="muon")
    optimizer = optimizer_for(model.parameters(), [], model.transformer, chosen, fused=True)
    own, others = ({names[id(one)] for one in group["params"]} for group in optimizer.param_groups)
    assert own == {names[id(one)] for one in matrices(model.transformer)} and own | others == set(names.values())
    assert all("encoder.layer" in name and name.endswith("weight") and "LayerNorm" not in name for name in own)
    assert (
        len(own) == 2 * 6 and {"projection.0.linear.weight", "transformer.embeddings.word_embeddings.weight"} < others
    )


@pytest.mark.parametrize("name", ["adamw", "schedule_free", "muon"])
def test_every_optimiser_takes_other_parameters_with_their_own_rate(name):
    model, temperature = ranker(), torch.nn.Parameter(torch.zeros(()))
    others = [{"params": [temperature], "lr": 0.5, "weight_decay": 0.0}]
    chosen = Optimization(**VALUES, optimizer=name)
    optimizer = optimizer_for(model.parameters(), others, model.transformer, chosen, fused=False)
    before = model.projection.weight.detach().clone()
    for one in (*model.parameters(), temperature):
        one.grad = torch.ones_like(one)
    if name == "schedule_free":
        optimizer.train()  # pyright: ignore
    optimizer.step()
    moved = (model.projection.weight.detach() - before).abs().mean()
    assert temperature.item() < 0 and abs(temperature.item()) > 10 * moved > 0


def test_a_step_of_muon_is_nearly_orthogonal_and_as_large_as_its_rule():
    random = torch.Generator().manual_seed(0)
    matrix, vector = (torch.nn.Parameter(torch.randn(shape, generator=random)) for shape in ((24, 8), (5,)))
    before = matrix.detach().clone(), vector.detach().clone()
    optimizer = MuonAndAdamW([matrix], [{"params": [vector]}], lr=0.1, weight_decay=0.5, fused=False)
    matrix.grad, vector.grad = (torch.randn(one.shape, generator=random) for one in (matrix, vector))
    left, _, right = torch.linalg.svd(matrix.grad.double(), full_matrices=False)
    optimizer.step()
    update = (before[0] * (1 - 0.1 * 0.5) - matrix.detach()).double() / (0.1 * 0.2 * 24**0.5)
    values = torch.linalg.svdvals(update)
    assert 0.5 < values.min() <= values.max() < 1.5  # of the Newton–Schulz iteration, in 16 bits
    assert torch.diag(left.T @ update @ right.T).min() > 0.5
    # AdamW's first step has the size of the learning rate
    torch.testing.assert_close(before[1] * (1 - 0.05) - 0.1 * vector.grad.sign(), vector.detach(), atol=1e-5, rtol=0)


def test_a_schedule_moves_both_parts_of_muon_and_its_state_is_stored():
    def made() -> tuple[list[torch.nn.Parameter], MuonAndAdamW]:
        random = torch.Generator().manual_seed(0)
        both = [torch.nn.Parameter(torch.randn(shape, generator=random)) for shape in ((6, 4), (4,))]
        return both, MuonAndAdamW(both[:1], [{"params": both[1:]}], lr=0.1, weight_decay=0.0, fused=False)

    def steps(both, optimizer, schedule, number: int, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        for _ in range(number):
            for one in both:
                one.grad = torch.randn(one.shape, generator=random)
            optimizer.step()
            schedule.step()

    def halving(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)

    both, optimizer = made()
    schedule = halving(optimizer)
    steps(both, optimizer, schedule, 2, 1)
    assert [part.param_groups[0]["lr"] for part in (optimizer.muon, optimizer.adamw)] == [0.025, 0.025]
    other, again = made()
    resumed = halving(again)
    for one, stored in zip(other, both, strict=True):
        one.data.copy_(stored.data)
    again.load_state_dict(deepcopy(optimizer.state_dict()))
    resumed.load_state_dict(schedule.state_dict())
    steps(both, optimizer, schedule, 3, 2)
    steps(other, again, resumed, 3, 2)
    assert all(torch.equal(one, two) for one, two in zip(both, other, strict=True))
    assert [part.param_groups[0]["lr"] for part in (again.muon, again.adamw)] == [0.1 / 32] * 2


def test_wrong_combinations_are_refused():
    with pytest.raises(InputError, match="schedule is wsd, but optimizer=schedule_free has no decay"):
        Optimization(**VALUES, optimizer="schedule_free", schedule="wsd")
    with pytest.raises(InputError, match=r"moving_average_decay is 0\.9, but optimizer=schedule_free"):
        Optimization(**VALUES, optimizer="schedule_free", moving_average_decay=0.9)
    with pytest.raises(InputError, match="adamw, schedule_free, muon"):
        Optimization(**VALUES, optimizer="sgd")  # pyright: ignore
    Optimization(**VALUES, optimizer="muon", schedule="wsd", moving_average_decay=0.9)


def test_what_is_not_installed_is_said_before_any_work(tmp_path, monkeypatch):
    small = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "pipeline=round1", "target=round1"]
    monkeypatch.setattr("colbertv2.artifacts.build._build", lambda *_: pytest.fail("work began"))

    def said(name: str) -> None:
        build(compose([*small, f"training.round1.optimization.optimizer={name}"]))

    monkeypatch.setattr(optimization, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"needs the package schedulefree; run: pip install .*\[schedule_free\]"):
        said("schedule_free")
    monkeypatch.setattr(optimization, "version", lambda _: "2.8.1+cpu")
    with pytest.raises(InputError, match=r"optimizer=muon needs torch 2\.9 or newer, found 2\.8\.1\+cpu"):
        said("muon")


def test_adamw_leaves_addresses_as_they_were():
    target = "colbertv2.training.optimization.Optimization"
    identity = Component("optimization", target, VALUES).identity
    assert Component("optimization", target, VALUES | {"optimizer": "adamw"}).identity == identity
    assert Component("optimization", target, VALUES | {"optimizer": "muon"}).identity != identity
