"""``python -m colbertv2 reproduce <table>|all [scale=small] [row=<pattern>] [hours=4] [overrides…]``.

Published values beside measured ones. Tables are the files of ``experiments/paper/``. Each row is run if its data,
weights and hardware are here; the rest of the command line goes to every row as it would to ``python -m colbertv2``.
In a checkout, whole runs of the tables as they stand are written to ``experiments/results/paper/`` (what was measured
there and can't be run here stays). All others go to ``outputs/reproduce/`` in the current
directory: table, CSV and manifest.
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
    """Run the tables, print and write each as it is done; exit code 1 if a row failed.

    Raises:
        InputError: an option or a name is wrong.
    """
    from colbertv2.reproduction.experiment import Experiment

    asked, options, overrides = read(arguments)
    tables = [Experiment.read(name) for name in asked]  # all of them, before any work
    failed = [f"{table.name}: {row}" for table in tables for row in reproduce(table, options, overrides)]
    if failed:
        print("\nfailed:\n" + "\n".join(failed), file=sys.stderr)
        raise SystemExit(1)


def read(arguments: Sequence[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Names of tables, options, and overrides for every row.

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
    """Run the rows of one table and write what came of them; what failed."""
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
    """What was measured elsewhere stays where this machine could not run it, value and manifest."""
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
