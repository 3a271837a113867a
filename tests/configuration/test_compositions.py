"""The tests' memory of compositions (``tests/compositions.py``) composes what Hydra does."""

import pytest
from compositions import without_memory
from omegaconf import OmegaConf

from colbertv2.configuration.composition import compose

WORDS = [
    [],
    ["codec.nbits=1", "depth=7"],
    ["+demo=stdlib", "runtime.root=/somewhere", "training.round1.optimization.steps=3"],
    ["codec=rotated", "search=plaid", "seed=3"],
    ["+ablation=bits", "collection=scifact"],
    ["+transfer=both", "analysis=sliced", "pipeline.sliced.dim=8"],
    ["suite=embedded", "lora@training.round1.lora=default", "~suite.collections"],
    ["collection=folder", "collection.path=/somewhere", "+new={a: 1}"],
]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_remembered_compositions_are_those_of_hydra(words: list[str]):
    with without_memory():
        expected = OmegaConf.to_yaml(compose(words))
    for _ in range(2):  # the second is from memory, whatever other tests composed
        assert OmegaConf.to_yaml(compose(words)) == expected
