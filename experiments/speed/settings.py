"""Which codecs and engines of ours the benchmarks of search measure: the one place to change them."""

from colbertv2.compression import ProductCodec, ResidualCodec
from colbertv2.retrieval import Cascade, Exhaustive

CLUSTERING = {"kmeans_iterations": 4, "max_points_per_centroid": 25}

CODECS = {
    "quantile 2 bits": lambda: ResidualCodec(2, **CLUSTERING),
    "lloyd 2 bits": lambda: ResidualCodec(2, buckets="lloyd", **CLUSTERING),
    "lloyd 4 bits": lambda: ResidualCodec(4, buckets="lloyd", **CLUSTERING),
    "product 1 bit": lambda: ProductCodec(1, **CLUSTERING),
    "product 2 bits": lambda: ProductCodec(2, **CLUSTERING),
    "product 4 bits": lambda: ProductCodec(4, **CLUSTERING),
}

ENGINES = {
    "search": {
        **{f"ndocs {ndocs}": Cascade(ndocs=ndocs) for ndocs in (100, 200, 300, 500, 1000, 2000)},
        "all": Cascade(ndocs=None, nexact=None),
        "exhaustive": Exhaustive(),
    },
    # Of growing effort: the cheapest that reaches the recall asked for counts at each size.
    "growth": {f"ndocs {ndocs}": Cascade(ndocs=ndocs) for ndocs in (100, 300, 1000, 3000, 10_000, 30_000)},
}
GROWTH_CODEC = "product 2 bits"
