"""Stage: find the centroids of a collection's vectors, and the centroid of every vector (ColBERTv2 §3.3)."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.stage import stage
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.runtime import Runtime
from colbertv2.schema import Seed


@stage(version=3, divided=True, prepares=True, provides=["centroids"])
def run(embeddings: Artifact, clustering: Clustering, *, seed: Seed, out: Path, runtime: Runtime) -> None:
    """Cluster a sample, and then assign every vector to its centroid, in parts.

    Both are independent of how residuals are compressed, so a sweep over codecs and bits does them once.

    Writes the files that ``Clusters.load`` reads, and ``codes.npy``: the centroid of every vector.

    Args:
        embeddings: the vectors to cluster.
        clustering: how the sample is drawn and clustered.
        seed: the seed of the sample and of k-means.
    """
    from colbertv2.indexing import building
    from colbertv2.indexing.codes import CODES

    vectors = Embeddings.open(embeddings.path)

    def learn() -> None:
        building.check(vectors, None, runtime.bar)
        building.cluster(clustering, vectors, seed=seed, device=runtime.torch_device).save(out)

    runtime.once(out, learn)
    building.assign_all(vectors, out, out / CODES, runtime.bar, partial(runtime.divide, out=out))


def lacks(**_: object) -> Iterator[str]:
    """Say if faiss is not installed; also the search by groups of centroids finds these groups with it."""
    from colbertv2.compression.clustering.kmeans import missing_package

    if missing := missing_package():
        yield missing
