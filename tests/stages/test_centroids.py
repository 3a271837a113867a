"""The centroids of a codec as a stage of their own."""

import pytest
from omegaconf import OmegaConf
from support import no_bar, shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact
from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.clustering.clusters import Clusters
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.configuration.composition import build, compose, plan
from colbertv2.errors import InputError
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.index import Index


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("centroids")
    overrides = shrunk(tiny_folder(directory / "folder"), directory / "artifacts")
    return [*overrides, "runtime.device=cpu", "pipeline=untrained", "target=index"]


def files(path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*.npy")}


def index_of(small, *overrides) -> Artifact:
    return build(compose([*small, *overrides]))


@pytest.mark.parametrize(
    ("overrides", "codec"),
    [
        (["codec=residual"], ResidualCodec(2)),
        (["codec=lloyd", "codec.nbits=1", "codec.group_search_radius=0.7"], None),
        (["codec=product", "codec.queries=null"], None),
        (["codec=fp16"], Float16Codec()),
        (["codec=binary"], BinaryCodec()),
    ],
)
def test_an_index_by_stages_is_what_the_library_builds_at_once(small, tmp_path, overrides, codec):
    artifact = index_of(small, *overrides)
    embeddings = Embeddings.open(artifact.parents["embeddings"].path)
    at_once = Index.build(
        embeddings, codec or artifact.component("codec"), tmp_path, seed=42, sample_documents=None, device="cpu",
        bar=no_bar,
    )  # fmt: skip
    assert files(artifact.path) == files(tmp_path)
    assert Index.open(artifact.path).num_sampled_documents == at_once.num_sampled_documents


def test_bits_and_buckets_share_centroids_and_two_processes_assign_as_one(small, tmp_path):
    two, one, four, lloyd = (
        index_of(small, *overrides).parents["centroids"]
        for overrides in (["codec.nbits=2"], ["codec.nbits=1"], ["codec.nbits=4"], ["codec=lloyd"])
    )
    assert one.address == two.address == four.address == lloyd.address
    product = [
        index_of(small, "codec=product", "codec.queries=null", f"codec.nbits={bits}").parents["centroids"].address
        for bits in (1, 2)
    ]
    assert product[0] == product[1] != two.address
    apart = index_of(small, f"runtime.root={tmp_path}", "runtime.devices=2").parents["centroids"]
    assert files(apart.path) == files(two.path)


@pytest.mark.parametrize("queries", ["null", "${collection.train}"])
def test_what_the_codec_learns_from_moves_its_centroids(small, queries):
    def address(*overrides):
        steps = plan(compose([*small, "codec=product", f"codec.queries={queries}", *overrides]))
        return next(step.address for step in steps if step.stage == "centroids")

    assert address() == address("codec.nbits=4")
    moved = {address("codec.shrinkage=0.5"), address("codec.centroid_factor=0.5"), address("kmeans_seed=3"), address()}
    assert len(moved) == 4
    assert (address("codec.num_queries=5") != address()) == (queries != "null")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("codec.codec", "${mining.codec}", "another codec"),
        ("embeddings", "${pipeline.other}", "other embeddings"),
    ],
)
def test_centroids_of_other_vectors_or_another_codec_are_refused(small, key, value, expected):
    config = compose([*small, "mining.codec.kmeans_iterations=3"])
    OmegaConf.set_struct(config, False)
    config.pipeline.other = {**config.pipeline.embeddings, "document_maxlen": 12}
    OmegaConf.update(config, f"pipeline.index.centroids.{key}", value)
    with pytest.raises(InputError, match=expected):
        plan(config)


def test_damaged_centroids_are_named(small, tmp_path):
    with pytest.raises(InputError, match="damaged or missing"):
        Clusters.load(tmp_path)
    (tmp_path / "clusters.json").write_text("{}")
    with pytest.raises(InputError, match="damaged or missing"):
        Clusters.load(tmp_path)


def test_the_product_codec_learns_where_training_queries_look(small):
    seen = index_of(small, "codec=product", "codec.queries=${collection.train}").parents["centroids"]
    blind = index_of(small, "codec=product", "codec.queries=null").parents["centroids"]
    assert (
        Clusters.load(seen.path).query_second_moment is not None
        and Clusters.load(blind.path).query_second_moment is None
    )
    assert files(seen.path)["centroids.npy"] != files(blind.path)["centroids.npy"]
    assert ProductCodec(2).cluster_settings()["queries"] is None
