"""Part ``inputs``: a hostile value at a random key of a random configuration.

Bad values must be found before any work. A case is composed and checked in this process, as every command does. It is
accepted, or refused by an ``InputError`` with one line per problem. A share of the accepted cases runs the shrunk
pipeline to its end; an ``InputError`` of a stage still counts as refused.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from colbertv2.commands.checks import check_point
from colbertv2.configuration.composition import CONF, EXPERIMENTS
from colbertv2.configuration.points import Point, as_mapping, collect
from colbertv2.errors import InputError
from experiments.agree.environments import ROOT
from experiments.torture.campaign import Outcome

COUNT = 2000
BUILT_SHARE = 0.02  # share of the accepted cases that are built
TIME_LIMIT = 900  # seconds for a build

HOSTILE = {  # kind → what is written to the right of "="
    "a negative number": ["-1", "-0.5"],
    "zero": ["0"],
    "no number": ["nan", "inf", "-inf"],
    "a huge number": ["1e30", "2147483648", "9" * 40],
    "a fraction": ["0.5", "1e-30"],
    "text": ["abc", "true", "''", "naïve-文", "'a b'"],
    "long text": ["x" * 1000],
    "a list": ["[]", "[1]", "[a,b]", "[[]]"],
    "a mapping": ["{}", "{a:1}", "{_target_:nowhere.Nothing}"],
    "null": ["null"],
    "a file": [str(Path(__file__))],
    "an interpolation": ["'${nowhere}'", "'${pipeline}'", "'${seed}'", "'${.}'", "'${oc.env:NOWHERE}'"],
}
WRONG_CLASSES = [
    "colbertv2.search.exhaustive.Exhaustive",
    "colbertv2.compression.uncompressed.Float16Codec",
    "colbertv2.stages.encode.run",
    "colbertv2.nowhere.Nothing",
    "colbertv2",
    "''",
    "5",
    "null",
]
PIPELINES = ("colbertv2", "round1", "undistilled", "untrained", "untrained")
CHOICES = [
    (group, file.stem)
    for group in ("bm25", "clustering", "codec", "denoising", "search")
    for file in sorted((CONF / group).glob("*.yaml"))
]
LONGEST_LINE = 2000


def prepare(work: Path) -> list[str]:
    """The overrides with which any configuration runs in seconds."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # otherwise the hub would be asked for every hostile name of a model
    sys.path.append(str(ROOT / "tests"))
    from support import shrunk, tiny_folder

    folder = work / "folder"
    return [*shrunk(folder if folder.is_dir() else tiny_folder(folder), work / "artifacts"), "runtime.device=cpu"]


def run(small: list[str], random: Random, work: Path) -> Outcome:
    """Compose and check one configuration; build it if it belongs to the share that is built."""
    base = composed(*small, *choices(random))
    key = random.choice(sorted(keys(base.config)))
    kind, value = hostile(key, random)
    what = f"{kind} at a key of {key.partition('.')[0]}"
    words = [*(word for word in base.overrides if word.partition("=")[0] != key), f"++{key}={value}"]
    detail = " ".join(words[len(small) :])[:200]
    try:
        check_point(overridden(base, f"++{key}={value}"))
    except InputError as error:
        told = str(error).splitlines()
        verdict = "refused" if all(line.strip() and len(line) < LONGEST_LINE for line in told) else "silent"
        return Outcome(what, verdict, f"{detail}: {told[-1].strip()[:200]}")
    except BaseException as error:  # a user would see the traceback of anything else
        return Outcome(what, "traceback", f"{detail}: {type(error).__name__}: {error}"[:500])
    return built(words, what, detail) if random.random() < BUILT_SHARE else Outcome(what, "same", detail)


class Base(NamedTuple):
    """A composed configuration, and the words of the command line that it was composed from."""

    overrides: tuple[str, ...]
    config: DictConfig


@cache
def composed(*words: str) -> Base:
    """Compose the configuration of a command line; this takes a second, so cases share the result."""
    (point,) = collect(list(words))
    return Base(words, point.config)


def overridden(base: Base, word: str) -> Point:
    """Apply one more override, parsed and applied as Hydra does it.

    Raises:
        InputError: Hydra can't parse or apply the override.
    """
    config = deepcopy(base.config)
    try:
        parsed = OverridesParser.create().parse_overrides([word])
        ConfigLoaderImpl._apply_overrides_to_config(parsed, config)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # as in colbertv2.configuration.points
        raise InputError(" ".join(str(error).split())) from error
    return Point(as_mapping([*base.overrides, word]), config)


def choices(random: Random) -> list[str]:
    """Choose a pipeline with one choice of a group, or an ablation; there are about fifty in all."""
    if random.random() < 0.2:
        files = sorted(EXPERIMENTS.glob("ablation/*.yaml"))
        file = random.choice([one for one in files if "optuna" not in one.stem])
        return [f"+{file.parent.name}={file.stem}", "hydra.mode=RUN"]
    group, choice = random.choice(CHOICES)
    return [f"pipeline={random.choice(PIPELINES)}", f"{group}={choice}"]


def keys(config: DictConfig) -> Iterator[str]:
    """All dotted keys of a configuration, of values and of mappings, except the paths of artifacts and texts."""
    stack: list[tuple[str, Any]] = [(str(name), config._get_node(name)) for name in config]
    while stack:
        key, node = stack.pop()
        if key not in ("runtime.root", "collection.path", "collection.name"):
            yield key
        if isinstance(node, DictConfig) and not (node._is_interpolation() or node._is_none()):
            stack += [(f"{key}.{name}", node._get_node(name)) for name in node]


def hostile(key: str, random: Random) -> tuple[str, str]:
    """Draw a hostile value for a key: its kind, and the value."""
    if key.endswith("_target_"):
        return "a wrong class", random.choice(WRONG_CLASSES)
    kind = random.choice(sorted(HOSTILE))
    return kind, random.choice(HOSTILE[kind])


def built(words: list[str], what: str, detail: str) -> Outcome:
    """Run the configuration to its end, as a user would."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "colbertv2", "run", *words],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
        )
    except subprocess.TimeoutExpired:
        return Outcome(f"{what}, built", "hang", detail)
    said = f"{detail}: {' '.join(done.stderr.split())[-300:]}"
    if "Traceback" in done.stderr:
        return Outcome(f"{what}, built", "traceback", said)
    verdicts = {0: "same", 2: "refused"}
    return Outcome(f"{what}, built", verdicts.get(done.returncode, "crash"), said)
