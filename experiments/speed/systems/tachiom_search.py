"""Build and search with tachiom: with its defaults, with a faster and with a more thorough setting."""

import sys
from pathlib import Path

import tachiom
from measure import THREADS, K, Setting, run

work = Path(sys.argv[1])
path = work / "tachiom.bin"
PRESETS = {
    "fast": {"k_centroids": 5, "k_docs_to_score": 150, "ef_search": 15},
    "default": {},
    "thorough": {"k_centroids": 60, "k_docs_to_score": 1500, "ef_search": 90},
}


def build():
    """Build from files, which tachiom reads itself."""
    files = [str(work / f"{name}.npy") for name in ("vectors", "tokens", "lengths")]
    tachiom.Tachiom.build(*files).save(str(path))


def settings():
    """One setting per preset."""
    index = tachiom.Tachiom.load(str(path))

    def setting(name, knobs):
        def many(queries):
            tokens = queries.reshape(-1, queries.shape[-1])
            return index.batch_search(tokens, len(queries), K, num_threads=THREADS, **knobs)[1]

        return Setting(name, lambda query: index.search(query, K, **knobs)[1], many)

    return [setting(name, knobs) for name, knobs in PRESETS.items()]


run(["tachiom", "numpy"], path, build, settings)
