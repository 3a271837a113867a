"""The codecs and engines of this project that the search benchmarks measure."""

from dataclasses import replace

from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.search.cascade import Cascade

FAST = Clustering(kmeans_iterations=4, max_points_per_centroid=50, group_search_radius=0.7, centroid_bits=8)
FULL = Clustering(kmeans_iterations=4)  # every sampled vector, compared with every centroid

CODECS = {
    "quantile 2 bits": (FAST, lambda: ResidualCodec(2)),
    "lloyd 2 bits": (FAST, lambda: ResidualCodec(2, buckets="lloyd")),
    "lloyd 2 bits, full k-means": (FULL, lambda: ResidualCodec(2, buckets="lloyd")),
    "lloyd 4 bits": (FAST, lambda: ResidualCodec(4, buckets="lloyd")),
    "product 1 bit": (FAST, lambda: ProductCodec(1)),
    "product 2 bits": (FAST, lambda: ProductCodec(2)),
    "product 4 bits": (FAST, lambda: ProductCodec(4)),
}
# With many centroids, assignment takes most of the time; this radius halves it and increases the squared error by 1 %.
# Memory depends on the sample of k-means: 65,536 centroids with 25 vectors each take 0.8 GiB, several times over.
GROWTH_CODECS = {
    "product 2 bits, of growing collections": (
        replace(FAST, group_search_radius=0.5, max_points_per_centroid=25),
        lambda: ProductCodec(2),
    )
}

ENGINES = {
    "search": {
        **{f"ndocs {ndocs}": Cascade(ndocs=ndocs) for ndocs in (100, 300, 1000)},
        "exact": Cascade(ndocs=None),
    },
    # From fast to thorough: at each size, the fastest that reaches the required recall counts.
    "growth": {
        f"nprobe {nprobe}, ndocs {ndocs}": Cascade(nprobe=nprobe, ndocs=ndocs)
        for nprobe in (1, 2, 4, 8)
        for ndocs in (300, 1000, 3000)
    }
    | {f"ndocs {ndocs}": Cascade(ndocs=ndocs) for ndocs in (300, 1000, 3000)},
}
