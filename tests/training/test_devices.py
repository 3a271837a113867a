"""Two processes learn the same weights as one."""

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from support import tiny_bert

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT
from colbertv2.runtime import Runtime
from colbertv2.training.data import TextLookup, TrainingBatches
from colbertv2.training.examples import Example
from colbertv2.training.fit import fit
from colbertv2.training.negatives import NegativeSampling
from colbertv2.training.objectives import CrossEntropy, InBatchNegatives
from colbertv2.training.optimization import Optimization
from colbertv2.training.recipe import Recipe

WORDS = ["list", "string", "join", "sort", "open", "file", "read", "write"]


class Texts:
    """Replaces a collection and queries: an id is its own text, of different lengths."""

    def texts(self, ids):
        return [" ".join([one.split(":")[-1]] * (1 + len(one) % 4)) for one in ids]


LOOKUP = TextLookup(Texts(), Texts())  # pyright: ignore
EXAMPLES = [
    Example(word, [f"d:{word} a", *[f"d:{other} b" for other in WORDS if other != word]], [1.0] + [0.0] * 7)
    for word in WORDS
]


def model() -> ColBERT:
    tokenization = Tokenization(12, 12, None, None, False, False, False)
    return initial.colbert(Backbone(str(tiny_bert()), None), tokenization, 16, "orthogonal", [], 0)


def recipe(groups: int = 1, batch_size: int = 4) -> Recipe:
    return Recipe(
        objectives={"in_batch": InBatchNegatives(1.0, 1.0), "ce": CrossEntropy(1.0, 1.0)},
        optimization=Optimization(1e-3, 1, 10, 0.01, 0.0),
        n_way=2,
        negatives=NegativeSampling("uniform", 1.0),
        batch_size=batch_size,
        gradient_accumulation_steps=1,
        in_batch_groups=groups,
        precision="32-true",
        gradient_clip=1.0,
        validation_interval=5,
        validation_queries=4,
        gradient_cache_chunk=None,
        gradient_checkpointing=False,
        compile=False,
    )


def trained(out: Path, devices: int, plan: Recipe) -> tuple[torch.Tensor, np.ndarray]:
    """The saved weights and the logged losses."""
    out.mkdir()
    runtime = Runtime(root=out / "root", device="cpu", devices=devices, wandb="disabled", progress=False)
    fit(model(), plan, EXAMPLES, EXAMPLES[:4], LOOKUP, LOOKUP, seed=0, out=out, runtime=runtime)
    losses = pandas.read_csv(out / "log" / "metrics.csv")["train/loss"].dropna().to_numpy()
    return torch.cat([tensor.flatten() for tensor in ColBERT.load(out).state_dict().values()]), losses


@pytest.mark.parametrize("groups", [1, 2])
def test_two_processes_learn_what_one_does(tmp_path, groups):
    one, losses = trained(tmp_path / "one", 1, recipe(groups))
    two, again = trained(tmp_path / "two", 2, recipe(groups))
    assert len(losses) and np.allclose(losses, again, atol=1e-5)
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
def test_processes_see_disjoint_examples_and_groups_are_blind_to_each_other(groups):
    batches = TrainingBatches(
        EXAMPLES,
        LOOKUP,
        model().collate,
        n_way=2,
        negatives=NegativeSampling("top", 1.0),
        batch_size=4,
        groups=groups,
        steps=2,
        seed=0,
    )
    whole, *parts = batches.batch(0, 0, 1), batches.batch(0, 0, 2), batches.batch(0, 1, 2)
    assert [*parts[0].query_ids, *parts[1].query_ids] == list(whole.query_ids)
    assert len(set(whole.query_ids)) == 4
    if groups == 1:
        assert torch.equal(torch.cat([part.excluded for part in parts]), whole.excluded)
    else:
        assert whole.excluded[:2, 4:].all() and whole.excluded[2:, :4].all()
        assert torch.equal(parts[0].excluded, whole.excluded[:2, :4])
        assert torch.equal(parts[1].excluded, whole.excluded[2:, 4:])


def test_a_batch_that_the_devices_do_not_divide_is_refused(tmp_path):
    with pytest.raises(InputError, match="batch_size is 3; expected a multiple of the 2 devices"):
        trained(tmp_path / "odd", 2, recipe(batch_size=3))
