"""Compose a configuration from overrides, and plan or build its target.

``conf/`` holds the configuration groups, ``experiments/`` holds files that combine options of these groups.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.build import PlanStep, build_node, plan_node
from colbertv2.artifacts.node import Component
from colbertv2.artifacts.process import fast_precision
from colbertv2.artifacts.reader import parse_value
from colbertv2.artifacts.validate import component_problems, validate
from colbertv2.configuration.collections import with_listed
from colbertv2.configuration.targets import target_node, value_at
from colbertv2.errors import InputError
from colbertv2.files import configuration_directory
from colbertv2.runtime import Runtime
from colbertv2.schema import Factor, MaxLength, PositiveInt, Precision, Seed, Text, misfits

SETTINGS = {  # the keys of conf/config.yaml that are not groups; checked whether or not the target reads them
    "target": Text,
    "depth": PositiveInt,
    "document_maxlen": MaxLength | None,  # pyright: ignore[reportOperatorIssue]
    "precision": Precision,
    "measures": list[Text],
    "kmeans_iterations": PositiveInt,
    "reduction_factor": Factor | None,  # pyright: ignore[reportOperatorIssue]
    "reduction_num_vectors": PositiveInt | None,  # pyright: ignore[reportOperatorIssue]
    "publish": Text | None,  # pyright: ignore[reportOperatorIssue]
    "seed": Seed,
    "kmeans_seed": Seed,
    "notes": list[Text],
    "objectives": list[Text] | None,
    "suite.name": Text | None,  # pyright: ignore[reportOperatorIssue]
    "suite.measure": Text | None,  # pyright: ignore[reportOperatorIssue]
    "suite.baselines": bool,
    "suite.systems": dict[str, Text],
    "report.title": Text | None,  # pyright: ignore[reportOperatorIssue]
    "report.measure": Text | None,  # pyright: ignore[reportOperatorIssue]
    "report.baseline": dict[str, Any],
    "report.out": Text,
}
OmegaConf.register_new_resolver("fast_precision", fast_precision, replace=True)
CONF, EXPERIMENTS = configuration_directory("conf"), configuration_directory("experiments")


def compose(
    overrides: Sequence[str] = (), config_name: str = "config", directories: Sequence[Path] = (CONF, EXPERIMENTS)
) -> DictConfig:
    """Compose the configuration that ``python -m colbertv2 <overrides>`` would run, for notebooks and tests.

    Args:
        overrides: as on the command line, ``["collection=scifact", "codec.nbits=1"]``.
        config_name: name of the primary file, without ``.yaml``.
        directories: the directory of that file, then further directories to search for groups.
    """
    with initialized(directories) as search_path:
        return with_listed(hydra.compose(config_name, [*search_path, *overrides]))


def runtime_of(config: DictConfig) -> Runtime:
    """The ``runtime`` group as an object.

    Raises:
        InputError: it has an unknown field or a wrong value.
    """
    component = parse_value(value_at(config, "runtime"))
    if problems := list(component_problems({"runtime": component})):
        raise InputError("\n".join(problems))
    if not isinstance(component, Component) or not isinstance(component.instance, Runtime):
        raise InputError("runtime is not a Runtime; its _target_ must be colbertv2.runtime.Runtime.")
    return component.instance


def setting_problems(config: DictConfig) -> Iterator[str]:
    """Yield a sentence for each wrong value among ``SETTINGS``, even if no stage reads it, such as ``publish``."""
    for key, hint in SETTINGS.items():
        above, _, name = key.rpartition(".")
        try:
            parent = value_at(config, above) if above else config
        except InputError as error:
            yield str(error)
            continue
        if isinstance(parent, DictConfig) and name in list(parent):  # includes broken references
            try:
                value = parent[name]
                value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            except OmegaConfBaseException as error:
                yield f"{key}: {str(error).splitlines()[0]}"
            else:
                yield from misfits({key: hint}, {key: value})


def plan(config: DictConfig) -> list[PlanStep]:
    """One step for the target and for each of its ancestors, parents first, with whether it is built; builds nothing.

    Raises:
        InputError: the configuration is wrong; the message lists all problems.
    """
    node = target_node(config)
    validate(node, setting_problems(config))
    return plan_node(node, runtime_of(config).root)


def build(config: DictConfig) -> Artifact:
    """Build the target's artifact, after everything that is missing upstream; reuse what is complete.

    Raises:
        InputError: the configuration is wrong (the message lists all problems), or a stage refused its input.
        BuildError: a stage failed.
    """
    node = target_node(config)
    validate(node, setting_problems(config))
    return build_node(node, runtime_of(config))


@contextmanager
def initialized(directories: Sequence[Path]) -> Iterator[list[str]]:
    """A context in which Hydra can compose from ``directories``.

    Yields:
        The overrides that make Hydra search all directories but the first, which it searches anyway.
    """
    main, *others = (str(Path(directory).resolve()) for directory in directories)
    quoted = ",".join("'file://" + other.replace("'", "\\'") + "'" for other in others if Path(other).is_dir())
    outer = GlobalHydra.instance().hydra  # of the calling job or notebook; Hydra allows only one at a time
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(main, version_base="1.3"):
            yield [f"hydra.searchpath=[{quoted}]"] if quoted else []
    finally:
        GlobalHydra.instance().hydra = outer
