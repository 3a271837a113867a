"""Log evaluations to wandb: one run per evaluation, grouped by sweep. Trainings log their own runs."""

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

GROUP = "WANDB_RUN_GROUP"  # wandb itself reads this variable, in child processes too


def name_group(points: Sequence[Point]) -> None:
    """Put all wandb runs of a sweep, including its trainings, into one group, unless the user has named a group."""
    addresses = {address for point in points if (address := address_of(point))}
    name = points[0].overrides.get("+ablation") or "-".join(key.rpartition(".")[2] for key in axes_of(points))
    os.environ.setdefault(GROUP, f"{name}-{digest({'points': sorted(addresses)})}")


def log(config: DictConfig, name: str, node: Node, artifact: Artifact, runtime: Runtime) -> None:
    """Log one wandb run with the measures (null if unknown) and costs of an evaluation; skip any other artifact.

    Args:
        config: the composed configuration, which becomes the run's configuration.
        name: name of the run; if empty, the address.
        node: the node that was built.
        artifact: what was built for it.
        runtime: whether and where to log.
    """
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
