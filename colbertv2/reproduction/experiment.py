"""One table or figure of a paper: read and check the node ``reproduce`` of a file under ``experiments/paper/``.

A row is run with an ordinary configuration: that of the file, with the row's overrides. The published values are data
in the same file, and are never part of an address. ``EncodingCost`` estimates the cost of encoding a published
collection, to decide whether a row can be run on this machine, and to say what it would cost elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from colbertv2.artifacts.process import num_cores
from colbertv2.artifacts.validate import suggestion
from colbertv2.configuration.composition import EXPERIMENTS
from colbertv2.errors import InputError
from colbertv2.planning.prediction import products_per_second
from colbertv2.refusals import free_disk
from colbertv2.runtime import Runtime

GROUP = "paper"
NUMBER = (int, float, type(None))
GPU_RATE = 4e13  # operations per second that encoding reaches on one GPU in 16 bits: an eighth of an A100's peak
CPU_SHARE = 0.5  # speed of encoding on a CPU, relative to that of matrix products alone
STORED = 2 * 128 + 36  # bytes per token: 128 dimensions in float16, and the same vector compressed to 2 bits


@dataclass(frozen=True)
class Row:
    """One row of a table, with one value per measure.

    In a file, ``under`` adds overrides that several rows share; ``collections`` (:func:`by_collection`) and ``grid``
    (:func:`points`) expand one row into many.

    Args:
        row: its name.
        published: measure → value, as a fraction, in bytes or in milliseconds; ``None`` if no value was published.
        of: the node of the pipeline that is evaluated.
        overrides: its overrides, as on the command line (``with`` in the file).
        source: where the values were published, if not in the source of the table.
        tolerance: by how much a measured value may differ: a number, or a mapping from measure to number. A text
            instead of a number says why the values must not be compared.
        passages: number of documents to encode in the published collection; 0 for none.
        tokens: mean number of tokens per passage, after truncation.
        not_run: why this project can't run the row; empty if it can.
        others: published values of other systems, which are not run here: name → value of the first measure.
    """

    row: str
    published: Mapping[str, float | None]
    of: str = "metrics"
    overrides: Sequence[str] = ()
    source: str = ""
    tolerance: Any = None
    passages: int = 0
    tokens: int = 0
    not_run: str = ""
    others: Mapping[str, float | None] = field(default_factory=dict)

    def allowed(self, measure: str) -> float | str | None:
        """The tolerance for one measure, the reason why it must not be compared, or ``None``."""
        return self.tolerance.get(measure) if isinstance(self.tolerance, Mapping) else self.tolerance


@dataclass(frozen=True)
class Experiment:
    """A table, which ``make reproduce T=<name>`` runs.

    Args:
        name: name of its file, without ``.yaml``.
        title: heading of the table.
        claim: what the table is to show.
        source: where the values were published; a row may name another source.
        data: the data it reads, and their size.
        rows: the rows, in the order of the table.
        parameters: number of the encoder's parameters without its embeddings, for the cost of encoding.
        notes: sentences to print below the table.

    >>> table = Experiment.read("compression")
    >>> table.rows[0].published
    {'RR@10': 0.362, 'R@50': 0.821}
    """

    name: str
    title: str
    claim: str
    source: str
    data: str
    rows: Sequence[Row]
    parameters: float = 85e6
    notes: Sequence[str] = ()

    @property
    def published(self) -> pd.DataFrame:
        """Every published value: columns ``row``, ``measure``, ``value`` and ``source``."""
        lines = [
            (row.row, measure, value, row.source or self.source)
            for row in self.rows
            for measure, value in row.published.items()
        ]
        return pd.DataFrame(lines, columns=["row", "measure", "value", "source"]).astype({"value": float})

    @classmethod
    def read(cls, name: str) -> "Experiment":
        """Read ``experiments/paper/<name>.yaml``.

        Raises:
            InputError: there is no such file, or its content is not that of a table.
        """
        path = path_of(name)
        if not path.is_file():
            raise InputError(f"There is no table {name!r} in {path.parent}{suggestion(name, names())}")
        content: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        table = content.get("reproduce") if isinstance(content, dict) else None
        if not isinstance(table, dict) or not isinstance(table.get("rows"), list):
            raise InputError(f"{path} has no `reproduce` with `rows`; see the other files there.")
        try:
            return parsed(name, table)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def path_of(name: str) -> Path:
    """The path of a table's file."""
    return EXPERIMENTS / GROUP / f"{name}.yaml"


def names() -> list[str]:
    """The names of all tables, sorted."""
    return sorted(path.stem for path in (EXPERIMENTS / GROUP).glob("*.yaml"))


def parsed(name: str, table: Mapping[str, Any]) -> Experiment:
    """Make an experiment from the content of its file. Values given for the table are defaults for its rows.

    Raises:
        InputError: a key is unknown or missing, a published value is not a number, or two rows have the same name.
    """
    table = dict(table)
    settings = table.pop("settings", {})
    common = {key: table.pop(key) for key in ("tolerance", "passages", "tokens", "of") if key in table}
    rows = [
        row_of(point, f"row {number}")
        for number, row in enumerate(table.pop("rows"), start=1)
        for one in by_collection({**common, **under(settings, row)})
        for point in points(one)
    ]
    checked(Experiment, {"name": name, "rows": rows, **table}, "reproduce")
    if len({row.row for row in rows}) < len(rows):
        twice = next(row.row for row in rows if sum(row.row == other.row for other in rows) > 1)
        raise InputError(f"two rows are called {twice!r}; give each row a name of its own.")
    return Experiment(name=name, rows=rows, **table)


def under(settings: Mapping[str, Sequence[str]], row: Mapping[str, Any]) -> dict[str, Any]:
    """Replace ``under`` of a row by the overrides in the table's ``settings`` that it names, before the row's own.

    Raises:
        InputError: the table has no such settings.
    """
    row = dict(row)
    if (name := row.pop("under", None)) is None:
        return row
    if name not in settings:
        raise InputError(f"{row.get('row')}: the table has no settings {name!r}{suggestion(name, list(settings))}")
    return {**row, "with": [*settings[name], *row.get("with", [])]}


def by_collection(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Expand a row into one row for each of its ``collections``; without ``collections``, the row itself.

    The keys are collections as a suite lists them, and the values are the keys of the row on that collection. It is
    evaluated as the only member of a suite, with everything that belongs to the collection.

    Raises:
        InputError: ``collections`` is not a mapping from collections to mappings.

    >>> block = {"of": "bm25_metrics", "collections": {"beir/nq": {"row": "NQ"}, "beir/fiqa/test": {"row": "FiQA"}}}
    >>> by_collection(block)[0]
    {'of': 'bm25_metrics', 'row': 'NQ', 'with': ['suite.collections=[beir/nq]']}
    """
    row = dict(row)
    if (collections := row.pop("collections", None)) is None:
        return [row]
    if not isinstance(collections, dict) or not all(isinstance(own, dict) for own in collections.values()):
        raise InputError(f"collections is {collections!r}; expected collection → keys of its row.")
    return [
        {**row, **own, "with": [*row.get("with", []), f"suite.collections=[{name}]", *own.get("with", [])]}
        for name, own in collections.items()
    ]


def points(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Expand a row into one row for each point of its ``grid`` (override → values); without ``grid``, the row itself.

    Raises:
        InputError: ``grid`` is not a mapping from overrides to lists of values.

    >>> [point["row"] for point in points({"row": "SciFact", "grid": {"codec.nbits": [1, 2]}})]
    ['SciFact: nbits=1', 'SciFact: nbits=2']
    """
    row = dict(row)
    grid = row.pop("grid", {})
    if not isinstance(grid, dict) or not all(isinstance(values, list) and values for values in grid.values()):
        raise InputError(f"grid is {grid!r}; expected override → [values].")
    if not grid:
        return [row]
    return [
        {
            **row,
            "row": f"{row.get('row')}: "
            + ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in zip(grid, values, strict=True)),
            "with": [*row.get("with", []), *(f"{key}={value}" for key, value in zip(grid, values, strict=True))],
        }
        for values in product(*grid.values())
    ]


def row_of(content: Mapping[str, Any], place: str) -> Row:
    """Make a row from its content in the file.

    Args:
        content: keys and values.
        place: where it is in the file, for messages.

    Raises:
        InputError: a key is unknown or missing, or a published value is not a number.
    """
    values = {{"with": "overrides"}.get(key, key): value for key, value in content.items()}
    checked(Row, values, place)
    for kind in ("published", "others"):
        if wrong := {key: one for key, one in values.get(kind, {}).items() if not isinstance(one, NUMBER)}:
            raise InputError(f"{place}: {kind} has {wrong}; expected numbers, or null if there is none.")
    if not values["published"]:
        raise InputError(f"{place}: published is empty; name the measures, with null if no value was published.")
    return Row(**values)


def checked(kind: type, values: Mapping[str, Any], place: str) -> None:
    """Check that ``values`` has only fields of the dataclass ``kind``, and all its required ones.

    Raises:
        InputError: a key is unknown or missing.
    """
    known = {one.name: one for one in fields(kind)}
    for key in values:
        if key not in known:
            raise InputError(f"{place}: unknown key {key!r}{suggestion(key, list(known))}")
    for key, one in known.items():
        if one.default is MISSING and one.default_factory is MISSING and key not in values:
            raise InputError(f"{place}: {key} is missing.")


def results(name: str) -> Path:
    """The path of the measured table of an experiment, without suffix."""
    return EXPERIMENTS / "results" / GROUP / name


@dataclass(frozen=True)
class EncodingCost:
    """The cost of encoding a collection.

    Args:
        passages: number of documents.
        tokens: mean number of tokens per document.
        parameters: number of the encoder's parameters without its embeddings.

    >>> str(EncodingCost(passages=8_841_823, tokens=68, parameters=85e6))
    'about 0.7 GPU hours and 176 GB of disk'
    """

    passages: int
    tokens: int
    parameters: float

    @property
    def flops(self) -> float:
        """Number of floating-point operations: two per parameter and token."""
        return 2 * self.parameters * self.passages * self.tokens

    @property
    def gpu_hours(self) -> float:
        """Hours on one GPU."""
        return self.flops / GPU_RATE / 3600

    @property
    def bytes(self) -> float:
        """Disk space in bytes, for the vectors and an index of them."""
        return float(self.passages * self.tokens * STORED)

    def __str__(self) -> str:
        if not self.passages:
            return "nothing to encode"
        return f"about {self.gpu_hours:.1f} GPU hours and {self.bytes / 1e9:,.0f} GB of disk"

    def too_much(self, runtime: Runtime, hours: float) -> str:
        """Why this machine can't encode the collection within ``hours`` or on its disk; an empty string if it can."""
        on_gpu = runtime.device_type == "cuda"
        speed = GPU_RATE if on_gpu else CPU_SHARE * products_per_second(runtime.threads or num_cores())
        needed, free = self.flops / (speed * runtime.devices) / 3600, free_disk(runtime.root)
        if needed > hours:
            return f"{needed:,.0f} hours on this machine, {hours:g} allowed; elsewhere {self}"
        if self.bytes > free:
            return f"{free / 1e9:,.0f} GB of disk are free; it takes {self}"
        return ""
