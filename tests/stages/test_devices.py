"""Two processes encode, reduce, index and mine with exactly the same results as one."""

import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact
from colbertv2.configuration.composition import build, compose
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.index import Index

ONE_RANKING = ("artifact.json", "run.trec", "run.ties.json", "timing.json")


@pytest.fixture(scope="module")
def rankings(tmp_path_factory) -> list[Artifact]:
    directory = tmp_path_factory.mktemp("devices")
    folder = tiny_folder(directory / "folder", splits=("test",))
    return [
        build(
            compose(
                [
                    "pipeline=untrained",
                    "codec=residual",
                    "search=plaid",
                    "reduction=idf",
                    "target=ranking",
                    f"runtime.devices={devices}",
                    "runtime.shard_documents=12",
                    *shrunk(folder, directory / f"artifacts-{devices}"),
                ]
            )
        )
        for devices in (1, 2)
    ]


@pytest.mark.parametrize("stage", ["encode", "reduce"])
def test_vectors(rankings, stage):
    one, two = (next(one.path for one in ranking.lineage() if one.stage == stage) for ranking in rankings)
    assert len(list(Embeddings.open(one).shards())) == 3
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in two.iterdir()) and "2.vectors.npy" in names
    for name in names:
        if name.endswith((".npy", "doc_ids.txt", "embeddings.json")):
            assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_indexing(rankings):
    one, two = (Index.open(ranking.parents["index"].path) for ranking in rankings)
    assert one.bytes == two.bytes and "inverted.lists.npy" in one.bytes
    for name in ("index.json", *one.bytes):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes(), name


def test_mining(rankings):
    one, two = ((ranking.path / "run.trec").read_bytes() for ranking in rankings)
    assert one.count(b"\n") > 100 and one == two
    assert {path.name for path in rankings[1].path.iterdir()} <= {*ONE_RANKING}
