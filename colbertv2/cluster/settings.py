"""The settings of a run on Slurm, as its jobs know them too: the group ``runtime=slurm``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from colbertv2.division import Phase
from colbertv2.errors import InputError
from colbertv2.runtime import Runtime
from colbertv2.schema import NonNegativeInt, PositiveInt, Text, checked, hints_of, misfits

if TYPE_CHECKING:
    from colbertv2.artifacts.node import Node

Gigabytes = Annotated[float, Interval(ge=0.1, le=1e6)]
Hours = Annotated[float, Interval(ge=0.02, le=10_000)]


@checked
@dataclass(frozen=True)
class Resources:
    """What one job asks Slurm for.

    Args:
        partition: ``None`` takes the cluster's default.
        account: ``None`` takes the user's default.
        nodes: machines of a training. A stage that divides has ``nodes`` times ``gpus_per_node`` tasks at a time, with
            one GPU each. Other stages take one machine.
        gpus_per_node: GPUs of each machine; 0 computes on CPUs.
        gpu: the name of these GPUs, which ``plan`` needs; Slurm is told of a kind of GPU by ``extra``.
        cpus_per_task: CPU cores of each task, or of each GPU where a task has several.
        memory_gb: memory of each machine, in gigabytes.
        hours: time limit. A job that reaches it is requeued and goes on from what is finished.
        array_width: tasks of a stage that divides; ``None`` is one per GPU, or one per machine without GPUs.
        extra: further options of ``sbatch``, by name, such as ``{qos: high, constraint: a100}``.
        setup: lines of shell before each task, such as ``module load cuda``.

    >>> Resources(nodes=2, gpus_per_node=4).tasks
    8
    """

    partition: Text | None = None
    account: Text | None = None
    nodes: PositiveInt = 1
    gpus_per_node: NonNegativeInt = 0
    gpu: Text | None = None
    cpus_per_task: PositiveInt = 4
    memory_gb: Gigabytes = 16.0
    hours: Hours = 24.0
    array_width: PositiveInt | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    setup: Sequence[Text] = ()

    @property
    def tasks(self) -> int:
        """The number of tasks of a stage that divides."""
        return self.array_width or self.nodes * max(1, self.gpus_per_node)


@checked
@dataclass(frozen=True)
class SlurmSettings(Resources, Runtime):
    """The settings of a run whose stages are jobs of Slurm: those of its base classes, and of single stages.

    Args:
        stages: other values of :class:`Resources` for single stages, by the name of the stage.

    Raises:
        InputError: ``stages`` names a value that :class:`Resources` has not, or a wrong one.

    >>> from pathlib import Path
    >>> runtime = SlurmSettings(Path("artifacts"), gpus_per_node=8, stages={"evaluate": {"gpus_per_node": 0}})
    >>> runtime.resources("encode").tasks, runtime.resources("evaluate").tasks
    (8, 1)
    """

    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "root", self.root.absolute())  # jobs may start in another directory
        known = {one.name for one in fields(Resources)}
        for stage, values in self.stages.items():
            for name in values:
                if name not in known:
                    raise InputError(f"runtime.stages.{stage}: no value {name!r}; known: {', '.join(sorted(known))}.")
            for problem in misfits(hints_of(Resources), values):
                raise InputError(f"runtime.stages.{stage}: {problem}")

    def resources(self, stage: str) -> Resources:
        """What the jobs of a stage ask for."""
        own = Resources(**{one.name: getattr(self, one.name) for one in fields(Resources)})
        return replace(own, **self.stages.get(stage, {}))

    def inside(self, node: Node, phase: Phase) -> Runtime:
        """The runtime of a job: this one's settings without the cluster, for one phase of a node."""
        settings: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(Runtime) if one.init}
        if gpus := self.resources(node.stage.name).gpus_per_node:
            settings["devices"] = gpus if node.stage.spans_nodes else 1
        return Runtime(**{**settings, "progress": False}).in_phase(phase)
