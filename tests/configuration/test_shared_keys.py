"""A key at the top that several stages share reaches all of them, except those of a list with reasons."""

from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import pytest
from omegaconf import OmegaConf

from colbertv2.configuration.composition import EXPERIMENTS, compose

SHARED = ("depth", "document_maxlen", "precision", "measures", "kmeans_iterations", "seed", "kmeans_seed")
CHOICES: list[tuple[str, ...]] = [
    ("analysis=[decomposition,centroids,sliced]",),
    ("codec=product", "clustering=grouped"),
    ("pipeline=three_rounds",),
    ("pipeline=untrained",),
    ("pipeline=pooled", "collection=peerqa"),
    ("pipeline=external_examples", "pipeline.examples.file.path=/none"),
    ("+debug=overfit",),
    *((f"+{file.parent.name}={file.stem}",) for file in sorted(EXPERIMENTS.glob("[bdq]*/*.yaml"))),
]
EXCEPTIONS = {  # what is named like a shared key and need not follow it, and why
    "collection.document_maxlen": "belongs to the collection's texts; the shared one wins where it is set",
    "mining.depth": "how many candidates are mined is a matter of training, not of the ranking that is evaluated",
    "mining.clustering.kmeans_iterations": "a budget mines with a fast index, and says so in its file",
    "model.tokenization.document_maxlen": "the length in training, to which document_maxlen: null refers",
    "pipeline.*.embeddings.document_maxlen": "a round mines with documents as long as in training",
    "training.*.precision": "that of training changes what is learnt; the shared one is of encoding and scoring",
}


def literals(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Place and value of everything below the top that is named like a shared key and is no reference (``${…}``)."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        place = f"{prefix}.{name}" if prefix else str(name)
        if prefix and name in SHARED and "${" not in str(inner):
            yield place, inner
        else:
            yield from literals(inner, place)


@pytest.mark.parametrize("overrides", CHOICES, ids=" ".join)
def test_nothing_is_named_like_a_shared_key_and_silently_keeps_its_own_value(overrides):
    config = OmegaConf.to_container(compose(overrides), resolve=False)
    own = {place: value for place, value in literals(config) if not any(fnmatch(place, one) for one in EXCEPTIONS)}
    assert own == {}


def test_the_exceptions_exist():
    """So that the list does not keep what has become of no use."""
    configs = [OmegaConf.to_container(compose(overrides), resolve=False) for overrides in CHOICES]
    places = {place for config in configs for place, _ in literals(config)}
    assert [one for one in EXCEPTIONS if not any(fnmatch(place, one) for place in places)] == []
