"""From overrides to a configuration, and from a configuration to its plan and its artifact.

``conf/`` holds the groups, ``experiments/`` the files that choose among them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.build import PlanStep, build_node, plan_node
from colbertv2.artifacts.node import Component, Node
from colbertv2.artifacts.reader import parse, parse_value
from colbertv2.artifacts.validate import component_problems, suggestion
from colbertv2.errors import InputError
from colbertv2.files import configuration_directory
from colbertv2.runtime import Runtime

CONF, EXPERIMENTS = configuration_directory("conf"), configuration_directory("experiments")


def compose(
    overrides: Sequence[str] = (), config_name: str = "config", directories: Sequence[Path] = (CONF, EXPERIMENTS)
) -> DictConfig:
    """The configuration that ``python -m colbertv2 <overrides>`` would run, for notebooks and tests.

    Args:
        overrides: as on the command line, ``["collection=scifact", "codec.nbits=1"]``.
        config_name: primary file, without ``.yaml``.
        directories: where that file lies, then further places to look for groups.
    """
    with initialized(directories) as search_path:
        return hydra.compose(config_name, [*search_path, *overrides])


def runtime_of(config: DictConfig) -> Runtime:
    """The ``runtime`` group as an object.

    Raises:
        InputError: an unknown field or a wrong value.
    """
    component = parse_value(config.runtime)
    if problems := list(component_problems({"runtime": component})):
        raise InputError("\n".join(problems))
    if not isinstance(component, Component) or not isinstance(component.instance, Runtime):
        raise InputError("runtime is no Runtime; its _target_ has to be colbertv2.runtime.Runtime.")
    return component.instance


def target_node(config: DictConfig) -> Node:
    """The node that ``target`` names: a dotted key of ``pipeline``.

    Raises:
        InputError: ``pipeline`` has no such node.
    """
    found = OmegaConf.select(config, f"pipeline.{config.target}")
    if not isinstance(found, DictConfig):
        hint = suggestion(str(config.target), [str(name) for name in config.pipeline])
        raise InputError(f"target: the pipeline has no node {config.target!r}{hint}")
    return parse(found)


def plan(config: DictConfig) -> list[PlanStep]:
    """What there is and what is missing of the target and its ancestors, parents first; builds nothing.

    Raises:
        InputError: the configuration is wrong; all problems at once.
    """
    return plan_node(target_node(config), runtime_of(config).root)


def build(config: DictConfig) -> Artifact:
    """The target's artifact, built with everything missing upstream.

    Raises:
        InputError: the configuration is wrong (all problems at once), or a stage refused its input.
        BuildError: a stage failed.
    """
    return build_node(target_node(config), runtime_of(config))


@contextmanager
def initialized(directories: Sequence[Path]) -> Iterator[list[str]]:
    """Hydra, ready to compose from ``directories``; yields the overrides that make it search all but the first."""
    main, *others = (str(Path(directory).resolve()) for directory in directories)
    quoted = ",".join("'file://" + other.replace("'", "\\'") + "'" for other in others if Path(other).is_dir())
    outer = GlobalHydra.instance().hydra  # that of the job or notebook around us; Hydra knows one at a time
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(main, version_base="1.3"):
            yield [f"hydra.searchpath=[{quoted}]"] if quoted else []
    finally:
        GlobalHydra.instance().hydra = outer
