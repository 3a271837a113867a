"""Log evaluations and reports to wandb: one run for each, grouped by sweep. Trainings log their own runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from colbertv2.ablation.linter import address_of
from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node, digest
from colbertv2.configuration.points import Point, axes_of
from colbertv2.evaluation.measurement import measures_of, remarks, summary
from colbertv2.runtime import Runtime
from colbertv2.wandb_runs import finish, guarded, mode_of, start, table

if TYPE_CHECKING:
    from colbertv2.reporting.rendering import ReportTable

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
        node: the node that was built; its resolved arguments, and those of all nodes upstream, are logged too.
        artifact: what was built for it.
        runtime: whether and where to log.
    """
    if not measures_of(node):
        return
    # In the resolved configuration each reference would be replaced by a copy; of nodes, that grows exponentially.
    settings = OmegaConf.to_container(config, resolve=False)
    assert isinstance(settings, dict)
    values = {str(key): value for key, value in settings.items()} | {"address": artifact.address}
    values["resolved"] = node.settings
    run = start(runtime, name=name or artifact.address, job_type=artifact.stage, config=values)
    if run is not None:
        guarded(run.summary.update, summary(artifact))
        if found := remarks(artifact):
            guarded(run.summary.update, {"remarks": found})
        finish(run)


def log_report(
    page: Path, title: str, points: Sequence[Point], tables: Mapping[str, ReportTable], runtime: Runtime
) -> None:
    """Log one wandb run with the page of a sweep's report, its tables, and the addresses of the points.

    Args:
        page: the HTML page, which contains its figures.
        title: title of the report, which names the run.
        points: the points of the sweep.
        tables: the tables, by file name.
        runtime: whether and where to log.
    """
    if mode_of(runtime) == "disabled":
        return
    name_group(points)
    addresses = {point.command: address_of(point) for point in points}
    run = start(runtime, name=title, job_type="report", config={"points": addresses})
    if run is None:
        return

    def send() -> None:
        import wandb

        run.log({"report": wandb.Html(page.read_text(encoding="utf-8"), inject=False)})
        for name, one in tables.items():
            run.log({name: table(map(str, one.numbers.columns), one.numbers.to_numpy().tolist())})

    guarded(send)
    finish(run)
