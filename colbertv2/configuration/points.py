"""The points of a sweep: the configurations that one command line describes, as Hydra itself parses it."""

import re
import shlex
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from colbertv2.artifacts.node import Node
from colbertv2.artifacts.validate import validate
from colbertv2.configuration.collections import with_listed
from colbertv2.configuration.composition import CONF, EXPERIMENTS, SETTINGS, setting_problems
from colbertv2.configuration.targets import target_node
from colbertv2.errors import InputError

SEEDS = ("seed", "kmeans_seed")  # axes whose effect is noise, in training or in k-means


@dataclass(frozen=True)
class Point:
    """One configuration of a sweep.

    Args:
        overrides: key → value as text, in the order of the command line: ``{"codec.nbits": "2", "depth": "10"}``.
        config: the composed configuration.
        flags: the words of the command line that say where configuration files are, such as ``--config-dir my/conf``.
    """

    overrides: Mapping[str, str]
    config: DictConfig
    flags: tuple[str, ...] = ()

    @cached_property
    def node(self) -> Node:
        """The node of its target.

        Raises:
            InputError: the pipeline has no such node.
        """
        return target_node(self.config)

    @cached_property
    def address(self) -> str:
        """The address of its target's artifact, after validating the configuration.

        Raises:
            InputError: the configuration is wrong; the message lists all problems.
        """
        validate(self.node, [*setting_problems(self.config), *idle_overrides(self)])
        return self.node.address

    @property
    def command(self) -> str:
        """The command that builds only this point."""
        words = [f"{key}={value}" if value else key for key, value in self.overrides.items()]
        alone = ["hydra.mode=RUN"] if any(word.startswith("+ablation=") for word in words) else []
        return shlex.join(["python", "-m", "colbertv2", *self.flags, *words, *alone])


def idle_overrides(point: Point) -> Iterator[str]:
    """Yield a sentence for each override that has no effect.

    An empty mapping is merged into the existing one. ``+ablatoin=bits`` names no group, so Hydra makes it a new key.
    """
    for word, value in point.overrides.items():
        key = word.lstrip("+")
        if word.startswith("+") and key.isidentifier() and is_idle(key, point.config):
            yield f"{word}={value} chooses no file of a group, and nothing reads the new key {key!r}; see run --help."
        if value.replace(" ", "") == "{}" and OmegaConf.select(point.config, key):
            yield f"{word}={{}} is merged into the existing mapping and changes nothing; remove its keys with ~{key}.…"


def is_idle(key: str, config: DictConfig) -> bool:
    """Whether a key at the top is a value or a list that is no setting and that no reference reads."""
    plain = OmegaConf.is_missing(config, key) or (key in config and not OmegaConf.is_dict(config._get_node(key)))
    read = re.search(rf"\$\{{{key}[}}.:,\[]", str(OmegaConf.to_container(config, resolve=False)))
    return plain and key not in SETTINGS and not read


def axes_of(points: Sequence[Point]) -> dict[str, list[str]]:
    """The overrides that differ between points, each with its values in the order of the sweep.

    >>> points = [Point({"a": "1", "b": "x"}, DictConfig({})), Point({"a": "2", "b": "x"}, DictConfig({}))]
    >>> axes_of(points)
    {'a': ['1', '2']}
    """
    keys = dict.fromkeys(key for point in points for key in point.overrides)
    values = {key: list(dict.fromkeys(point.overrides.get(key, "") for point in points)) for key in keys}
    return {key: found for key, found in values.items() if len(found) > 1}


def names_of(points: Sequence[Point]) -> list[str]:
    """A name for each point: its values of the overrides that differ between points, as on the command line.

    >>> names_of([Point({"a": "1", "b": "x"}, DictConfig({})), Point({"a": "2", "b": "x"}, DictConfig({}))])
    ['a=1', 'a=2']
    """
    axes = axes_of(points)
    return [", ".join(f"{key}={point.overrides.get(key, '')}" for key in axes) or "the point" for point in points]


def collect(arguments: Sequence[str], searched: bool = True) -> list[Point]:
    """Compose every configuration that ``python -m colbertv2 <arguments>`` would run, without running any.

    For a search with Optuna, these are the trials that its study contains so far; future trials are not known.

    Args:
        arguments: as on the command line: ``["-m", "codec.nbits=1,2", "collection=scifact"]``.
        searched: if false, a search with Optuna has no points.

    Raises:
        InputError: the sweep has no point, or Hydra can't compose it.
    """
    find_experiments()
    flags = get_args_parser().parse_args([*arguments])
    outer = GlobalHydra.instance().hydra  # of the calling job or notebook
    GlobalHydra.instance().clear()
    try:
        points = [Point(as_mapping(one), config, places_in(flags)) for one, config in composed(flags, searched)]
    except InputError:
        raise
    except Exception as error:  # only the arguments are read here, and Hydra raises many types of errors for them
        raise InputError(str(error)) from error
    finally:
        GlobalHydra.instance().hydra = outer
    if not points and searched:
        raise InputError("The sweep has no points: an axis has no values, such as a glob(…) that matches nothing.")
    return points


def composed(flags: Namespace, searched: bool) -> Iterator[tuple[list[str], DictConfig]]:
    """The overrides and the configuration of each job that Hydra would launch for these flags; see :func:`collect`."""
    search_path = create_config_search_path(flags.config_path or str(CONF))
    if flags.config_dir is not None:
        place = f"file://{Path(flags.config_dir).resolve()}"
        search_path.prepend("command-line", place, SearchPathQuery(provider="schema"))
    loader = Hydra.create_main_hydra2("colbertv2", search_path).config_loader
    name = flags.config_name or "config"
    master = loader.load_configuration(name, flags.overrides, RunMode.MULTIRUN, validate_sweep_overrides=False)
    if (master.hydra.mode or (RunMode.MULTIRUN if flags.multirun else RunMode.RUN)) == RunMode.RUN:
        yield flags.overrides, with_listed(without_hydra(loader.load_configuration(name, flags.overrides, RunMode.RUN)))
        return
    for overrides in jobs(loader, master, searched):
        yield overrides, with_listed(without_hydra(loader.load_sweep_config(master, overrides)))


def jobs(loader: ConfigLoader, master: DictConfig, searched: bool) -> list[list[str]]:
    """The overrides of each job of a sweep; see :func:`collect` for ``searched``.

    Raises:
        InputError: the sweeper is neither Hydra's own nor Optuna's.
    """
    sweeper, task = master.hydra.sweeper, overrides_of(master.hydra)
    kind = str(sweeper._target_).rpartition(".")[2]
    if kind == BasicSweeper.__name__:
        words = [*(f"{key}={value}" for key, value in (sweeper.params or {}).items()), *task]
        (all_jobs,) = BasicSweeper.split_arguments(OverridesParser.create(loader).parse_overrides(words), None)
        return all_jobs
    if kind == "OptunaSweeper":
        return [*studied(sweeper, task)] if searched else []
    raise InputError(f"The points of hydra/sweeper={kind} are not known; use Hydra's own sweeper (basic) or optuna.")


def studied(sweeper: DictConfig, task: Sequence[str]) -> Iterator[list[str]]:
    """The overrides of each trial in the Optuna study of a sweeper; none if the study does not exist yet.

    Raises:
        InputError: the sweeper stores no study.
    """
    import optuna  # in the extra `sweep`

    if sweeper.storage is None:
        raise InputError(
            "This search stores no study (hydra.sweeper.storage is null), so its points are not known; name a study "
            "before it runs: hydra.sweeper.storage=sqlite:///artifacts/study.db hydra.sweeper.study_name=mine"
        )
    try:
        study = optuna.load_study(study_name=sweeper.study_name, storage=sweeper.storage)
    except KeyError:
        return
    fixed = [word for word in task if word.partition("=")[0] not in (sweeper.params or {})]
    for trial in study.get_trials(deepcopy=False):
        yield [*(f"{key}={value}" for key, value in trial.params.items()), *fixed]


def overrides_of(hydra: Any) -> list[str]:
    """The overrides that a configuration was composed from, as they were written.

    Interpolations in them are not resolved here, but in the configuration of each point. Otherwise, all points of a
    sweep would get the value of the first, and an interpolation that refers to a mapping would not be text.

    Args:
        hydra: the ``hydra`` group of that configuration.

    >>> config = DictConfig({"a": 1, "hydra": {"overrides": {"task": ["a=2", "b=${a}"]}}})
    >>> overrides_of(config.hydra)
    ['a=2', 'b=${a}']
    """
    found: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return found


def as_mapping(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides as a mapping from key to value; the value is empty if an override has none.

    >>> as_mapping(["codec.nbits=2", "~teacher"])
    {'codec.nbits': '2', '~teacher': ''}
    """
    parts = [override.partition("=") for override in overrides]
    return {key: value for key, _, value in parts}


def without_hydra(config: DictConfig) -> DictConfig:
    """Remove the ``hydra`` group from ``config`` (in place): the configuration as a job sees it."""
    with open_dict(config):
        del config["hydra"]
    return config


class Experiments(SearchPathPlugin):
    """Lets Hydra find the groups of ``experiments/`` wherever it finds ``conf/``, also beside ``--config-dir``.

    ``hydra.searchpath`` is not used for this: a sweep over ``glob(*)`` does not look there, and silently runs no job.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append ``experiments/`` if the search path is of our own ``conf/``."""
        paths = [element.path for element in search_path.get_path()]
        if str(CONF) in paths and EXPERIMENTS.is_dir():
            search_path.append("experiments", f"file://{EXPERIMENTS}")


def find_experiments() -> None:
    """Register :class:`Experiments` with Hydra; only commands do so, since Hydra then looks for all its plugins."""
    if Experiments not in Plugins.instance().discover(SearchPathPlugin):
        Plugins.instance().register(Experiments)


def places_in(flags: Namespace) -> tuple[str, ...]:
    """The words of a command line that say where configuration files are: see :class:`Point`.

    >>> places_in(get_args_parser().parse_args(["--config-dir", "my/conf", "-m", "seed=1,2"]))
    ('--config-dir', 'my/conf')
    """
    given = {"--config-path": flags.config_path, "--config-name": flags.config_name, "--config-dir": flags.config_dir}
    return tuple(word for flag, place in given.items() if place is not None for word in (flag, place))
