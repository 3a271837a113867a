"""One table or figure of a paper: the node ``reproduce`` of a file under ``experiments/paper/``, checked strictly.

What a row computes is an ordinary configuration: that of the file, with the row's overrides. The published values stand
beside it as data and are never part of an address. ``EncodingCost`` estimates what encoding a published collection
takes: why a row is not run here, and what it would cost elsewhere.
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
from colbertv2.planning.prediction import GPU_RATE, products_per_second
from colbertv2.refusals import free_disk
from colbertv2.runtime import Runtime

GROUP = "paper"
NUMBER = (int, float, type(None))
CPU_SHARE = 0.5  # of the speed that a processor reaches in matrix products alone
STORED = 2 * 128 + 36  # bytes per token: 128 dimensions as 16-bit floats, and compressed to 2 bits


@dataclass(frozen=True)
class Row:
    """One line, or one for each of its measures.

    In a file, ``under`` takes in overrides that rows have in common, and ``grid`` makes one row into many (``points``).

    Args:
        row: its name.
        published: measure → value as a fraction, in bytes or in milliseconds; ``None``: no published value.
        of: the node of the pipeline that is evaluated.
        overrides: what it changes, as on the command line (``with`` in the file).
        source: where the values were published, if not where the table's were.
        tolerance: by how much a measured value may differ; by measure, where there are several. A text instead says why
            the two are not to be compared.
        passages: documents that have to be encoded, in the collection as published; 0 for none.
        tokens: of a passage, on average, as far as it is read.
        not_run: why nobody can run it with this project, if so.
        others: what was published for other systems, which are not run here: name → value of the first measure.
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
        """The tolerance of one measure, or why there is none."""
        return self.tolerance.get(measure) if isinstance(self.tolerance, Mapping) else self.tolerance


@dataclass(frozen=True)
class Experiment:
    """A table: ``make reproduce T=<name>``.

    Args:
        name: of its file. title, claim: what it is and what it is to show. source: of all values, unless a row differs.
        data: what it reads, and how much of it there is.
        parameters: of the encoder without its embeddings, for what its runs cost.
        rows: in the order of the table.
        notes: sentences for below it.

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
        """From ``experiments/paper/<name>.yaml``.

        Raises:
            InputError: there is no such file, or it does not hold what an experiment needs.
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
    """The file of a table."""
    return EXPERIMENTS / GROUP / f"{name}.yaml"


def names() -> list[str]:
    """All tables, by the names of their files."""
    return sorted(path.stem for path in (EXPERIMENTS / GROUP).glob("*.yaml"))


def parsed(name: str, table: Mapping[str, Any]) -> Experiment:
    """An experiment from its file's content; values of the table hold for all rows that do not say otherwise.

    Raises:
        InputError: a key is unknown or missing, or a published value is no number.
    """
    table = dict(table)
    settings = table.pop("settings", {})
    common = {key: table.pop(key) for key in ("tolerance", "passages", "tokens", "of") if key in table}
    rows = [
        row_of(point, f"row {number}")
        for number, row in enumerate(table.pop("rows"), start=1)
        for point in points({**common, **under(settings, row)})
    ]
    checked(Experiment, {"name": name, "rows": rows, **table}, "reproduce")
    if len({row.row for row in rows}) < len(rows):
        twice = next(row.row for row in rows if sum(row.row == other.row for other in rows) > 1)
        raise InputError(f"two rows are called {twice!r}.")
    return Experiment(name=name, rows=rows, **table)


def under(settings: Mapping[str, Sequence[str]], row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the overrides of the table's ``settings`` that it names (``under``) before its own."""
    row = dict(row)
    if (name := row.pop("under", None)) is None:
        return row
    if name not in settings:
        raise InputError(f"{row.get('row')}: the table has no settings {name!r}{suggestion(name, list(settings))}")
    return {**row, "with": [*settings[name], *row.get("with", [])]}


def points(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each point of its ``grid`` (override → values), named by what it sets; without one the row itself.

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
    """One row; see ``parsed``."""
    values = {{"with": "overrides"}.get(key, key): value for key, value in content.items()}
    checked(Row, values, place)
    for kind in ("published", "others"):
        if wrong := {key: one for key, one in values.get(kind, {}).items() if not isinstance(one, NUMBER)}:
            raise InputError(f"{place}: {kind} holds {wrong}; expected numbers, or null where there is none.")
    if not values["published"]:
        raise InputError(f"{place}: published is empty; name the measures, with null where no value was published.")
    return Row(**values)


def checked(kind: type, values: Mapping[str, Any], place: str) -> None:
    """Refuse keys that ``kind`` does not know, and the lack of those that it needs."""
    known = {one.name: one for one in fields(kind)}
    for key in values:
        if key not in known:
            raise InputError(f"{place}: unknown key {key!r}{suggestion(key, list(known))}")
    for key, one in known.items():
        if one.default is MISSING and one.default_factory is MISSING and key not in values:
            raise InputError(f"{place}: {key} is missing.")


def results(name: str) -> Path:
    """Where the measured table of an experiment stands, without ending."""
    return EXPERIMENTS / "results" / GROUP / name


@dataclass(frozen=True)
class EncodingCost:
    """The cost of encoding ``passages`` of ``tokens`` each with ``parameters`` weights, embeddings not counted.

    >>> str(EncodingCost(passages=8_841_823, tokens=68, parameters=85e6))
    'about 0.7 GPU hours and 176 GB of disk'
    """

    passages: int
    tokens: int
    parameters: float

    @property
    def flops(self) -> float:
        """Operations: two per parameter and token."""
        return 2 * self.parameters * self.passages * self.tokens

    @property
    def gpu_hours(self) -> float:
        """Hours on one GPU."""
        return self.flops / GPU_RATE / 3600

    @property
    def bytes(self) -> float:
        """Bytes of disk: the vectors, and an index of them."""
        return float(self.passages * self.tokens * STORED)

    def __str__(self) -> str:
        if not self.passages:
            return "nothing to encode"
        return f"about {self.gpu_hours:.1f} GPU hours and {self.bytes / 1e9:,.0f} GB of disk"

    def too_much(self, runtime: Runtime, hours: float) -> str:
        """Why this machine can't do it within ``hours`` or on its disk; an empty string if it can."""
        on_gpu = runtime.device_type == "cuda"
        speed = GPU_RATE if on_gpu else CPU_SHARE * products_per_second(runtime.threads or num_cores())
        needed, free = self.flops / (speed * runtime.devices) / 3600, free_disk(runtime.root)
        if needed > hours:
            return f"{needed:,.0f} hours on this machine, {hours:g} allowed; elsewhere {self}"
        if self.bytes > free:
            return f"{free / 1e9:,.0f} GB of disk are free; it takes {self}"
        return ""
