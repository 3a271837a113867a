"""Build indexes from token vectors with xtr-warp-rs, or open them, and search them.

Arguments: vectors (.npz with documents, lengths, queries), a JSON list of bits, each with search settings by name, the
directory of the indexes, the output (.npz), ``build`` or ``search``. Without ``build`` similarities are in 8 bits, as
they are by default.
"""

import json
import os
import sys

source, wanted, directory, out, task = sys.argv[1:]
if task == "build":
    os.environ["XTR_WARP_INT8"] = "0"  # read when the library searches first

import numpy as np  # noqa: E402
import torch  # noqa: E402
from xtr_warp import XTRWarp  # noqa: E402

given = np.load(source)
documents = [torch.from_numpy(one) for one in np.split(given["documents"], np.cumsum(given["lengths"])[:-1])]
queries = torch.from_numpy(given["queries"])
found = {}
for nbits, settings in json.loads(wanted):
    path = f"{directory}/{nbits}"
    if task == "build":
        XTRWarp(path).create(documents, device="cpu", nbits=nbits, seed=0, show_progress=False)
    index = XTRWarp(path).load(device="cpu")
    num_centroids = len(np.load(f"{path}/centroids.npy"))
    for name, chosen in settings.items():
        # "all" is this number, which is known only now
        chosen = {key: num_centroids if value == "all" else value for key, value in chosen.items()}
        results = index.search(queries, top_k=100, show_progress=False, **chosen)
        for place, result in enumerate(results):
            found[f"{nbits}.{name}.{place}.order"] = np.array([document for document, _ in result])
            found[f"{nbits}.{name}.{place}.scores"] = np.array([score for _, score in result])
np.savez(out, **found)
