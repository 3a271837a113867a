"""Stage: the centroids of a collection's vectors, and the centroid of every vector (ColBERTv2 §3.3)."""

from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.stage import stage
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.runtime import Runtime
from colbertv2.schema import Seed


@stage(version=3)
def run(embeddings: Artifact, clustering: Clustering, *, seed: Seed, out: Path, runtime: Runtime) -> None:
    """Cluster a sample, and assign every vector to its centroid in ``runtime.devices`` processes.

    Neither depends on what becomes of the residuals, so a sweep over codecs and their bits does both once.

    Writes what ``Clusters.load`` reads, and ``codes.npy``: the centroid of every vector.
    """
    from colbertv2.indexing import building
    from colbertv2.indexing.codes import CODES

    vectors = Embeddings.open(embeddings.path)
    building.check(vectors, None, runtime.bar)
    clusters = building.cluster(clustering, vectors, seed=seed, device=runtime.torch_device)
    clusters.save(out)
    assert clusters.centroids is not None
    devices = [runtime.device_of(rank) for rank in range(runtime.devices)]
    building.assign_all(vectors, clusters.centroids, out / CODES, runtime.bar, devices)
