"""What evaluations find, to wandb: one run each, grouped by sweep (trainings log themselves)."""

import os
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from colbertv2.ablation.linter import address_of
from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node, digest
from colbertv2.configuration.points import Point, axes_of
from colbertv2.evaluation.measurement import measures_of, remarks, summary
from colbertv2.runtime import Runtime
from colbertv2.wandb_runs import finish, guarded, start

GROUP = "WANDB_RUN_GROUP"  # which wandb itself reads, in every process that this one starts


def name_group(points: Sequence[Point]) -> None:
    """Put all runs of a sweep, its trainings among them, into one group, unless the user has named one."""
    addresses = {address for point in points if (address := address_of(point))}
    name = points[0].overrides.get("+ablation") or "-".join(key.rpartition(".")[2] for key in axes_of(points))
    os.environ.setdefault(GROUP, f"{name}-{digest({'points': sorted(addresses)})}")


def log(config: DictConfig, name: str, node: Node, artifact: Artifact, runtime: Runtime) -> None:
    """One run for an evaluation: its measures (null where not known) and costs; none for any other artifact."""
    if not measures_of(node):
        return
    settings = OmegaConf.to_container(config, resolve=False)
    assert isinstance(settings, dict)
    values = {str(key): value for key, value in settings.items()} | {"address": artifact.address}
    run = start(runtime, name=name or artifact.address, job_type=artifact.stage, config=values)
    if run is not None:
        guarded(run.summary.update, summary(artifact))
        if found := remarks(artifact):
            guarded(run.summary.update, {"remarks": found})
        finish(run)
