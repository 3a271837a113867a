"""From the points of a sweep to its cells: each result is found by its address; no log is read, no database asked."""

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
LOGS = "log*/metrics.csv"  # of a training; a resumed one has several


@dataclass(frozen=True)
class Sweep:
    """The points that a command line asks for, and what has been built of them.

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
        """What differs between points, with its values in the order of the sweep."""
        return axes_of(self.points)

    @property
    def factors(self) -> dict[str, list[str]]:
        """The axes whose effect is asked for."""
        return {key: values for key, values in self.axes.items() if key not in SEEDS}

    @property
    def seeds(self) -> dict[str, list[str]]:
        """The axes whose effect is noise."""
        return {key: values for key, values in self.axes.items() if key in SEEDS}

    @cached_property
    def results(self) -> list[Artifact | None]:
        """What there is of each point."""
        return [self.result(point) for point in self.points]

    def result(self, point: Point) -> Artifact | None:
        """The artifact of a point, or None."""
        try:
            path = location(runtime_of(point.config).root, point.address)
        except InputError:
            return None
        if not Artifact.present(path):
            return None
        if not measures_of(point.node):
            raise InputError(
                f"target={point.config.target} is an artifact of {point.node.stage.name}; a report is about per-query "
                "values, which stages such as evaluate and agreement write. Give it target=metrics."
            )
        return Artifact.open(path)

    def cells(self) -> Cells:
        """The values of all points.

        Raises:
            InputError: no axis but seeds varies, none of the points was built, they were evaluated on different
                queries, or ``report.baseline`` names no cell.
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
        first = settings.measure or known[0]  # conclusions are about it
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
            queries=queries,
            measures=measures,
            cells=cells,
            baseline=baseline(cells, OmegaConf.to_container(settings.baseline)),  # pyright: ignore[reportArgumentType]
            warnings=[*self.not_known(), *self.versions(), *identical(self.by_name())],
            commands=[self.command("colbertv2"), self.command("colbertv2", "report")],
        )

    def settings(self) -> dict[tuple[str, ...], list[int]]:
        """Values of the factors → the points that have them, by place."""
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
        """One setting of the factors from its ``members``, a point for each pair of ``seeds``."""
        places = {tuple(self.points[i].overrides.get(name, "") for name in SEEDS): i for i in members}
        wanted = [places.get(pair, -1) for pair in product(*seeds)]
        for place in wanted:
            if place not in tables:
                problem = self.problem(place) if place >= 0 else "the sweep has no point for some of its seeds"
                return Cell(factors, {}, {}, problem, self.points[max(place, members[0])].command)
        shape = (len(seeds[0]), len(seeds[1]), len(queries))
        found = {
            measure: np.stack([tables[i].loc[list(queries), measure].to_numpy(float) for i in wanted]).reshape(shape)
            for measure in measures
        }
        built = [artifact for i in wanted if (artifact := self.results[i]) is not None]
        return Cell(factors, found, mean_costs([costs(one) for one in built]), None, self.points[members[0]].command)

    def problem(self, place: int) -> str:
        """Why there is no result of a point."""
        point = self.points[place]
        try:
            validate(point.node)
            root = runtime_of(point.config).root
        except InputError as error:
            return str(error)
        failures = (failure_of(location(root, node.address)) for node in point.node.lineage())
        return next((failure for failure in failures if failure), "not run")

    def by_name(self) -> dict[str, Artifact]:
        """What was built, by the values of its axes."""
        return {
            ", ".join(f"{key}={point.overrides.get(key, '')}" for key in self.axes): found
            for point, found in zip(self.points, self.results, strict=True)
            if found is not None
        }

    def not_known(self) -> list[str]:
        """A warning for each reason why measures are not known, with the points that have them as dashes."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, artifact in self.by_name().items():
            for measure, reason in unknown_of(artifact).items():
                found.setdefault((measure, reason), []).append(name)
        return [not_known([measure], f"{reason} ({'; '.join(names)})") for (measure, reason), names in found.items()]

    def training_logs(self) -> dict[str, Path]:
        """The log of every training of ColBERT that some points rest on and others do not, by the name of the first."""
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
        """A warning for each stage that several versions of the code, or uncommitted changes, have run."""
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
        """The command line of this sweep for a module and its verb."""
        return shlex.join(["python", "-m", *words, *self.arguments])

    def nothing_there(self) -> str:
        """That none of the points was built, and how to build them."""
        problems = dict.fromkeys(self.problem(i) for i in range(len(self.points)))
        lines = [f"  {problem}" for problem in problems if problem != "not run"]
        return "\n".join(
            [
                f"None of the {len(self.points)} points of this sweep has been built. What builds all of them:",
                f"  {self.command('colbertv2')}",
                *(["What went wrong so far:", *lines] if lines else []),
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
            "The points were evaluated on different queries, so that nothing can be compared query by query; report "
            "on one collection at a time."
        )
    measures = [name for name in tables[0].columns if all(name in table.columns for table in tables)]
    if not measures:
        raise InputError("The points have no measure in common; evaluate them with the same `measures`.")
    return queries, measures


def mean_costs(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every cost that all have."""
    return {name: float(np.mean([one[name] for one in found])) for name in COSTS if all(name in one for one in found)}


def baseline(cells: Sequence[Cell], wanted: Mapping[str, Any]) -> Cell:
    """The first cell with values that has what ``wanted`` names, as far as it names factors of this sweep.

    Raises:
        InputError: there is none.
    """
    matching = [
        cell for cell in cells if all(same(cell.factors[key], wanted[key]) for key in cell.factors if key in wanted)
    ]
    if not matching:
        shown = ", ".join(f"{key}={value}" for key, value in wanted.items())
        raise InputError(f"report.baseline is {shown}, which is no cell of this sweep: {factors_of(cells)}.")
    if (chosen := next((cell for cell in matching if cell.values), None)) is None:
        problem, command = matching[0].problem, matching[0].command
        raise InputError(f"The baseline {matching[0].name} has no values ({problem}); build it first:\n  {command}")
    return chosen


def same(written: str, value: Any) -> bool:
    """Whether an override says this value.

    >>> same("1", 1.0), same("null", None), same("residual", "residual"), same("2", 4)
    (True, True, True, False)
    """
    return written == str(value) or yaml.safe_load(written) == value


def factors_of(cells: Sequence[Cell]) -> str:
    """The factors of cells with their values."""
    found = {key: dict.fromkeys(cell.factors[key] for cell in cells) for key in cells[0].factors}
    return "; ".join(f"{key}={','.join(values)}" for key, values in found.items())
