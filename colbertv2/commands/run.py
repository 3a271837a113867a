"""``python -m colbertv2 [target=index] [codec.nbits=1] [+demo=stdlib] [+ablation=…] [-m …]``: build an artifact.

Prints what the configuration has otherwise than by default and where each value comes from (with ``hydra.verbose=true``
all of it), the plan, one line per stage, and where the artifact lies.
"""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from colbertv2 import tracking
from colbertv2.ablation.linter import address_of, check_axes
from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.build import PlanStep, build_node, failure_of, plan_node
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.process import byte_size
from colbertv2.configuration.composition import CONF, runtime_of, target_node
from colbertv2.configuration.points import Point, as_mapping, axes_of, collect, with_experiments
from colbertv2.configuration.provenance import describe, describe_changes, origins
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import COSTS, measures_of, summary
from colbertv2.planning.prediction import estimate_nodes
from colbertv2.planning.text import needs, shortages
from colbertv2.reporting.rendering import text_rows
from colbertv2.runtime import Runtime


def command(task: Callable[[DictConfig], Any]) -> None:
    """Run ``task`` on the configuration that the command line asks for, or on each of a sweep (``-m``).

    The groups of ``experiments/`` are found beside those of ``conf/``. The other jobs of a sweep run even if one fails.

    Raises:
        InputError: wrong input, or what Hydra refuses.
    """
    sys.argv[1:] = with_experiments(sys.argv[1:])
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # an error then reaches us as it is, and we say how it ends
    try:
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(task)()
    except CompactHydraException as error:
        raise InputError("\n".join(str(one) for one in (error, error.__cause__) if one is not None)) from error


def build_target(config: DictConfig) -> float | tuple[float, ...] | None:
    """Build ``config.target``; print its ``table.md`` and publish its files where the configuration asks for it.

    Returns:
        What ``config.objectives`` names, for a sweeper that searches.

    Raises:
        InputError: wrong input, found before or while building.
        BuildError: a stage failed.
    """
    node, runtime = target_node(config), runtime_of(config)  # one graph: outside data is hashed once
    wanted = config.get("objectives") or []
    check_objectives(node, wanted)
    settings = HydraConfig.get()
    name = ", ".join(settings.overrides.task)
    if settings.mode == RunMode.MULTIRUN:
        print(f"\n{name}")
    else:
        print(describe_job(config), end="\n\n")
        print_steps(plan_node(node, runtime.root))
    print_shortages(node, runtime)
    print()
    artifact = build_node(node, runtime)
    print(f"\n{config.target}: {artifact.path}")
    if settings.mode != RunMode.MULTIRUN and (found := results(node, artifact)):
        print(f"\n{text_rows([found])}")
    table = artifact.path / "table.md"
    if table.is_file():
        print(f"\n{table.read_text(encoding='utf-8').rstrip()}")
    if config.publish is not None:
        _publish(artifact, Path(config.publish).expanduser())
    tracking.log(config, name, node, artifact, runtime)
    return objectives(artifact, wanted) if wanted else None


def print_steps(steps: Sequence[PlanStep]) -> None:
    """Key, address and state of each step."""
    key_width, address_width = max(len(step.key) for step in steps), max(len(step.address) for step in steps)
    for step in steps:
        print(f"{step.key:{key_width}}  {step.address:{address_width}}  {'cached' if step.cached else 'missing'}")


def print_shortages(node: Node, runtime: Runtime) -> None:
    """One line before the work begins, if what is missing is expected to need more disk or memory than is free."""
    steps = [step for step in estimate_nodes([node], runtime) if step.state == "missing"]
    if found := shortages(steps, runtime):
        memory, disk = (byte_size(size) for size in needs(steps))
        print(
            f"Beware: about {disk} of disk under {runtime.root} and {memory} of memory are needed; {'; '.join(found)}.",
            file=sys.stderr,
        )


def check_objectives(node: Node, names: Sequence[str]) -> None:
    """Before any work: a search can only get back what its target will have.

    Raises:
        InputError: one of them it will not.
    """
    measures = measures_of(node)
    known = [*measures, *COSTS] if measures else []
    if missing := [name for name in names if name not in known]:
        raise InputError(f"objectives: {node.key} has no {', '.join(missing)}; known: {', '.join(known) or 'none'}.")


def objectives(artifact: Artifact, names: Sequence[str]) -> float | tuple[float, ...]:
    """Measures and costs of an evaluation; of one name a number, as Optuna wants it.

    Raises:
        InputError: one of them is not there, such as the bytes of what searched without an index.
    """
    known = summary(artifact)
    if missing := [name for name in names if name not in known]:
        raise InputError(f"objectives: {artifact.address} has no {', '.join(missing)}; known: {', '.join(known)}.")
    values = tuple(known[name] for name in names)
    return values[0] if len(values) == 1 else values


def _publish(artifact: Artifact, directory: Path) -> None:
    for name in artifact.record["sha256"]:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artifact.path / name, directory / name)
    print(f"published to {directory}")


def describe_job(config: DictConfig) -> str:
    """What Hydra's present job chooses and sets; all of its configuration with ``hydra.verbose=true``."""
    settings = HydraConfig.get()
    files = [source for source in settings.runtime.config_sources if source.schema == "file"]
    places = {source.provider: Path(source.path) for source in files}
    directories = [places.pop("main"), *places.values()]
    job: Any = list(settings.overrides.task), str(settings.job.config_name), directories
    if settings.verbose:
        return describe(config, origins(*job))
    return describe_changes(config, *job) or "All is as in conf/config.yaml."


def main(words: Sequence[str]) -> None:
    """Build what the command line asks for; a sweep ends with a table of its points.

    Raises:
        InputError: Hydra can't compose the sweep, or it is over what no stage reads.
    """
    points = sweep_of(words)
    built: list[Point] = []

    def build_point(config: DictConfig) -> float | tuple[float, ...] | None:
        built.append(Point(as_mapping(HydraConfig.get().overrides.task), config))
        return build_target(config)

    try:
        command(build_point)
    finally:  # the points that failed stand there with their errors
        if points or len(built) > 1:  # those of a search are known only once it asked for them
            print_points(points or built)


def sweep_of(arguments: Sequence[str]) -> list[Point]:
    """The points of a sweep, checked before the first of them runs and given a common group; none of a single run.

    Raises:
        InputError: Hydra can't compose the sweep, or it is over what no stage reads.
    """
    if any(word in ("-m", "--multirun") or word.startswith("+ablation=") for word in arguments) and (
        points := collect(arguments, searched=False)
    ):
        check_axes(points)
        tracking.name_group(points)
        return points if len(points) > 1 else []
    return []


def print_points(points: Sequence[Point]) -> None:
    """One row for each point that has measures: what varies, measures and costs, or why it failed."""
    axes = axes_of(points)
    rows: list[dict[str, str]] = []
    for point in points:
        row = {key: point.overrides.get(key, "") for key in axes}
        if not (address := address_of(point)):
            rows.append({**row, "problem": "its configuration is wrong"})
            continue
        root = runtime_of(point.config).root
        if Artifact.present(location(root, address)):
            rows.append({**row, **results(point.node, Artifact.open(location(root, address)))})
            continue
        failures = (failure_of(location(root, node.address)) for node in point.node.lineage())
        problem = next(filter(None, failures), "not built")
        rows.append({**row, "problem": problem.splitlines()[0][:100]})
    if any(len(row) > len(axes) for row in rows):
        print(f"\n{text_rows(rows)}")


def results(node: Node, artifact: Artifact) -> dict[str, str]:
    """Measures and costs of an evaluation as text; nothing of any other artifact."""
    if not measures_of(node):
        return {}
    return {name: f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}" for name, value in summary(artifact).items()}
