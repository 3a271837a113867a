"""``make agree``: compare this project with other systems, and write results/agree.md.

``python -m experiments.agree [part …]`` runs only these parts and prints their rows, without writing the table. The
exit code is 1 if a difference is larger than its tolerance. Working files are under outputs/agree/.
"""

import importlib
import sys
import time
from datetime import date

from experiments.agree.environments import COLBERT_AI, PYLATE, ROOT, SENTENCE_TRANSFORMERS, Peer, Peers
from experiments.agree.report import Row, write
from experiments.speed.machine import described

PARTS = ["checkpoints", "encoding", "codec", "indexes", "plaid", "losses", "training_files", "metrics"]


def main(parts: list[str]) -> int:
    """Run ``parts``; without any, run all and write the table. Returns the number of rows that disagree."""
    for unknown in set(parts) - set(PARTS):
        raise SystemExit(f"Unknown part {unknown!r}; expected some of: {' '.join(PARTS)}.")
    peers = Peers(Peer(COLBERT_AI), Peer(PYLATE), Peer(SENTENCE_TRANSFORMERS))
    for peer in peers:
        peer.install()
    rows: list[Row] = []
    begun = time.time()
    for part in parts or PARTS:
        work = ROOT / "outputs" / "agree" / part
        work.mkdir(parents=True, exist_ok=True)
        for row in importlib.import_module(f"experiments.agree.{part}").run(work, peers):
            rows.append(row)
            verdict = "agrees" if row.agrees else "DISAGREES"
            print(
                f"{verdict:9} {row.part}, {row.peer}: {row.what}: {row.difference:.3g} (≤ {row.tolerance:g})",
                flush=True,
            )
    if not parts:
        minutes = (time.time() - begun) / 60
        heading = (
            "# Agreement with the other implementations\n\n"
            f"Measured by `make agree` on {date.today()}, in {minutes:.0f} minutes. {described()} Each difference is "
            "the largest of all that was compared; a tolerance of 0 means that both must be identical."
        )
        write(rows, ROOT / "experiments" / "results", heading)
    return sum(not row.agrees for row in rows)


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
