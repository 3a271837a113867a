"""Which codecs and engines of ours the benchmarks of search measure: the one place to change them."""

from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.search.cascade import Cascade

CLUSTERING = {"kmeans_iterations": 4, "max_points_per_centroid": 50, "group_search_radius": 0.7, "centroid_bits": 8}
FULL = {"kmeans_iterations": 4}  # every sampled vector, compared with every centroid

CODECS = {
    "quantile 2 bits": lambda: ResidualCodec(2, **CLUSTERING),
    "lloyd 2 bits": lambda: ResidualCodec(2, buckets="lloyd", **CLUSTERING),
    "lloyd 2 bits, full k-means": lambda: ResidualCodec(2, buckets="lloyd", **FULL),
    "lloyd 4 bits": lambda: ResidualCodec(4, buckets="lloyd", **CLUSTERING),
    "product 1 bit": lambda: ProductCodec(1, **CLUSTERING),
    "product 2 bits": lambda: ProductCodec(2, **CLUSTERING),
    "product 4 bits": lambda: ProductCodec(4, **CLUSTERING),
}
# With many centroids most of the time goes into assignment: half of it at a squared error that is 1 % greater.
# Memory is what k-means draws: 65,536 centroids, 25 vectors each, are 0.8 GiB, and that a few times over.
GROWTH_CODECS = {
    "product 2 bits, of growing collections": lambda: ProductCodec(
        2, **CLUSTERING | {"group_search_radius": 0.5, "max_points_per_centroid": 25}
    )
}

ENGINES = {
    "search": {
        **{f"ndocs {ndocs}": Cascade(ndocs=ndocs) for ndocs in (100, 300, 1000)},
        "exact": Cascade(ndocs=None, nexact=None),
    },
    # Of growing effort: the cheapest that reaches the recall asked for counts at each size.
    "growth": {
        f"nprobe {nprobe}, ndocs {ndocs}": Cascade(nprobe=nprobe, ndocs=ndocs)
        for nprobe in (1, 2, 4, 8)
        for ndocs in (300, 1000, 3000)
    }
    | {f"ndocs {ndocs}": Cascade(ndocs=ndocs) for ndocs in (300, 1000, 3000)},
}
