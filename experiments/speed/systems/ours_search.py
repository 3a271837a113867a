"""Build and search with this project. Arguments: the working directory, the results, codec, bits, build or search."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from measure import peak_memory, size_of, write_points

from colbertv2.compression import ProductCodec, ResidualCodec
from colbertv2.retrieval import Cascade, Embeddings, Exhaustive, Index

K = 100


def main(work: Path, out: Path, kind: str, bits: int, what: str) -> None:
    """Without ``build`` first there is nothing to ``search``; two processes, so that their memory is told apart."""
    torch.set_num_threads(1)
    index_path = work / f"ours-{kind}-{bits}"
    if what == "build":
        knobs = {"kmeans_iterations": 4, "max_points_per_centroid": 25}
        if kind == "product":
            codec = ProductCodec(bits, **knobs)
            codec.see_queries(np.concatenate(np.load(work / "train_queries.npy")))
        else:
            codec = ResidualCodec(bits, buckets=kind, **knobs)
        begun = time.process_time()
        Index.build(
            Embeddings.open(Path((work / "embeddings.txt").read_text())), codec, index_path,
            seed=1, sample_documents=None, device="cpu", bar=lambda items, *_: items,
        )  # fmt: skip
        out.write_text(json.dumps({"build_seconds": time.process_time() - begun, "build_mib": peak_memory()}))
        return
    index = Index.open(index_path)
    queries = np.load(work / "queries.npy")
    engines = {f"ndocs {ndocs}": Cascade(ndocs=ndocs) for ndocs in (100, 200, 300, 500, 1000, 2000)}
    engines["all"] = Cascade(ndocs=None, nexact=None)
    settings = [(name, lambda query, e=engine: e.search_one(index, query, K)[0]) for name, engine in engines.items()]
    if (kind, bits) == ("product", 2):
        settings.append(("Exhaustive", lambda query: Exhaustive().search(index, [query], K)[0][0]))
    common = {"bytes_per_token": size_of(index_path) / index.num_vectors, "codec_bytes": index.codec.bytes_per_vector}
    write_points(out, queries, settings, **common)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
