"""``python -m colbertv2 reproduce <table>|all [scale=small] [row=<pattern>] [hours=4] [overrides…]``.

Run tables of the papers, and show published values next to measured ones. The tables are the files of
``experiments/paper/``. A row is run if its data, weights and hardware are available. Overrides are applied to every row
as in ``python -m colbertv2``. Each table is written as Markdown and CSV, with a manifest in JSON. In a checkout, a
complete and unchanged table goes to ``experiments/results/paper/``, where rows that can't be run on this machine keep
the values that were measured elsewhere. Everything else goes to ``outputs/reproduce/`` in the current directory.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from colbertv2.artifacts.artifact import code_state
from colbertv2.errors import InputError
from colbertv2.files import in_checkout, read_json, write_atomically, write_json

if TYPE_CHECKING:
    import pandas as pd

    from colbertv2.reproduction.experiment import Experiment
    from colbertv2.reproduction.measure import Measurement

OPTIONS = {"scale": "full", "row": "*", "hours": "4"}
SCALES = ("full", "small")


def main(arguments: Sequence[str]) -> None:
    """Run the tables, and print and write each when it is finished; exit code 1 if a row failed.

    Raises:
        InputError: an option or a name is wrong.
    """
    from colbertv2.reproduction.experiment import Experiment

    asked, options, overrides = read(arguments)
    tables = [Experiment.read(name) for name in asked]  # read all before any work, so that errors come first
    failed = [f"{table.name}: {row}" for table in tables for row in reproduce(table, options, overrides)]
    if failed:
        print("\nfailed:\n" + "\n".join(failed), file=sys.stderr)
        raise SystemExit(1)


def read(arguments: Sequence[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Split the command line into names of tables, options by name, and overrides for every row.

    Raises:
        InputError: an option is wrong, or no table is named.

    >>> read(["beir", "scale=small", "codec.nbits=1"])
    (['beir'], {'scale': 'small', 'row': '*', 'hours': '4'}, ['codec.nbits=1'])
    """
    from colbertv2.reproduction.experiment import names

    given = dict(word.split("=", 1) for word in arguments if word.partition("=")[0] in OPTIONS and "=" in word)
    options = {**OPTIONS, **given}
    asked = [word for word in arguments if "=" not in word and not word.startswith("~")]
    overrides = [word for word in arguments if word not in asked and word.partition("=")[0] not in OPTIONS]
    if options["scale"] not in SCALES:
        raise InputError(f"scale is {options['scale']!r}; expected one of {', '.join(SCALES)}.")
    try:
        float(options["hours"])
    except ValueError:
        raise InputError(f"hours is {options['hours']!r}; expected a number.") from None
    if not asked:
        raise InputError(f"Name a table, or all. Tables: {', '.join(names())}.")
    return names() if asked == ["all"] else asked, options, overrides


def reproduce(table: Experiment, options: dict[str, str], overrides: Sequence[str]) -> list[str]:
    """Run the rows of one table and write the results.

    Args:
        table: the table to run.
        options: ``scale``, ``row`` (a pattern of row names) and ``hours``, as text.
        overrides: applied to every row.

    Returns:
        One line for each failure.

    Raises:
        InputError: no row matches ``row``.
    """
    from colbertv2.reproduction.experiment import results
    from colbertv2.reproduction.measure import measure, portable
    from colbertv2.reproduction.verdict import FAILED, comparison, summary, to_markdown

    rows = [row for row in table.rows if fnmatch(row.row, options["row"])]
    if not rows:
        known = ", ".join(row.row for row in table.rows)
        raise InputError(f"No row of {table.name} is called {options['row']!r}; its rows: {known}.")
    scale, hours = options["scale"], float(options["hours"])
    found: dict[str, Measurement] = {}
    for row in rows:
        print(f"\n{table.name}: {row.row}", flush=True)
        found[row.row] = measure(table, row, overrides, scale, hours)
        if found[row.row].reason:
            print(found[row.row].reason, flush=True)
    compared = comparison(table, found)
    chosen = [f"{key}={value}" for key, value in options.items() if value != OPTIONS[key]]
    command = shlex.join(["python", "-m", "colbertv2", "reproduce", table.name, *chosen, *portable(overrides)])
    whole = scale == "full" and len(rows) == len(table.rows) and not any(one.changed for one in found.values())
    published = whole and in_checkout()
    place = results(table.name) if published else Path("outputs") / "reproduce" / table.name
    manifests = {name: one.manifest or {"not run": one.reason} for name, one in found.items()}
    if published:
        compared, manifests = with_earlier(place, compared, manifests)
    text = to_markdown(table, compared, command, scale)
    record = {"command": command, "created": datetime.now(timezone.utc).isoformat(timespec="seconds"), **code_state()}
    write_json(place.with_suffix(".json"), {**record, "rows": manifests}, indent=1)
    write_atomically(place.with_suffix(".csv"), compared.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
    write_atomically(place.with_suffix(".md"), text)
    print(f"\n{text}\n{summary(compared['verdict'].tolist())}: {place}.md")
    failed = compared.loc[compared["verdict"].str.startswith(FAILED)]
    return [f"{line['row']}: {line['verdict']}" for line in failed.to_dict("records")]


def with_earlier(place: Path, compared: pd.DataFrame, manifests: dict) -> tuple[pd.DataFrame, dict]:
    """Keep values and manifests that were measured elsewhere for rows that could not be run on this machine.

    Args:
        place: path of the earlier results, without suffix.
        compared: the new comparison, one line per row and measure.
        manifests: the new manifests, by row.

    Returns:
        ``compared`` and ``manifests``, with the earlier results filled in.
    """
    import pandas as pd

    from colbertv2.reproduction.verdict import NOT_RUN

    if not (place.with_suffix(".csv").is_file() and place.with_suffix(".json").is_file()):
        return compared, manifests
    before = pd.read_csv(place.with_suffix(".csv")).set_index(["row", "measure"])
    earlier = read_json(place.with_suffix(".json"))["rows"]
    lines = []
    for line in compared.to_dict("records"):
        key = line["row"], line["measure"]
        if line["verdict"].startswith(NOT_RUN) and key in before.index and pd.notna(before.loc[key, "measured"]):
            line |= before.loc[key, ["measured", "difference", "verdict"]].to_dict()
            manifests = {**manifests, line["row"]: earlier[line["row"]]}
        lines.append(line)
    return pd.DataFrame(lines, columns=compared.columns).astype(compared.dtypes.to_dict()), manifests
