"""Two processes encode, index and mine with exactly the same results as one."""

import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact
from colbertv2.configuration.composition import build, compose
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.index import Index


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
                    "target=ranking",
                    f"runtime.devices={devices}",
                    "runtime.shard_documents=12",
                    *shrunk(folder, directory / f"artifacts-{devices}"),
                ]
            )
        )
        for devices in (1, 2)
    ]


def test_encoding(rankings):
    one, two = (ranking.parents["index"].parents["embeddings"].path for ranking in rankings)
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
    assert not list(rankings[1].path.glob("run.*.trec"))
