"""Every number in a configuration has a range, in the signature of the stage or component that takes it."""

import importlib
import pkgutil
import re
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import pytest
from hydra.utils import get_object
from support import index_of, shrunk, tiny_folder, unit

from colbertv2 import stages
from colbertv2.artifacts.stage import stage_of
from colbertv2.commands.checks import check_point
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.residual import ResidualCodec
from colbertv2.configuration.composition import CONF, SETTINGS, compose, runtime_of
from colbertv2.configuration.points import Point
from colbertv2.errors import InputError
from colbertv2.evaluation.measures import parse
from colbertv2.schema import LARGEST, fits, hints_of, written
from colbertv2.search.cascade import Cascade
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.plaid import Plaid
from colbertv2.search.vanilla_colbertv2 import VanillaColBERTv2
from colbertv2.search.xtr import XTR

for module in pkgutil.iter_modules(stages.__path__):
    importlib.import_module(f"colbertv2.stages.{module.name}")

ANY_VALUE = {  # numbers without a range in their annotation, and what checks them
    "agreement.depths": "agreement.problems, since each may stand once",
    "agreement.persistence": "agreement.problems",
    "Queries.dev_fraction": "its range depends on `part`",
}
ZERO = {  # where 0 is an ordinary value, and what it means
    "gpus_per_node": "computes on CPUs",
    "seed": "a seed like any other",
    "kmeans_seed": "a seed like any other",
    "warmup_steps": "no warm-up",
    "minimum_mask_tokens": "any number of masks",
    "weight_decay": "none",
    "dropout": "none",
    "weight": "the objective is left out",
    "weights": "what is weighted is not computed",
    "retriever_weight": "the teacher's score alone",
    "margin": "suspect is what scores above the positive",
    "inverted_bytes": "no inverted list",
    "hyperplanes": "one partition",
    "centroid_score_threshold": "a cosine",
    "k1": "term frequency does not count",
    "b": "length does not count",
}
NEGATIVE = {"margin": "only what scores well above the positive is suspect", "centroid_score_threshold": "a cosine"}


def signatures() -> dict[str, dict[str, Any]]:
    """The annotations of each stage and component of conf/, and of the settings that are not groups."""
    found: dict[str, dict[str, Any]] = {"config": SETTINGS}
    for name in sorted(vars(stages)):
        if (declared := stage_of(getattr(getattr(stages, name), "run", None))) is not None:
            found[name] = hints_of(declared.function)
    for file in CONF.rglob("*.yaml"):
        for target in re.findall(r"_target_: (\S+)", file.read_text()):
            if isinstance(kind := get_object(target), type):
                found[kind.__name__] = hints_of(kind)
    return found


NUMBERS = {
    f"{owner}.{name}": hint
    for owner, hints in signatures().items()
    for name, hint in hints.items()
    if name != "return" and any(word in written(hint) for word in ("number", "one of 8", "one of 1,"))
}


def has_range(hint: Any) -> bool:
    """Whether every number in an annotation has bounds on both sides, or is one of several choices."""
    if get_origin(hint) in (Annotated, Literal):
        return get_origin(hint) is Literal or (not fits(10.0**300, hint) and not fits(-(10.0**300), hint))
    return hint not in (int, float) and all(has_range(part) for part in get_args(hint))


def test_the_walk_finds_stages_and_components():
    assert {"index_size.dim", "search.depth", "Recipe.n_way", "Plaid.nprobe", "Runtime.threads", "config.seed"} <= {
        *NUMBERS
    }
    assert len(NUMBERS) > 60


@pytest.mark.parametrize("place", NUMBERS)
def test_every_number_has_a_range(place):
    assert has_range(NUMBERS[place]) != (place in ANY_VALUE)


@pytest.mark.parametrize("place", [place for place in NUMBERS if place not in ANY_VALUE])
def test_hostile_values_do_not_fit(place):
    hint, name = NUMBERS[place], place.rpartition(".")[2]
    for part in (hint, *get_args(hint)):  # the elements of a list, the values of a mapping
        hint = get_args(part)[-1] if get_origin(part) in (list, dict) else hint
    for value in (float("nan"), float("inf"), -float("inf"), 1e300, 10**400, -(10**400), "3", "", True, [1], {}):
        assert not fits(value, hint), value
    assert fits(0, hint) == (name in ZERO)
    assert fits(-1, hint) == (name in NEGATIVE)


@pytest.mark.parametrize("measure", ["nDCG@0", "R@0", "P(rel=0)@5", "RR(rel=0)@10", f"nDCG@{10**22}", "RR@-1", "RR@x"])
def test_a_measure_that_cannot_be_computed_is_refused(measure):
    with pytest.raises(InputError, match="Unknown, unsupported or repeated"):
        parse([measure])


@pytest.mark.parametrize(
    "engine",
    [
        *(Exhaustive(), Cascade(), Plaid(nprobe=LARGEST), VanillaColBERTv2(nprobe=LARGEST), Cascade(nprobe=LARGEST)),
        *(XTR(nprobe=LARGEST, num_tokens=LARGEST, imputation_tokens=LARGEST), XTR(nprobe=LARGEST)),
    ],
    ids=repr,
)
def test_the_largest_depth_and_probes_mean_all(tmp_path, engine):
    """They take no memory by themselves: if there are fewer items, all are taken."""
    index = index_of(tmp_path, ResidualCodec(2), [8] * 30, 16, 0, Clustering(num_centroids=8, kmeans_iterations=2))
    query = unit(np.random.default_rng(0).normal(size=(6, 16)))
    ((positions, scores, _),) = engine.search(index, [query], LARGEST)
    assert sorted(positions.tolist()) == list(range(30)) and np.isfinite(scores).all()


@pytest.fixture
def small(tmp_path) -> list[str]:
    return shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("++report=${nowhere}", "report: Interpolation key 'nowhere' not found"),
        ("++collection.dev_split=${pipeline}", "collection.dev: "),
        ("++target=${pipeline}", "^target is DictConfig; expected the name of a node, such as metrics.$"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named(small, override, words):
    config = compose([*small, "pipeline=round1", override])
    with pytest.raises(InputError, match=words):
        check_point(Point({}, config))


@pytest.mark.parametrize("value", [0, -0.5, None, "cpu", [1], {}])
def test_what_is_no_runtime_is_refused(small, value):
    config = compose(small)
    config.runtime = value
    with pytest.raises(InputError, match="runtime is not a Runtime"):
        runtime_of(config)
