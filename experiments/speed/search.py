"""Compare our engines with other engines: the same vectors, equal threads, and separate processes.

``python -m experiments.speed.search [--peers a,b] [--codecs a,b] [--again build|search]``, or ``make speed``: BEIR
SciFact, encoded by the untrained all-MiniLM-L6-v2 with 128 dimensions; the 300 test claims with 32 vectors each; k=100.
Each system builds with one thread and searches with one and with two threads, each in a process of its own. Measured
values are kept in outputs/speed/search/results, so that an interrupted run can be continued; ``--again`` measures them
again. The product codec learns from training claims; no codec sees test claims. Writes
experiments/results/speed_search.md, .csv and .png.
"""

import argparse
import datetime
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.agree.environments import ROOT, Ours, Peer
from experiments.speed.search_inputs import prepare
from experiments.speed.search_report import Judge, write
from experiments.speed.settings import CODECS

SYSTEMS = Path(__file__).parent / "systems"
WORK = ROOT / "outputs" / "speed" / "search"


class System(NamedTuple):
    """A system that builds an index and searches it.

    Args:
        name: its name in the tables.
        python: its Python environment.
        script: its script in ``systems/``.
        arguments: further arguments of the script.
        threads: the numbers of threads to search with, one after the other.
    """

    name: str
    python: Peer
    script: str
    arguments: tuple[str, ...] = ()
    threads: tuple[int, ...] = (1, 2)


PEERS = {
    "colbert-ai": System("colbert-ai", Peer("colbert-ai"), "colbert_ai_search"),
    "fast-plaid": System("fast-plaid", Peer("torch-2.11"), "fast_plaid_search", threads=(1,)),  # a second per query
    "tachiom": System("tachiom", Peer("tachiom"), "tachiom_search"),
    "xtr-warp-rs": System("xtr-warp-rs", Peer("torch-2.11"), "xtr_warp_search"),
}
EXACT = System("exact MaxSim, fp32", Ours(), "exact_search")


def measured(system: System, work: Path, address: str, again: str | None = None) -> dict[str, Any]:
    """Return what was measured of a system; run it if there are no values yet.

    Args:
        system: the system to measure.
        work: the directory that ``prepare`` wrote.
        address: of the embeddings; values that were measured on other embeddings are not used.
        again: ``build`` to measure everything again, ``search`` to keep the index; None uses the values that are kept.

    Returns:
        what the build wrote, with ``points``: what the searches wrote.

    Raises:
        RuntimeError: the system can't be installed, or it failed.
    """
    results = work / "results"
    results.mkdir(exist_ok=True)

    def kept(task: str, threads: int, fresh: bool) -> dict[str, Any]:
        file = results / f"{system.name} {task} {threads}.json"
        if file.is_file() and not fresh:
            found = json.loads(file.read_text())
            if found["address"] == address:
                return found
        system.python.install()
        out = results / "running.json"
        script = SYSTEMS / f"{system.script}.py"
        print(f"{system.name}: {task} with {threads} thread{'s' * (threads > 1)}", flush=True)
        system.python.run(script, work, out, task, *system.arguments, threads=threads)
        found = {"address": address, "date": datetime.date.today().isoformat(), "commit": commit()}
        found["lines"] = [json.loads(line) for line in out.read_text().splitlines()]
        out.unlink()
        file.write_text(json.dumps(found))
        return found

    built = kept("build", 1, again == "build")
    searched = [kept("search", threads, again is not None) for threads in system.threads]
    return {
        "system": system.name,
        "dates": sorted({one["date"] for one in (built, *searched)}),
        "commits": sorted({one["commit"] for one in (built, *searched)}),
        **built["lines"][0],
        "points": [point for one in searched for point in one["lines"]],
    }


def commit() -> str:
    """The commit of this project, with a + if tracked files have changed since."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + "+" * bool(git("status", "--porcelain", "--untracked-files=no"))


def all_measured(systems: Sequence[System], work: Path, address: str, again: str | None) -> Iterator[dict[str, Any]]:
    """Measure every system; if one fails, yield its name and the reason."""
    for system in systems:
        try:
            yield measured(system, work, address, again)
        except (RuntimeError, OSError) as error:
            reason = [line for line in str(error).splitlines() if line.strip()][-1].strip()
            print(f"{system.name} was not measured: {error}", flush=True)
            yield {"system": system.name, "failed": reason}


def chosen(text: str | None, names: Sequence[str]) -> list[str]:
    """Split names at commas; None gives all names, an empty string none.

    >>> chosen("b", ["a", "b"]), chosen(None, ["a", "b"]), chosen("", ["a", "b"])
    (['b'], ['a', 'b'], [])
    """
    if text is None:
        return list(names)
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in names]:
        raise SystemExit(f"Unknown: {', '.join(unknown)}; expected some of {', '.join(names)}.")
    return wanted


def main() -> None:
    """Measure the chosen systems, and write the tables and the figure."""
    parser = argparse.ArgumentParser(description="Compare search with other engines.")
    parser.add_argument("--peers", help=f"some of {', '.join(PEERS)}; all if not given, none if empty")
    parser.add_argument("--codecs", help=f"some of {', '.join(CODECS)}; all if not given")
    parser.add_argument("--again", choices=["build", "search"], help="measure everything again, or the search only")
    arguments = parser.parse_args()
    peers = [PEERS[name] for name in chosen(arguments.peers, list(PEERS))]
    ours = [
        System(f"ours, {name}", Ours(), "ours_search", (name, "search"))
        for name in chosen(arguments.codecs, list(CODECS))
    ]
    address = prepare(WORK)
    results = list(all_measured([EXACT, *ours, *peers], WORK, address, arguments.again))
    write(results, Judge.of(WORK), ROOT / "experiments" / "results")


if __name__ == "__main__":
    main()
