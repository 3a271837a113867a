"""Build and search with tachiom. Arguments: the working directory, the results, build or search."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import tachiom
from measure import peak_memory, size_of, write_points

K = 100


def main(work: Path, out: Path, what: str) -> None:
    """Its defaults, and more or fewer centroids and documents around them."""
    path = work / "tachiom.bin"
    if what == "build":
        begun = time.process_time()
        index = tachiom.Tachiom.build(*(str(work / f"{name}.npy") for name in ("vectors", "tokens", "lengths")))
        out.write_text(json.dumps({"build_seconds": time.process_time() - begun, "build_mib": peak_memory()}))
        index.save(str(path))
        return
    index = tachiom.Tachiom.load(str(path))
    knobs = {
        "fast": {"k_centroids": 5, "k_docs_to_score": 150, "ef_search": 15},
        "default": {},
        "thorough": {"k_centroids": 60, "k_docs_to_score": 1500, "ef_search": 90},
        "default, alpha none": {"alpha": None},
    }
    settings = [(name, lambda query, own=own: index.search(query, K, **own)[1]) for name, own in knobs.items()]
    write_points(out, np.load(work / "queries.npy"), settings, bytes_per_token=size_of(path) / index.n_tokens)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
