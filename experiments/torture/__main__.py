"""``make torture``: kill, damage and misuse the complete pipeline, and count the outcomes.

``python -m experiments.torture [part …] [--seed 0] [--count N]`` runs some parts, without writing the table. Cases with
an outcome under outputs/torture/ are not run again, so an interrupted run can be continued. The exit code is 1 if any
case ended badly.
"""

import argparse
import re
import sys
from collections import Counter
from datetime import date

from colbertv2.reporting.rendering import markdown_rows
from experiments.agree.environments import ROOT
from experiments.speed.machine import described
from experiments.torture import kills, memory
from experiments.torture.campaign import BAD, GOOD, Outcome, run_part

PARTS = ["damage", "disks", "inputs", "kills"]


def main(arguments: list[str]) -> int:
    """Run the parts and write the table. Returns the number of cases that ended badly."""
    parser = argparse.ArgumentParser(prog="python -m experiments.torture", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all if none is given")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers of all cases")
    parser.add_argument("--count", type=int, help="cases per part; the part's own number if not given")
    given = parser.parse_args(arguments)
    outcomes = {
        name: run_part(name, ROOT / "outputs" / "torture" / name, given.seed, given.count)
        for name in given.parts or PARTS
    }
    table = table_of(outcomes)
    print("\n".join(table))
    if not given.parts and given.count is None:
        killed = sum(kills.number_of(outcome) for outcome in outcomes["kills"])
        heading = (
            f"# Torture\n\nMeasured by `make torture` (seed {given.seed}), finished on {date.today()}. {described()} "
            f"Numbers are cases, by outcome. A case of `kills` is a chain of runs; {killed} runs were killed. "
            "`unrecorded`: an exported directory has no record of its files, so the damage is not noticed and the "
            "result differs."
        )
        peaks = ["## Peak memory", "", *memory.table()]
        results = ROOT / "experiments" / "results" / "torture.md"
        results.write_text("\n".join([heading, "", *table, "", *peaks]) + "\n", encoding="utf-8")
    return sum(outcome.verdict in BAD for found in outcomes.values() for outcome in found)


def table_of(outcomes: dict[str, list[Outcome]]) -> list[str]:
    """Make the lines of a Markdown table: a row per part and kind, a column per verdict, and the sums."""
    # Bad inputs have a kind for each value at each group of keys; one row per value is enough.
    counts = Counter(
        (part, re.sub(r" at a key of [^,]*", "", one.kind), one.verdict)
        for part, found in outcomes.items()
        for one in found
    )
    kinds = sorted({(part, kind) for part, kind, _ in counts})
    header = ["part", "what was done", "cases", *GOOD, *BAD]
    body = [_row(part, kind, [counts[part, kind, verdict] for verdict in GOOD + BAD]) for part, kind in kinds]
    totals = Counter(one.verdict for found in outcomes.values() for one in found)
    body.append(_row("all", "", [totals[verdict] for verdict in GOOD + BAD]))
    return list(markdown_rows(header, body, left=(0, 1), padded=False))


def _row(part: str, kind: str, numbers: list[int]) -> list[str]:
    return [part, kind, str(sum(numbers)), *(str(number) if number else "" for number in numbers)]


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
