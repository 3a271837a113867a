"""Documents encoded straight into indexes: the same bytes as with stored embeddings."""

import sys

import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact
from colbertv2.commands.command_line import main
from colbertv2.configuration.composition import build, compose, plan
from colbertv2.errors import InputError
from colbertv2.indexing.sharded_index import open_index

SMALL = "codec@pipeline.embeddings.codecs.small"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("streamed")
    folder = tiny_folder(directory / "folder")
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "nothing", "title": "", "text": "  "}\n')
    overrides = [*shrunk(folder, directory / "artifacts"), "collection.documents.empty=keep"]
    return [*overrides, "clustering.sample_documents=12", "runtime.shard_documents=7"]


def files_of(index: Artifact) -> dict[str, bytes]:
    """The files of an index by name; not ``artifact.json``."""
    return {name: (index.path / name).read_bytes() for name in index.record["sha256"]}


@pytest.mark.parametrize("codec", ["residual", "product", "rotated", "fp16"])
def test_the_index_has_the_bytes_that_stored_embeddings_give(small, codec):
    settings = [*small, f"codec={codec}", "target=index"]
    if codec == "rotated":
        settings.append("codec.center=true")  # so that it learns from a sample
    streamed, stored = (build(compose([*settings, f"pipeline={name}"])) for name in ("streamed", "untrained"))
    assert files_of(streamed) == files_of(stored)
    assert open_index(streamed.path).lengths.tolist().count(0) == 1


def test_one_pass_writes_several_codecs(small):
    both = [*small, "pipeline=streamed", f"+{SMALL}=residual_1bit", f"+{SMALL.replace('small', 'signs')}=binary"]
    indexes = [build(compose([*both, f"pipeline.index.name={name}", "target=index"])) for name in ("small", "signs")]
    assert indexes[0].parents["embeddings"].address == indexes[1].parents["embeddings"].address
    for index, codec in zip(indexes, ("residual_1bit", "binary"), strict=True):
        alone = build(compose([*small, "pipeline=untrained", f"codec={codec}", "target=index"]))
        assert files_of(index) == files_of(alone)


@pytest.mark.parametrize("shards", [1, 3])
def test_two_processes_write_the_same_in_shards_and_in_one_piece(small, tmp_path, shards):
    settings = [*small, "target=index", f"index_shards={shards}"]
    stored = build(compose([*settings, "pipeline=untrained"]))
    devices = [f"runtime.root={tmp_path}", "runtime.devices=2", "runtime.shard_documents=4"]
    assert files_of(build(compose([*settings, *devices, "pipeline=streamed"]))) == files_of(stored)


def test_its_metrics_are_those_of_stored_embeddings(small):
    streamed, stored = (
        build(compose([*small, f"pipeline={name}", "search=plaid"])) for name in ("streamed", "untrained")
    )
    assert streamed.record["sha256"]["per_query.csv"] == stored.record["sha256"]["per_query.csv"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pipeline.index.name=other"], "pipeline.index.codec: .*other"),
        (
            ["+codec@other=residual_4bits", "pipeline.index.codec=${other}"],
            "codec is .*nbits=4.*but searched is .*nbits=2",
        ),
        (["index_shards=32"], "num_shards is 32, more than the 31 documents; lower index_shards"),
        (["+pipeline.embeddings.codecs.a-b=${codec}"], "codecs has the name 'a-b'; expected letters"),
        (
            ["reduction=hierarchical"],
            "reduction is HierarchicalPooling.*expected none. Set reduction=none, or pipeline=",
        ),
        (["model.dim=9"], "codecs.searched: 9 dimensions of 2 bits"),
        (["analysis=decomposition", "target=decomposition"], "not kept, but this stage needs them"),
        (["analysis=centroids", "target=centroid_analysis"], "not kept, but this stage needs them"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(small, overrides, message):
    with pytest.raises(InputError, match=message):
        plan(compose([*small, "pipeline=streamed", *overrides]))


@pytest.mark.parametrize("verb", [[], ["plan"]])
def test_a_reduction_is_refused_on_the_command_line(small, tmp_path, verb, capsys, monkeypatch):
    words = [*verb, *small, "pipeline=streamed", "reduction=idf", f"runtime.root={tmp_path / 'artifacts'}"]
    monkeypatch.setattr(sys, "argv", ["colbertv2", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "pipeline.embeddings: reduction is IdfPruning" in said and "Traceback" not in said
    assert not (tmp_path / "artifacts").exists()
