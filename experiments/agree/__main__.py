"""``make agree``: compare this project with other systems, and write results/agree.md.

``python -m experiments.agree [part …]`` runs only these parts, and replaces only their rows. The exit code is 1 if a
difference is larger than its tolerance. Working files are under outputs/agree/.
"""

import importlib
import sys

from experiments.agree.environments import COLBERT_AI, PYLATE, ROOT, SENTENCE_TRANSFORMERS, XTR_WARP, Peer, Peers
from experiments.agree.report import Row, read, write

PARTS = ["checkpoints", "encoding", "codec", "indexes", "plaid", "warp", "losses", "training_files", "metrics"]
RESULTS = ROOT / "experiments" / "results"


def main(parts: list[str]) -> int:
    """Run ``parts``, or all without any, and write their rows. Returns the number of these that disagree."""
    for unknown in set(parts) - set(PARTS):
        raise SystemExit(f"Unknown part {unknown!r}; expected some of: {' '.join(PARTS)}.")
    peers = Peers(Peer(COLBERT_AI), Peer(PYLATE), Peer(SENTENCE_TRANSFORMERS), Peer(XTR_WARP))
    rows: list[Row] = []
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
    kept = [row for row in read(RESULTS) if parts and row.part not in parts]
    write(sorted(kept + rows, key=lambda row: PARTS.index(row.part)), RESULTS)
    return sum(not row.agrees for row in rows)


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
