"""The mean of the weights of several checkpoints, and what is refused before and during the work."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from architectures import tiny_encoder
from support import shrunk, tiny_bert, tiny_folder

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.configuration.composition import build, compose, target_node
from colbertv2.errors import InputError
from colbertv2.modeling import initial
from colbertv2.modeling.averaging import averaged
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT
from colbertv2.stages.average import check

TOKENIZATION = Tokenization(12, 12, None, None, False, False, False)


def saved(directory, seed=0, tokenization=TOKENIZATION, dim=16, backbone=None):
    model = initial.colbert(Backbone(str(backbone or tiny_bert()), None), tokenization, dim, "orthogonal", [], seed)
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.data += torch.randn(weight.shape, generator=generator) / 10
    model.save(directory)
    return directory


def values(model: ColBERT) -> dict[str, np.ndarray]:
    return {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}


def test_the_average_is_the_mean_of_every_weight_in_any_order(tmp_path):
    directories = [saved(tmp_path / str(seed), seed) for seed in range(3)]
    weights = [values(ColBERT.load(one)) for one in directories]
    found, turned = values(averaged(directories)), values(averaged(directories[::-1]))
    for name in weights[0]:
        np.testing.assert_allclose(found[name], np.mean([one[name] for one in weights], axis=0), atol=1e-7)
        np.testing.assert_array_equal(found[name], turned[name])
    averaged(directories).save(tmp_path / "out")
    assert all(np.array_equal(one, found[name]) for name, one in values(ColBERT.load(tmp_path / "out")).items())


def test_a_checkpoint_averaged_with_itself_is_itself(tmp_path):
    one = saved(tmp_path / "one")
    own = values(ColBERT.load(one))
    assert all(np.array_equal(weight, own[name]) for name, weight in values(averaged([one, one])).items())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"dim": 8}, r"the shape of projection\S* is \(8, 32\), not \(16, 32\)"),
        ({"tokenization": Tokenization(12, 20, None, None, False, False, False)}, "document_maxlen is 20, not 12"),
        ({"tokenization": Tokenization(12, 12, None, None, False, False, True)}, "skip_punctuation is True, not False"),
        ({"backbone": {"num_hidden_layers": 1}}, r"the shape of transformer\S+ is"),
    ],
    ids=["dim", "length", "punctuation", "layers"],
)
def test_checkpoints_without_a_mean_are_refused(tmp_path, other, message):
    if "backbone" in other:
        other = {"backbone": tiny_encoder(tmp_path / "encoder", "bert", **other["backbone"])}
    with pytest.raises(InputError, match=message):
        averaged([saved(tmp_path / "one"), saved(tmp_path / "other", **other)])


def test_the_pipeline_averages_round_1_and_round_2(tmp_path):
    overrides = ["pipeline=averaged", *shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts")]
    average = build(compose([*overrides, "denoising=none", "target=average"]))
    parents = [values(ColBERT.load(average.parents[role].path)) for role in ("checkpoint", "others.round1")]
    for name, found in values(ColBERT.load(average.path)).items():
        np.testing.assert_allclose(found, (parents[0][name] + parents[1][name]) / 2, atol=1e-7)
    searched = target_node(compose([*overrides, "denoising=none", "target=embeddings"]))
    assert searched.parents["checkpoint"].address == average.address


def start(**changes) -> SimpleNamespace:
    """Replaces the node of an untrained checkpoint."""
    bound = {"backbone": Backbone(str(tiny_bert()), None), "tokenization": TOKENIZATION, "dim": 16, **changes}
    return SimpleNamespace(bound=bound, parents={}, address=f"initialise-{changes}")


def test_what_cannot_be_averaged_is_refused_before_any_work(tmp_path):
    def problems(**changes) -> list[str]:
        return [*check(start(), {"other": start(**changes)})]  # pyright: ignore

    assert problems(seed=1) == []
    assert "has dim 8, but average.checkpoint has 16" in problems(dim=8)[0]
    longer = Tokenization(12, 20, None, None, False, False, False)
    assert "has tokenization Tokenization(query_maxlen=12, document_maxlen=20" in problems(tokenization=longer)[0]
    smaller = Backbone(str(tiny_encoder(tmp_path, "bert", num_hidden_layers=1)), None)
    assert any("has num_hidden_layers 1, but average.checkpoint has 2" in one for one in problems(backbone=smaller))
    assert "is the checkpoint initialise-{} itself" in problems()[0]
    assert "others is empty" in next(check(start(), {}))  # pyright: ignore
