"""``python -m colbertv2.reproduce <table>|all [scale=small] [row=<pattern>] [hours=4] [overrides…]``.

Published values beside measured ones. Tables are the files of ``experiments/paper/``. Each row is run if its data,
weights and hardware are here; the rest of the command line goes to every row as it would to ``python -m colbertv2``.
Whole runs are written to ``experiments/results/paper/``, small ones and parts to ``outputs/reproduce/``: table, CSV and
manifest.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from fnmatch import fnmatch
from pathlib import Path

from colbertv2.artifacts.artifact import code_state
from colbertv2.artifacts.machine import device_name
from colbertv2.command_line import run
from colbertv2.configuration import compose, runtime_of
from colbertv2.errors import InputError
from colbertv2.reproduction.experiment import Experiment, names, results
from colbertv2.reproduction.measure import Measurement, measure
from colbertv2.reproduction.verdict import comparison, summary, to_markdown

OPTIONS = {"scale": "full", "row": "*", "hours": "4"}
SCALES = ("full", "small")


def main(arguments: Sequence[str]) -> None:
    """Run the tables, print and write each as it is done; exit code 1 if a row failed.

    Raises:
        InputError: an option or a name is wrong.
    """
    asked, options, overrides = read(arguments)
    tables = [Experiment.read(name) for name in asked]  # all of them, before any work
    failed = [f"{table.name}: {row}" for table in tables for row in reproduce(table, options, overrides)]
    if failed:
        print("\nfailed:\n" + "\n".join(failed), file=sys.stderr)
        raise SystemExit(1)


def read(arguments: Sequence[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Names of tables, options, and overrides for every row.

    >>> read(["beir", "scale=small", "codec.bits=1"])
    (['beir'], {'scale': 'small', 'row': '*', 'hours': '4'}, ['codec.bits=1'])
    """
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
    told = [word for word in overrides if not word.startswith("runtime.")]  # which moves no result
    command = shlex.join(["python", "-m", "colbertv2.reproduce", table.name, *chosen, *told])
    whole = scale == "full" and len(rows) == len(table.rows)
    place = results(table.name) if whole else Path("outputs") / "reproduce" / table.name
    place.parent.mkdir(parents=True, exist_ok=True)
    text = to_markdown(table, compared, command, scale)
    place.with_suffix(".md").write_text(text, encoding="utf-8")
    compared.to_csv(place.with_suffix(".csv"), index=False, lineterminator="\n", float_format="%.6g")
    place.with_suffix(".json").write_text(json.dumps(manifest(command, found), indent=1) + "\n", encoding="utf-8")
    print(f"\n{text}\n{summary(compared['verdict'].tolist())}: {place}.md")
    return [f"{row}: {one.reason}" for row, one in found.items() if one.failed]


def manifest(command: str, found: dict[str, Measurement]) -> dict:
    """Of a whole table: the code, the machine, and each row's own."""
    return {
        "command": command,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **code_state(),
        "machine": device_name(runtime_of(compose())),
        "rows": {row: one.manifest or {"not run": one.reason} for row, one in found.items()},
    }


if __name__ == "__main__":
    run(main)
