"""``python -m colbertv2 [target=index] [codec.nbits=1] [+demo=stdlib] [+ablation=…] [-m …]``: build an artifact.

Prints the values that differ from the defaults and where each comes from (with ``hydra.verbose=true``, all values), the
plan, one line per stage, the path and size of the artifact, and its measures or costs.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from colbertv2 import tracking
from colbertv2.ablation.linter import check_axes
from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.build import BuildError, PlanStep, build_node, failure_of, plan_node, to_build
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.process import byte_size
from colbertv2.commands.checks import check_places, check_point, print_doubts, problems_of
from colbertv2.configuration.collections import with_listed
from colbertv2.configuration.composition import CONF, runtime_of
from colbertv2.configuration.points import Point, as_mapping, axes_of, collect, find_experiments, names_of, overrides_of
from colbertv2.configuration.provenance import describe, describe_changes, origins
from colbertv2.configuration.targets import members, target_node
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import measures_of, own_costs, remarks, summary
from colbertv2.evaluation.measures import NOTHING
from colbertv2.planning.prediction import StepCost, estimate_nodes
from colbertv2.planning.text import needs, shortages
from colbertv2.planning.time_left import TimeLeft
from colbertv2.reporting.rendering import text_rows
from colbertv2.runtime import Runtime

FULL_ERROR = "HYDRA_FULL_ERROR"
ONE_PROBLEM = "One problem in the configuration: - "  # left out in a table of problems


def command(task: Callable[[DictConfig], Any]) -> None:
    """Run ``task`` on the configuration that the command line describes, or on each one of a sweep (``-m``).

    The groups of ``experiments/`` are available in addition to those of ``conf/``. A job that fails does not stop the
    others.

    Raises:
        InputError: Hydra can't compose the configuration, or ``task`` refused it.
    """
    composed: list[bool] = []

    def job(config: DictConfig) -> Any:  # may run in another process: only its result or exception comes back
        composed.append(True)
        try:
            return task(with_listed(config))
        except InputError as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            print(error, file=sys.stderr)  # if raised, Hydra would print the command line before it
            raise SystemExit(2) from None

    find_experiments()
    try:
        with raising():
            hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if composed or isinstance(error, InputError):
            raise
        raise InputError(str(error)) from error  # Hydra raises many types of errors for words it can't read


@contextmanager
def raising() -> Iterator[None]:
    """Make Hydra pass on the errors of a job; by default it prints part of the traceback and ends the process."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        os.environ.pop(FULL_ERROR) if before is None else os.environ.update({FULL_ERROR: before})


def build_target(config: DictConfig) -> float | tuple[float, ...] | None:
    """Build ``config.target``, print its ``table.md``, and copy its files to ``config.publish`` if that is set.

    Returns:
        The values that ``config.objectives`` names, for a sweeper that searches; ``None`` if it names none.

    Raises:
        InputError: wrong input, found before or while building.
        BuildError: a stage failed.
    """
    settings = HydraConfig.get()
    name = ", ".join(overrides_of(settings))
    single = settings.mode != RunMode.MULTIRUN
    print(f"{describe_job(config)}\n" if single else f"\n{name}", flush=True)  # first, as checks take seconds
    point = Point(as_mapping(overrides_of(settings)), config)
    check_point(point)
    node, runtime = point.node, runtime_of(config)  # the graph is read once, so outside data is hashed once
    wanted = config.get("objectives") or []
    if single:
        print_steps(plan_node(node, runtime.root))
    costs = estimate_nodes([node], runtime)
    print_shortages(costs, runtime)
    print_doubts([node], runtime)
    print(flush=True)
    time_left = TimeLeft(costs)
    if members(node):
        artifact, failed = build_members(config, node, runtime, time_left)
    else:
        artifact, failed = build_node(node, runtime, remark=time_left.after), {}
    print(f"\n{config.target}: {artifact.path} ({byte_size(artifact.record['bytes'])})")
    if single and (found := results(node, artifact)):
        print(f"\n{text_rows([found])}")
        for sentence in remarks(artifact) if measures_of(node) else ():
            print(sentence)
    if artifact.has("table.md"):
        print(f"\n{artifact.file('table.md').read_text(encoding='utf-8').rstrip()}")
    if config.publish is not None:
        _publish(artifact, Path(config.publish).expanduser())
    tracking.log(config, name, node, artifact, runtime)
    if failed:
        raise InputError(listed(failed, f"{len(failed)} of {len(members(node))} collections failed"))
    return objectives(artifact, wanted) if wanted else None


def provide(nodes: Sequence[Node], runtime: Runtime) -> None:
    """On a cluster, submit everything that ``nodes`` need at once, so that it is built together, and wait for it.

    What fails is reported when it is built.

    Raises:
        InputError: there is no cluster here, or it refused a job.
    """
    runtime.provide(to_build(nodes, runtime.root))


def build_members(
    config: DictConfig, node: Node, runtime: Runtime, time_left: TimeLeft
) -> tuple[Artifact, dict[str, str]]:
    """Build a suite collection by collection, and bring together those that did not fail.

    Returns:
        The artifact of the suite, and why collections failed, by name.

    Raises:
        InputError: all collections failed, or there is no cluster here, or it refused a job.
    """
    provide([node], runtime)
    failed: dict[str, str] = {}
    done: dict[str, Artifact] = {}
    for name, rows in members(node).items():
        try:
            for evaluation in rows.values():
                build_node(evaluation, runtime, done, time_left.after)
        except (InputError, BuildError) as error:
            failed[name] = str(error)
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    if len(failed) == len(members(node)):
        raise InputError("\n".join(dict.fromkeys(failed.values())))
    return build_node(target_node(config, failed) if failed else node, runtime, done, time_left.after), failed


def print_steps(steps: Sequence[PlanStep]) -> None:
    """Print key, address and state (cached or missing) of each step."""
    key_width, address_width = max(len(step.key) for step in steps), max(len(step.address) for step in steps)
    for step in steps:
        print(f"{step.key:{key_width}}  {step.address:{address_width}}  {'cached' if step.cached else 'missing'}")


def print_shortages(costs: Sequence[StepCost], runtime: Runtime) -> None:
    """Print one line to standard error if the missing steps are expected to need more disk or memory than is free."""
    steps = [step for step in costs if step.state == "missing"]
    if found := shortages(steps, runtime):
        memory, disk = (byte_size(size) for size in needs(steps))
        print(
            f"Warning: this needs about {disk} of disk under {runtime.root} and {memory} of memory, but "
            f"{'; '.join(found)}.",
            file=sys.stderr,
        )


def objectives(artifact: Artifact, names: Sequence[str]) -> float | tuple[float, ...]:
    """The values of the named measures and costs of an evaluation; for a single name a number, as Optuna expects.

    Raises:
        InputError: the evaluation has no such value, such as the bytes of an index for a search without one.
    """
    known = {name: value for name, value in summary(artifact).items() if value is not None}
    if missing := [name for name in names if name not in known]:
        raise InputError(f"objectives: {artifact.address} has no {', '.join(missing)}; known: {', '.join(known)}.")
    values = tuple(known[name] for name in names)
    return values[0] if len(values) == 1 else values


def _publish(artifact: Artifact, directory: Path) -> None:
    for name in artifact.record["sha256"]:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artifact.file(name), directory / name)
    print(f"published to {directory}")


def describe_job(config: DictConfig) -> str:
    """What the current Hydra job chooses and sets; its complete configuration with ``hydra.verbose=true``."""
    settings = HydraConfig.get()
    files = [source for source in settings.runtime.config_sources if source.schema == "file"]
    places = {source.provider: Path(source.path) for source in files}
    directories = [places.pop("main"), *places.values()]
    job: Any = overrides_of(settings), str(settings.job.config_name), directories
    if settings.verbose:
        return describe(config, origins(*job))
    return describe_changes(config, *job) or "All values are those of conf/config.yaml."


def main(words: Sequence[str]) -> None:
    """Build the target of the configuration that the command line describes; a sweep ends with a table of its points.

    Raises:
        InputError: Hydra can't compose the sweep, it varies a value that no stage reads, or none of its points can be
            built.
    """
    points, wrong = sweep_of(words)
    skipped = [point.overrides for name, point in zip(names_of(points), points, strict=True) if name in wrong]
    built: list[Point] = []
    failed: dict[str, str] = {}

    def build_point(config: DictConfig) -> float | tuple[float, ...] | None:
        point = Point(as_mapping(overrides_of(HydraConfig.get())), config)
        built.append(point)
        return None if point.overrides in skipped else build_target(config)

    try:
        if points:
            possible = [point for point in points if point.overrides not in skipped]
            provide([point.node for point in possible], runtime_of(possible[0].config))
        command(build_point)
    finally:  # the table also lists the points that failed, with their errors
        if points or len(built) > 1:  # the points of a search are known only once they were run
            failed = print_points(points or built)
    if failed:
        raise SystemExit(2)


def sweep_of(arguments: Sequence[str]) -> tuple[list[Point], dict[str, str]]:
    """The points of a sweep, and the problems of those that can't be built, by name; nothing for a single run.

    The problems are printed to standard error; the other points can still be run. All points get a common wandb group.

    Raises:
        InputError: Hydra can't compose the sweep, it varies a value that no stage reads, several points would publish
            to the same directory, or none of them can be built.
    """
    if any(word in ("-m", "--multirun") or word.startswith("+ablation=") for word in arguments) and (
        points := collect(arguments, searched=False)
    ):
        problems = problems_of(points)
        if len(problems) == len(points):
            raise InputError(listed(problems, "None of the points can be built"))
        check_axes(points)
        check_places(points)
        if problems:
            count = f"{len(problems)} of {len(points)} points can't be built (the others will be)"
            print(listed(problems, count), file=sys.stderr, flush=True)
        tracking.name_group(points)
        if len(points) > 1:
            return points, problems
    return [], {}


def listed(problems: Mapping[str, str], count: str) -> str:
    """``count`` as a heading, then one line per problem, with the name of its point."""
    return "\n".join([f"{count}:", *(f"{name}: {problem}" for name, problem in problems.items())])


def print_points(points: Sequence[Point]) -> dict[str, str]:
    """Print one row per point: the values that vary, then measures and costs, or why it failed; then all full errors.

    Returns:
        The errors, by the name of the point.
    """
    axes, wrong = axes_of(points), problems_of(points)
    rows: list[dict[str, str]] = []
    said: dict[str, list[str]] = {}  # remark about measures → names of the points it applies to
    failed: dict[str, str] = {}
    for name, point in zip(names_of(points), points, strict=True):
        row = {key: point.overrides.get(key, "") for key in axes}
        if (problem := wrong.get(name)) is None:
            root = runtime_of(point.config).root
            if Artifact.present(path := location(root, point.address)):
                try:
                    built = Artifact.open(path)
                    row |= results(point.node, built)
                    for sentence in remarks(built) if measures_of(point.node) else ():
                        said.setdefault(sentence, []).append(name)
                    rows.append(row)
                    continue
                except InputError as error:  # a damaged artifact must not lose the rows of the others
                    problem = str(error)
            else:
                failures = (failure_of(location(root, node.address)) for node in point.node.lineage())
                problem = next(filter(None, failures), "not built")
        failed[name] = problem
        rows.append({**row, "problem": " ".join(problem.split()).removeprefix(ONE_PROBLEM)[:100]})
    if any(len(row) > len(axes) for row in rows):
        print(f"\n{text_rows(rows)}")
    for sentence, where in said.items():
        print(f"{sentence} ({'; '.join(where)})")
    if failed:
        print(listed(failed, f"\n{len(failed)} of {len(points)} points failed"), file=sys.stderr)
    return failed


def results(node: Node, artifact: Artifact) -> dict[str, str]:
    """Measures and costs of an evaluation as text, by name; the sizes of an index, the time of a search."""
    if measures_of(node):
        return {name: as_text(value) for name, value in summary(artifact).items()}
    return {name: as_text(value) for name, value in own_costs(artifact).items()}


def as_text(value: float | None) -> str:
    """A measure or a cost as text; a dash if it is not known."""
    return NOTHING if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
