"""Indexes in shards, from the key ``index_shards`` to the ranking."""

import pytest
from support import shrunk, tiny_folder

from colbertv2.configuration.composition import build, compose, plan, target_node
from colbertv2.errors import InputError
from colbertv2.indexing.sharded_index import ShardedIndex, open_index

EVERYTHING = ["search.nprobe=1000", "search.ndocs=1000"]
ENGINES = {
    "exhaustive": ["search=exhaustive"],
    "plaid": ["search=plaid", *EVERYTHING, "search.centroid_score_threshold=-2"],
    "cascade": ["search=cascade", *EVERYTHING],
}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("shards")
    return ["pipeline=untrained", *shrunk(tiny_folder(directory / "folder"), directory / "artifacts")]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_ranking_has_the_same_bytes_as_that_of_one_index(small, engine):
    one, several = (
        build(compose([*small, *ENGINES[engine], f"index_shards={number}", "target=ranking"])) for number in (1, 4)
    )
    opened = open_index(several.parents["index"].path)
    assert isinstance(opened, ShardedIndex)
    assert [shard.num_documents for shard in opened.shards] == [7, 8, 7, 8]
    whole, merged = ((artifact.path / "run.trec").read_text() for artifact in (one, several))
    assert merged == whole.replace(one.address, several.address)
    assert one.has("run.ties.json") == several.has("run.ties.json")


def test_two_processes_build_and_search_the_same(small, tmp_path):
    settings = [*small, "index_shards=3", "target=metrics"]
    one = build(compose(settings))
    two = build(compose([*settings, f"runtime.root={tmp_path}", "runtime.devices=2", "runtime.shard_documents=7"]))
    assert two.address == one.address
    for mine, other in ((one, two), (one.parents["ranking"], two.parents["ranking"])):
        names = {name for name in mine.record["sha256"] if name != "timing.json"}
        assert all(mine.record["sha256"][name] == other.record["sha256"][name] for name in names)
    index, again = one.ancestor("index"), two.ancestor("index")
    assert index.record["sha256"] == again.record["sha256"]


def test_one_piece_has_the_address_that_it_had_before_there_were_shards(small):
    node = target_node(compose([*small, "target=index"]))
    assert "num_shards" not in node.identity["arguments"]
    assert target_node(compose([*small, "target=index", "index_shards=2"])).address != node.address


def test_more_shards_than_documents_and_none_are_refused_before_any_work(small):
    with pytest.raises(InputError, match="num_shards is 31, more than the 30 documents; lower index_shards"):
        plan(compose([*small, "index_shards=31"]))
    with pytest.raises(InputError, match="'num_shards' is 0; expected a whole number of at least 1"):
        plan(compose([*small, "index_shards=0"]))
