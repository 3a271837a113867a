"""The stage that finds the centroids of a codec."""

import sys

import pytest
from omegaconf import OmegaConf
from support import no_bar, shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact
from colbertv2.commands.run import results
from colbertv2.compression.clustering.clustering import Clusters
from colbertv2.configuration.composition import build, compose, plan, target_node
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
    "overrides",
    [
        ["codec=residual"],
        ["codec=lloyd", "codec.nbits=1", "clustering=grouped"],
        ["codec=product", "codec.queries=null"],
        ["codec=fp16"],
        ["codec=binary"],
    ],
)
def test_an_index_by_stages_is_what_the_library_builds_at_once(small, tmp_path, overrides):
    artifact = index_of(small, *overrides)
    embeddings = Embeddings.open(artifact.parents["embeddings"].path)
    codec, clustering = artifact.component("codec"), None
    if "centroids" in artifact.parents:
        clustering = artifact.parents["centroids"].component("clustering")
    assert (clustering is None) == (codec.has_centroids is False)
    at_once = Index.build(embeddings, codec, tmp_path, seed=42, clustering=clustering, bar=no_bar)
    assert files(artifact.path) == files(tmp_path)
    assert Index.open(artifact.path).num_sampled_documents == at_once.num_sampled_documents


def test_all_codecs_share_centroids_and_two_processes_assign_as_one(small, tmp_path):
    two, *others = (
        index_of(small, *overrides).parents["centroids"]
        for overrides in (
            ["codec.nbits=2"],
            ["codec.nbits=1"],
            ["codec.nbits=4"],
            ["codec=lloyd"],
            ["codec=product"],
            ["codec=product", "codec.queries=null", "codec.nbits=1"],
        )
    )
    assert {one.address for one in others} == {two.address}
    apart = index_of(small, f"runtime.root={tmp_path}", "runtime.devices=2").parents["centroids"]
    assert files(apart.path) == files(two.path)


def test_a_codec_without_centroids_neither_clusters_nor_depends_on_it(small):
    def addresses(*overrides):
        return {step.stage: step.address for step in plan(compose([*small, *overrides]))}

    plain = addresses("codec=fp16")
    assert "centroids" not in plain
    assert plain == addresses("codec=fp16", "clustering=grouped", "kmeans_iterations=3")


@pytest.mark.parametrize("codec", ["residual", "product"])
@pytest.mark.parametrize("clustering", ["kmeans", "grouped"])
def test_a_shared_setting_reaches_every_codec_and_clustering(small, codec, clustering):
    """``kmeans_iterations`` once did not reach the product codec, whose file set another value."""
    chosen = [*small, f"codec={codec}", f"clustering={clustering}", "kmeans_iterations=3"]
    centroids = target_node(compose(chosen)).parents["centroids"]
    assert centroids.arguments["clustering"]["kmeans_iterations"] == 3


def test_a_run_ends_with_the_sizes_of_its_index(small):
    config = compose(small)
    node, artifact = target_node(config), build(config)
    found = results(node, artifact)
    assert [*found] == ["bytes_per_token", "bytes_per_document"]
    assert found["bytes_per_token"] == "8.0000"  # 16 dimensions at 2 bits, and 4 bytes for the centroid
    assert results(target_node(compose([*small, "target=embeddings"])), artifact.parents["embeddings"]) == {}


def test_centroids_of_other_vectors_are_refused(small):
    config = compose(small)
    OmegaConf.set_struct(config, False)
    embeddings = {"_target_": "colbertv2.stages.encode.run", "document_maxlen": 12, "precision": "32-true"}
    embeddings |= {"checkpoint": config.pipeline.embeddings.checkpoint, "documents": "${collection.documents}"}
    config.pipeline.other = embeddings
    config.pipeline.index.centroids.embeddings = "${pipeline.other}"
    with pytest.raises(InputError, match="other embeddings"):
        plan(config)


def test_a_codec_with_centroids_needs_them(small):
    with pytest.raises(InputError, match="ResidualCodec needs centroids"):
        plan(compose([*small, "pipeline.index.centroids=null"]))


def test_damaged_centroids_are_named(small, tmp_path):
    with pytest.raises(InputError, match="is missing"):
        Clusters.load(tmp_path)
    (tmp_path / "clusters.json").write_text("{}")
    with pytest.raises(InputError, match=r"held_out\.npy is missing"):
        Clusters.load(tmp_path)


def test_the_product_codec_learns_where_training_queries_look(small):
    seen = index_of(small, "codec=product", "codec.queries=${collection.train}")
    blind = index_of(small, "codec=product", "codec.queries=null")
    assert files(seen.path)["codec/transform.npy"] != files(blind.path)["codec/transform.npy"]
    assert files(seen.path)["codes.npy"] == files(blind.path)["codes.npy"]


@pytest.mark.parametrize("clustering", ["kmeans", "grouped"])
def test_without_faiss_nothing_is_begun_unless_there_are_centroids(small, tmp_path, monkeypatch, clustering):
    """An installed wheel has no faiss; the default pipeline would fail only after the training of round 1."""
    here = [*small, f"runtime.root={tmp_path}", "target=ranking"]
    chosen = compose([*here, f"clustering={clustering}"])
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        InputError, match=r"index\.centroids: k-means needs faiss.*colbertv2\[cpu\] or colbertv2\[gpu\]"
    ):
        build(chosen)
    assert not list(tmp_path.iterdir())
    assert build(compose([*here, "codec=fp16"])).stage == "search"
    monkeypatch.undo()
    built = build(chosen)
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert build(chosen).address == built.address  # what is finished needs no faiss
    assert build(compose([*here, f"clustering={clustering}", "depth=7"])).stage == "search"
    again = compose([*here, f"clustering={clustering}", "codec.nbits=1", "target=index"])  # of the same centroids
    if clustering == "kmeans":
        assert build(again).stage == "index"
    else:
        with pytest.raises(InputError, match=r"^pipeline\.index: k-means needs faiss"):
            build(again)
