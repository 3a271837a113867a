"""Collect the cells of a sweep from its points: each result is found by its address, without logs or a database."""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import OmegaConf

from colbertv2.ablation.cells import Cell, Cells, baseline
from colbertv2.ablation.linter import identical
from colbertv2.ablation.measuring import choose_measures, common_queries, leading_measures
from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.build import failure_of
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.validate import validate
from colbertv2.configuration.composition import runtime_of
from colbertv2.configuration.points import SEEDS, Point, axes_of, collect
from colbertv2.configuration.targets import OWN, members
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.doubts import leakage, missing_collections
from colbertv2.evaluation.measurement import COSTS, costs, measures_of, not_known, per_query, unknown_of

if TYPE_CHECKING:
    import pandas as pd

    from colbertv2.evaluation.variance import Values

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
    def results(self) -> list[dict[str, Artifact]]:
        """The evaluations of each point that exist, by collection."""
        return [self.result(point) for point in self.points]

    @property
    def there(self) -> list[Point]:
        """The points that have a result."""
        return [point for point, found in zip(self.points, self.results, strict=True) if found]

    def result(self, point: Point) -> dict[str, Artifact]:
        """The evaluations of a point that exist, by collection; empty if its configuration is wrong.

        Raises:
            InputError: its target has no values for each query.
        """
        try:
            root, _ = runtime_of(point.config).root, point.address
        except InputError:
            return {}
        found = {}
        for collection, node in evaluations_of(point).items():
            if Artifact.present(path := location(root, node.address)):
                if not measures_of(node):
                    raise InputError(
                        f"target={point.config.target} is an artifact of {node.stage.name}, which has no values per "
                        "query; a report needs those that stages such as evaluate and agreement write. Use "
                        "target=metrics."
                    )
                found[collection] = Artifact.open(path)
        return found

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
        tables = [{name: per_query(one) for name, one in found.items()} for found in self.results]
        nodes = [point.node for point in self.there]
        queries = common_queries(tables, alone=not any(map(members, nodes)))
        lacking = self.not_known()
        common = choose_measures(tables, leading_measures(nodes, queries), settings.measure, lacking)
        missing = self.missing(queries)
        seeds = [self.seeds.get(name, [self.points[0].overrides.get(name, "")]) for name in SEEDS]
        cells = [
            self.cell(
                dict(zip(self.factors, chosen, strict=True)), places, seeds, common.tables, common.measures, queries
            )
            for chosen, places in self.settings().items()
        ]
        return Cells(
            title=settings.title or f"{' × '.join(self.factors)} on {self.evaluated(queries)}",
            factors=self.factors,
            training_seeds=seeds[0],
            kmeans_seeds=seeds[1],
            queries=queries,
            measures=common.measures,
            cells=cells,
            baseline=baseline(cells, OmegaConf.to_container(settings.baseline)),  # pyright: ignore[reportArgumentType]
            warnings=[
                *self.points[0].config.notes,
                *self.leakage(),
                *(f"The collection {name} is missing: {reason.rstrip('.')}." for name, reason in missing.items()),
                *lacking,
                *common.remarks,
                *self.versions(),
                *self.identical(),
            ],
            commands=[self.command("colbertv2"), self.command("colbertv2", "report")],
            kmeans_follows=self.kmeans_follows,
            leading=common.leading,
            missing={name: reason for name, reason in missing.items() if name not in queries},
        )

    def evaluated(self, queries: Mapping[str, Sequence[str]]) -> str:
        """What the sweep was evaluated on, for its title."""
        return self.points[0].config.suite.name or (
            next(iter(queries)) if len(queries) == 1 else f"{len(queries)} collections"
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
        places: Sequence[int],
        seeds: Sequence[Sequence[str]],
        tables: Sequence[Mapping[str, pd.DataFrame]],
        measures: Sequence[str],
        queries: Mapping[str, Sequence[str]],
    ) -> Cell:
        """The cell of one setting of the factors, with the collections that were evaluated for all pairs of seeds.

        Args:
            factors: the setting.
            places: positions of its points.
            seeds: the training seeds and the k-means seeds.
            tables: values per query, of each point by collection.
            measures: columns of the tables to use.
            queries: collection → ids, in the order of the values.
        """
        command = self.points[places[0]].command
        by_seeds = {tuple(self.points[i].overrides.get(name, "") for name in SEEDS): i for i in places}
        wanted = [by_seeds.get(pair, -1) for pair in product(*seeds)]
        if -1 in wanted:
            return Cell(factors, {}, {}, "the sweep has no point for some of its seeds", command)
        values: dict[str, dict[str, Values]] = {measure: {} for measure in measures}
        costs_on: dict[str, dict[str, float]] = {}
        problems: dict[str, str] = {}
        for name, ids in queries.items():
            if (lacking := next((i for i in wanted if name not in tables[i]), None)) is not None:
                problems[name], command = self.problem(lacking, name), self.points[lacking].command
                continue
            shape = (len(seeds[0]), len(seeds[1]), len(ids))
            for measure in measures:
                found = [tables[i][name].loc[list(ids), measure].to_numpy(float) for i in wanted]
                values[measure][name] = np.stack(found).reshape(shape)
            costs_on[name] = mean_costs([costs(self.results[i][name]) for i in wanted])
        if len(problems) == len(queries):
            return Cell(factors, {}, {}, "; ".join(dict.fromkeys(problems.values())), command)
        problem = "; ".join(f"on {name}: {reason}" for name, reason in problems.items()) or None
        trained = self.trained(wanted)
        return Cell(factors, values, mean_costs([*costs_on.values()]), problem, command, trained, costs_on)

    def trained(self, members: Sequence[int]) -> frozenset[str]:
        """The addresses of the trainings of ColBERT that the points at ``members`` rest on."""
        nodes = [node for place in members for node in self.points[place].node.lineage()]
        return frozenset(node.address for node in nodes if node.stage.name == "train")

    def problem(self, place: int, collection: str) -> str:
        """Why the point at ``place`` has no result on a collection."""
        point = self.points[place]
        try:
            validate(point.node)
            root = runtime_of(point.config).root
        except InputError as error:
            return str(error)
        node = evaluations_of(point).get(collection)
        if node is None:
            return point.node.values.get("missing", {}).get(collection, "not part of this suite")
        failures = (failure_of(location(root, step.address)) for step in node.lineage())
        return next((failure for failure in failures if failure), "not run")

    def built(self) -> list[tuple[str, str, Artifact]]:
        """The evaluations that exist: the name of the point, the collection, the artifact."""
        names = [", ".join(f"{key}={point.overrides.get(key, '')}" for key in self.axes) for point in self.points]
        return [(name, *one) for name, found in zip(names, self.results, strict=True) for one in found.items()]

    def texts(self) -> dict[str, dict[str, str]]:
        """The texts of the queries of each collection, by id; without collections whose evaluation names no queries."""
        nodes = {name: node for point in self.points for name, node in evaluations_of(point).items()}
        asked = {name: node.bound.get("queries") for name, node in nodes.items()}
        return {name: dict(queries) for name, queries in asked.items() if isinstance(queries, Queries)}

    def missing(self, queries: Collection[str]) -> dict[str, str]:
        """The collections of a suite that are missing at some points, or have no result at any point: name → why.

        Args:
            queries: the collections that have a result.
        """
        suites = {i: point for i, point in enumerate(self.points) if evaluations_of(point) and members(point.node)}
        listed = {name: i for i, point in reversed(suites.items()) for name in members(point.node)}
        lacking = {name: self.problem(i, name) for name, i in listed.items() if name not in queries}
        return lacking | missing_collections(point.node for point in suites.values())

    def leakage(self) -> list[str]:
        """A warning for each collection with test queries that were trained on, with the cells concerned if not all."""
        names = [", ".join(f"{key}={point.overrides.get(key, '')}" for key in self.factors) for point in self.there]
        found = leakage([point.node for point in self.there])
        concerned = {sentence: {names[place]: None for place in places} for sentence, places in found.items()}
        return [one if len(held) == len({*names}) else f"{one} ({'; '.join(held)})" for one, held in concerned.items()]

    def not_known(self) -> list[str]:
        """A warning for each measure and reason why it is not known, with the names of the points concerned."""
        found: dict[tuple[str, str], dict[str, None]] = {}
        for name, _, artifact in self.built():
            for measure, reason in unknown_of(artifact).items():
                found.setdefault((measure, reason), {})[name] = None
        return [not_known([measure], f"{reason} ({'; '.join(names)})") for (measure, reason), names in found.items()]

    def identical(self) -> list[str]:
        """A warning for each group of points with the same rankings, on one collection or on all of them."""
        collections: dict[str, dict[str, Artifact]] = {}
        for name, collection, artifact in self.built():
            collections.setdefault(collection, {})[name] = artifact
        said: dict[str, list[str]] = {}
        for collection, artifacts in collections.items():
            for sentence in identical(artifacts):
                said.setdefault(sentence, []).append(collection)
        return [
            sentence if len(where) == len(collections) else f"On {', '.join(where)}: {sentence}"
            for sentence, where in said.items()
        ]

    def training_logs(self) -> dict[str, Path]:
        """The log of every training of ColBERT that only some points depend on, by the name of the first such point."""
        logs: dict[str, tuple[str, Path]] = {}
        counts: dict[str, int] = {}
        names = {name for name, _, _ in self.built()}
        trained = {(name, one.address): one for name, _, found in self.built() for one in found.lineage()}
        for (name, _), one in trained.items():
            if one.stage == "train":
                counts[one.address] = counts.get(one.address, 0) + 1
                logs.setdefault(one.address, (name, one.file(max(fnmatch.filter(one.record["sha256"], LOGS)))))
        return {f"{name} ({address})": log for address, (name, log) in logs.items() if counts[address] < len(names)}

    def versions(self) -> list[str]:
        """A warning for each stage that was run by several versions of the code, or with uncommitted changes."""
        commits: dict[str, dict[str, set[str]]] = {}
        for artifact in {found.address: found for _, _, found in self.built()}.values():
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
        problems = dict.fromkeys(
            self.problem(i, name) for i, point in enumerate(self.points) for name in evaluations_of(point) or [""]
        )
        lines = [f"  {problem}" for problem in problems if problem != "not run"]
        return "\n".join(
            [
                f"None of the {len(self.points)} points of this sweep is built. Build all of them with:",
                f"  {self.command('colbertv2')}",
                *(["Errors so far:", *lines] if lines else []),
            ]
        )


def evaluations_of(point: Point) -> dict[str, Node]:
    """The evaluations of a point, by collection: of a suite, those of the target on each of its collections.

    Raises:
        InputError: the target is a table, which has several evaluations on each collection.
    """
    try:
        node = point.node
    except InputError:
        return {}
    if not (held := members(node)):
        return {str(point.config.collection.name): node}
    if any(OWN not in rows for rows in held.values()):
        raise InputError(
            f"target={point.config.target} is a table with several systems; a report needs one evaluation at each "
            "point. Use target=metrics."
        )
    return {name: rows[OWN] for name, rows in held.items()}


def mean_costs(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each cost that is known for all points."""
    return {name: float(np.mean([one[name] for one in found])) for name in COSTS if all(name in one for one in found)}
