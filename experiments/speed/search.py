"""Search side by side: ours and other engines on the same vectors, with equal threads, each in processes of its own.

``python -m experiments.speed.search [--peers a,b] [--codecs a,b] [--again build|search]``, or ``make speed``: BEIR
SciFact by all-MiniLM-L6-v2 untrained, 128 dimensions, the 300 test claims as 32 vectors each, k=100. A system builds
with one thread, then searches with one and with two, in a process for each. What was measured is kept in
outputs/speed/search/results, so that a run goes on where another ended; ``--again`` measures anew. The product codec
sees training claims, no codec those of the test. Writes experiments/results/speed_search.md, .csv and .png.
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
    """Something that builds and searches: its name, its Python, its script in ``systems/`` and what that needs.

    ``threads`` are those that it searches with, one after the other.
    """

    name: str
    python: Peer
    script: str
    arguments: tuple[str, ...] = ()
    threads: tuple[int, ...] = (1, 2)


PEERS = {
    "colbert-ai": System("colbert-ai", Peer("colbert-ai"), "colbert_ai_search"),
    "fast-plaid": System("fast-plaid", Peer("torch-2.11"), "fast_plaid_search", threads=(1,)),  # a second a query
    "tachiom": System("tachiom", Peer("tachiom"), "tachiom_search"),
    "xtr-warp-rs": System("xtr-warp-rs", Peer("torch-2.11"), "xtr_warp_search"),
}
EXACT = System("exact MaxSim, fp32", Ours(), "exact_search")


def measured(system: System, work: Path, address: str, again: str | None = None) -> dict[str, Any]:
    """What a system measured of itself: kept from before, or by running it.

    Args:
        work: as ``prepare`` left it. address: of the embeddings; what was measured on others does not count.
        again: ``build`` to do everything anew, ``search`` to keep the index.

    Returns:
        what the build wrote, with ``points``: what the searches wrote.

    Raises:
        RuntimeError: it can't be installed, or it failed.
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
    """Of this project, with a + if files that belong to it have changed since."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + "+" * bool(git("status", "--porcelain", "--untracked-files=no"))


def all_measured(systems: Sequence[System], work: Path, address: str, again: str | None) -> Iterator[dict[str, Any]]:
    """``measured`` of each; of one that fails its name and the reason."""
    for system in systems:
        try:
            yield measured(system, work, address, again)
        except (RuntimeError, OSError) as error:
            reason = [line for line in str(error).splitlines() if line.strip()][-1].strip()
            print(f"{system.name} is not measured: {error}", flush=True)
            yield {"system": system.name, "failed": reason}


def chosen(text: str | None, names: Sequence[str]) -> list[str]:
    """Names between commas; all where nothing is given, none for an empty string.

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
    """Measure what is chosen, and write the tables and the picture."""
    parser = argparse.ArgumentParser(description="Search side by side with other engines.")
    parser.add_argument("--peers", help=f"of {', '.join(PEERS)}; all if not given, none if empty")
    parser.add_argument("--codecs", help=f"of {', '.join(CODECS)}; all if not given")
    parser.add_argument("--again", choices=["build", "search"], help="measure anew, all or the search alone")
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
