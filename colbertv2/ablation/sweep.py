"""Collect the cells of a sweep from its points: each result is found by its address, without logs or a database."""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from omegaconf import OmegaConf

from colbertv2.ablation.cells import Cell, Cells
from colbertv2.ablation.linter import identical
from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.build import failure_of
from colbertv2.artifacts.validate import validate
from colbertv2.configuration.composition import runtime_of
from colbertv2.configuration.points import SEEDS, Point, axes_of, collect
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import COSTS, costs, measures_of, not_known, per_query, unknown_of

if TYPE_CHECKING:
    import pandas as pd

UNCOMMITTED = " with uncommitted changes"
LOGS = "log*/metrics.csv"  # the logs of a training; a resumed one has several


@dataclass(frozen=True)
class Sweep:
    """The points that a command line describes, and their artifacts as far as they are built.

    Args:
        arguments: the command line, without ``python -m colbertv2``.
        points: the points that it describes.

    >>> sweep = Sweep.collect(["collection=stdlib_small", "pipeline=untrained", "codec.nbits=1,2", "seed=1,2,3", "-m"])
    >>> sweep.factors, sweep.seeds
    ({'codec.nbits': ['1', '2']}, {'seed': ['1', '2', '3']})
    """

    arguments: Sequence[str]
    points: Sequence[Point]

    @classmethod
    def collect(cls, arguments: Sequence[str]) -> Sweep:
        """The sweep that ``python -m colbertv2 <arguments>`` runs (:func:`colbertv2.configuration.points.collect`)."""
        return cls(list(arguments), collect(arguments))

    @cached_property
    def axes(self) -> dict[str, list[str]]:
        """The overrides that differ between points, with their values in the order of the sweep."""
        return axes_of(self.points)

    @property
    def factors(self) -> dict[str, list[str]]:
        """The axes whose effect is of interest: all but the seeds."""
        return {key: values for key, values in self.axes.items() if key not in SEEDS}

    @property
    def seeds(self) -> dict[str, list[str]]:
        """The axes whose effect is noise."""
        return {key: values for key, values in self.axes.items() if key in SEEDS}

    @property
    def kmeans_follows(self) -> bool:
        """Whether the k-means seed moves with the training seed, as it does by default if only that is an axis."""
        moves = len({point.config.kmeans_seed for point in self.points}) > 1
        return moves and "seed" in self.seeds and "kmeans_seed" not in self.axes

    @cached_property
    def results(self) -> list[Artifact | None]:
        """The artifact of each point; ``None`` if it does not exist."""
        return [self.result(point) for point in self.points]

    def result(self, point: Point) -> Artifact | None:
        """The artifact of a point; ``None`` if it does not exist or its configuration is wrong.

        Raises:
            InputError: it does not have values for each query.
        """
        try:
            path = location(runtime_of(point.config).root, point.address)
        except InputError:
            return None
        if not Artifact.present(path):
            return None
        if not measures_of(point.node):
            raise InputError(
                f"target={point.config.target} is an artifact of {point.node.stage.name}, which has no values per "
                "query; a report needs those that stages such as evaluate and agreement write. Use target=metrics."
            )
        return Artifact.open(path)

    def cells(self) -> Cells:
        """The values of all points, by cell.

        Raises:
            InputError: only seeds vary, no point is built, the points were evaluated on different queries, they have no
                measure in common, or ``report.measure`` or ``report.baseline`` is wrong.
        """
        settings = self.points[0].config.report
        if not self.factors:
            raise InputError(
                "Nothing varies in this sweep but seeds; a report compares at least two values: -m codec.nbits=1,2"
            )
        if not any(self.results):
            raise InputError(self.nothing_there())
        tables = {i: per_query(found) for i, found in enumerate(self.results) if found is not None}
        queries, measures = common(list(tables.values()))
        known = [name for name in measures if not any(table[name].isna().any() for table in tables.values())]
        lacking = self.not_known()
        if settings.measure is not None and settings.measure not in known:
            expected = ", ".join(known) or "none"
            raise InputError(
                " ".join([f"report.measure is {settings.measure!r}; expected one of {expected}.", *lacking])
            )
        if not known:
            raise InputError(f"No measure is known at every point. {' '.join(lacking)}")
        first = settings.measure or known[0]  # the conclusions are about this one
        measures = [first, *(name for name in measures if name != first)]
        seeds = [self.seeds.get(name, [self.points[0].overrides.get(name, "")]) for name in SEEDS]
        cells = [
            self.cell(dict(zip(self.factors, chosen, strict=True)), members, seeds, tables, measures, queries)
            for chosen, members in self.settings().items()
        ]
        return Cells(
            title=settings.title or f"{' × '.join(self.factors)} on {self.points[0].config.collection.name}",
            factors=self.factors,
            training_seeds=seeds[0],
            kmeans_seeds=seeds[1],
            queries={self.points[0].config.collection.name: queries},
            measures=measures,
            cells=cells,
            baseline=baseline(cells, OmegaConf.to_container(settings.baseline)),  # pyright: ignore[reportArgumentType]
            warnings=[*self.not_known(), *self.versions(), *identical(self.by_name())],
            commands=[self.command("colbertv2"), self.command("colbertv2", "report")],
            kmeans_follows=self.kmeans_follows,
        )

    def settings(self) -> dict[tuple[str, ...], list[int]]:
        """The points of each setting of the factors: values of the factors → positions in ``points``."""
        found: dict[tuple[str, ...], list[int]] = {}
        for i, point in enumerate(self.points):
            found.setdefault(tuple(point.overrides.get(key, "") for key in self.factors), []).append(i)
        return found

    def cell(
        self,
        factors: Mapping[str, str],
        members: Sequence[int],
        seeds: Sequence[Sequence[str]],
        tables: Mapping[int, pd.DataFrame],
        measures: Sequence[str],
        queries: Sequence[str],
    ) -> Cell:
        """The cell of one setting of the factors; without values if a point for one of the pairs of seeds is missing.

        Args:
            factors: the setting.
            members: positions of its points.
            seeds: the training seeds and the k-means seeds.
            tables: values per query, by position of the point.
            measures: columns of the tables to use.
            queries: ids, in the order of the values.
        """
        places = {tuple(self.points[i].overrides.get(name, "") for name in SEEDS): i for i in members}
        wanted = [places.get(pair, -1) for pair in product(*seeds)]
        for place in wanted:
            if place not in tables:
                problem = self.problem(place) if place >= 0 else "the sweep has no point for some of its seeds"
                return Cell(factors, {}, {}, problem, self.points[max(place, members[0])].command)
        shape = (len(seeds[0]), len(seeds[1]), len(queries))
        collection = self.points[members[0]].config.collection.name
        found = {
            measure: {
                collection: np.stack([tables[i].loc[list(queries), measure].to_numpy(float) for i in wanted]).reshape(
                    shape
                )
            }
            for measure in measures
        }
        built = [artifact for i in wanted if (artifact := self.results[i]) is not None]
        means = mean_costs([costs(one) for one in built])
        return Cell(factors, found, means, None, self.points[members[0]].command, self.trained(wanted))

    def trained(self, members: Sequence[int]) -> frozenset[str]:
        """The addresses of the trainings of ColBERT that the points at ``members`` rest on."""
        nodes = [node for place in members for node in self.points[place].node.lineage()]
        return frozenset(node.address for node in nodes if node.stage.name == "train")

    def problem(self, place: int) -> str:
        """Why the point at ``place`` has no result."""
        point = self.points[place]
        try:
            validate(point.node)
            root = runtime_of(point.config).root
        except InputError as error:
            return str(error)
        failures = (failure_of(location(root, node.address)) for node in point.node.lineage())
        return next((failure for failure in failures if failure), "not run")

    def by_name(self) -> dict[str, Artifact]:
        """The artifacts that are built, by the name of the point."""
        return {
            ", ".join(f"{key}={point.overrides.get(key, '')}" for key in self.axes): found
            for point, found in zip(self.points, self.results, strict=True)
            if found is not None
        }

    def not_known(self) -> list[str]:
        """A warning for each measure and reason why it is not known, with the names of the points concerned."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, artifact in self.by_name().items():
            for measure, reason in unknown_of(artifact).items():
                found.setdefault((measure, reason), []).append(name)
        return [not_known([measure], f"{reason} ({'; '.join(names)})") for (measure, reason), names in found.items()]

    def training_logs(self) -> dict[str, Path]:
        """The log of every training of ColBERT that only some points depend on, by the name of the first such point."""
        logs: dict[str, tuple[str, Path]] = {}
        counts: dict[str, int] = {}
        for name, artifact in self.by_name().items():
            for one in artifact.lineage():
                if one.stage == "train":
                    counts[one.address] = counts.get(one.address, 0) + 1
                    logs.setdefault(one.address, (name, one.file(max(fnmatch.filter(one.record["sha256"], LOGS)))))
        shared = len(self.by_name())
        return {f"{name} ({address})": log for address, (name, log) in logs.items() if counts[address] < shared}

    def versions(self) -> list[str]:
        """A warning for each stage that was run by several versions of the code, or with uncommitted changes."""
        commits: dict[str, dict[str, set[str]]] = {}
        for artifact in {found.address: found for found in self.results if found is not None}.values():
            for one in artifact.lineage():
                code = (one.record["commit"] or "unknown")[:7] + (UNCOMMITTED if one.record["dirty"] else "")
                commits.setdefault(one.stage, {}).setdefault(code, set()).add(one.address)
        return [
            f"Stage {stage} was run by several versions of the code: "
            + ", ".join(f"{code} ({len(addresses)} artifacts)" for code, addresses in found.items())
            + "."
            if len(found) > 1
            else f"Stage {stage} was run from a checkout with uncommitted changes."
            for stage, found in commits.items()
            if len(found) > 1 or any(code.endswith(UNCOMMITTED) for code in found)
        ]

    def command(self, *words: str) -> str:
        """The command line of this sweep, for a module and possibly its verb."""
        return shlex.join(["python", "-m", *words, *self.arguments])

    def nothing_there(self) -> str:
        """The message that no point is built, and how to build them."""
        problems = dict.fromkeys(self.problem(i) for i in range(len(self.points)))
        lines = [f"  {problem}" for problem in problems if problem != "not run"]
        return "\n".join(
            [
                f"None of the {len(self.points)} points of this sweep is built. Build all of them with:",
                f"  {self.command('colbertv2')}",
                *(["Errors so far:", *lines] if lines else []),
            ]
        )


def common(tables: Sequence[pd.DataFrame]) -> tuple[list[str], list[str]]:
    """The queries and measures of all tables.

    Raises:
        InputError: they differ in their queries, or have no measure in common.
    """
    queries = list(tables[0].index)
    if any(set(table.index) != set(queries) for table in tables):
        raise InputError(
            "The points were evaluated on different queries, so they can't be compared query by query; make one report "
            "per collection."
        )
    measures = [name for name in tables[0].columns if all(name in table.columns for table in tables)]
    if not measures:
        raise InputError("The points have no measure in common; evaluate them with the same `measures`.")
    return queries, measures


def mean_costs(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each cost that is known for all points."""
    return {name: float(np.mean([one[name] for one in found])) for name in COSTS if all(name in one for one in found)}


def baseline(cells: Sequence[Cell], wanted: Mapping[str, Any]) -> Cell:
    """The first cell that has values and the levels in ``wanted``.

    Args:
        cells: the cells of the sweep.
        wanted: factor → level; keys that are not factors of this sweep are ignored.

    Raises:
        InputError: there is no such cell, or it has no values.
    """
    matching = [
        cell for cell in cells if all(same(cell.factors[key], wanted[key]) for key in cell.factors if key in wanted)
    ]
    if not matching:
        shown = ", ".join(f"{key}={value}" for key, value in wanted.items())
        raise InputError(f"report.baseline is {shown}; expected a cell of this sweep: {factors_of(cells)}.")
    if (chosen := next((cell for cell in matching if cell.values), None)) is None:
        problem, command = matching[0].problem, matching[0].command
        raise InputError(f"The baseline {matching[0].name} has no values ({problem}); build it first:\n  {command}")
    return chosen


def same(written: str, value: Any) -> bool:
    """Whether the text of an override means this value.

    >>> same("1", 1.0), same("null", None), same("residual", "residual"), same("2", 4)
    (True, True, True, False)
    """
    return written == str(value) or yaml.safe_load(written) == value


def factors_of(cells: Sequence[Cell]) -> str:
    """The factors of the cells with their values, as text."""
    found = {key: dict.fromkeys(cell.factors[key] for cell in cells) for key in cells[0].factors}
    return "; ".join(f"{key}={','.join(values)}" for key, values in found.items())
