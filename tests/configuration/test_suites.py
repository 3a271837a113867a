"""Collections named in a list, and the graph of a target that is evaluated on each of them."""

import pytest
from support import shrunk, tiny_folder

from colbertv2.configuration.composition import compose, plan
from colbertv2.configuration.points import collect
from colbertv2.configuration.targets import members, target_node
from colbertv2.errors import InputError


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("collections")
    return {name: str(tiny_folder(directory / name, size)) for name, size in (("one", 30), ("two", 24), ("three", 18))}


@pytest.fixture(scope="module")
def small(folders, tmp_path_factory) -> list[str]:
    return shrunk(folders["one"], tmp_path_factory.mktemp("artifacts"))


def listed(folders: dict[str, str], *names: str) -> str:
    return f"suite.collections=[{','.join(f'folder:{folders[name]}' for name in names)}]"


def test_a_name_is_a_file_a_folder_or_an_id(folders):
    names = f"[vaswani,folder:{folders['two']},beir/nfcorpus/test,lotte/science/dev/forum,cord19/trec-covid]"
    config = compose([f"suite.collections={names}"])
    found = {name: (one["eval"].id, one["eval"].get("protocol")) for name, one in config.suite.listed.items()}
    assert found == {
        "vaswani": ("vaswani", None),
        folders["two"]: (f"folder:{folders['two']}/test", None),
        "beir-nfcorpus/test": ("beir/nfcorpus/test", "beir"),  # not collection=ir_datasets, which has another protocol
        "lotte-science-dev-forum": ("lotte/science/dev/forum", None),
        "cord19/trec-covid": ("cord19/trec-covid", None),
    }


def test_what_belongs_to_a_collection_travels_with_it():
    """ArguAna's queries are cut at 300 tokens, LoTTE is measured by Success@5, whatever the rest of the suite has."""
    config = compose(["suite.collections=[beir/arguana,beir/climate-fever,beir/scidocs,lotte/science/test/search]"])
    listed = list(config.suite.listed.values())
    assert [one["eval"].maxlen for one in listed] == [300, 64, None, None]
    assert [one.measure for one in listed] == ["nDCG@10", "nDCG@10", "nDCG@10", "Success@5"]


def test_entries_may_have_names_and_settings_of_their_own(folders):
    written = (
        f"{{short: {{collection: 'folder:{folders['one']}', document_maxlen: 8}}, all: 'folder:{folders['one']}'}}"
    )
    config = compose([f"suite.collections={written}"])
    assert {name: one.documents.maxlen for name, one in config.suite.listed.items()} == {"short": 8, "all": None}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[vaswani,vaswani]", "two collections with the name 'vaswani'"),
        ("[]", "expected a list of collections"),
        ("vaswani", "expected a list of collections"),
        ("[1,vaswani]", "expected the name of a collection"),
        ("{a: {document_maxlen: 8}}", "expected the name of a collection"),
    ],
)
def test_a_malformed_list_is_refused(value, message):
    with pytest.raises(InputError, match=message):
        compose([f"suite.collections={value}"])


def test_a_misspelled_name_is_no_missing_collection(folders, small):
    with pytest.raises(InputError, match="No dataset is called 'vaswanni'"):
        target_node(compose([*small, "pipeline=untrained", f"suite.collections=[vaswanni,folder:{folders['two']}]"]))


def test_the_training_is_shared_and_the_rest_is_not(folders, small):
    steps = plan(compose([*small, listed(folders, "one", "two", "three")]))
    by_stage = [step.stage for step in steps]
    assert by_stage.count("train") == 2 and by_stage.count("teacher") == 1 and by_stage.count("initialise") == 1
    assert by_stage.count("evaluate") == 3 and steps[-1].stage == "suite"
    assert sum(step.key.startswith("pipeline.metrics (") for step in steps) == 3
    assert not any("(" in step.key for step in steps if step.stage in ("train", "teacher", "initialise"))


def test_each_evaluation_is_that_of_the_collection_alone(folders, small):
    """So nothing is evaluated again that was evaluated before, and the other way round."""
    node = target_node(compose([*small, "pipeline=untrained", listed(folders, "one", "two")]))
    alone = target_node(compose([*small, "pipeline=untrained"]))
    assert members(node)[folders["one"]]["ColBERT"].address == alone.address


def test_trained_on_one_and_evaluated_on_another(folders, small):
    node = members(target_node(compose([*small, "pipeline=round1", listed(folders, "two")])))[folders["two"]]["ColBERT"]
    assert node.ancestor("examples").bound["queries"].id == f"folder:{folders['one']}/train"
    assert node.bound["queries"].id == f"folder:{folders['two']}/test"
    assert node.ancestor("embeddings").bound["documents"].id == f"folder:{folders['two']}"


def test_a_collection_that_is_not_here_is_missing_and_the_others_go_on(folders, small):
    node = target_node(
        compose([*small, "pipeline=untrained", f"suite.collections=[folder:{folders['two']},folder:/no/where]"])
    )
    assert list(members(node)) == [folders["two"]] and "no such folder" in node.values["missing"]["/no/where"]
    with pytest.raises(InputError, match="No collection of the suite can be evaluated"):
        target_node(compose([*small, "pipeline=untrained", "suite.collections=[folder:/no/where]"]))


def test_the_same_queries_would_count_twice(folders, small):
    twice = f"suite.collections={{a: 'folder:{folders['two']}', b: 'folder:{folders['two']}'}}"
    with pytest.raises(InputError, match="'a' and 'b' have the same queries"):
        plan(compose([*small, "pipeline=untrained", twice]))


def test_one_without_judgements_is_refused(folders, small, tmp_path):
    bare = tiny_folder(tmp_path / "bare", 10)
    (bare / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(InputError, match=r"The suite's collection .*bare'"):
        target_node(
            compose([*small, "pipeline=untrained", f"suite.collections=[folder:{folders['two']},folder:{bare}]"])
        )


def test_only_evaluations_and_tables_have_a_suite(folders, small):
    with pytest.raises(InputError, match="target=index can't be evaluated on a suite"):
        target_node(compose([*small, "pipeline=untrained", listed(folders, "one", "two"), "target=index"]))


def test_a_training_needs_no_suite(folders, small):
    """So the same command line, with target=round1, trains what the suite will evaluate."""
    with_suite = target_node(compose([*small, listed(folders, "one", "two"), "target=round1"]))
    assert with_suite.address == target_node(compose([*small, "target=round1"])).address


def test_nothing_to_evaluate_on_is_said(small):
    with pytest.raises(InputError, match="choose a suite"):
        target_node(compose(["collection=none", *(one for one in small if not one.startswith("collection"))]))


def test_measures_that_a_protocol_does_not_define_are_left_out(folders, small):
    """By answers nobody knows the recall; the collection leads with its own measure, and one without any is refused."""
    own = (
        "{answers: {collection: stdlib_small, measure: Success@5, eval: {protocol: dpr}}, "
        f"two: 'folder:{folders['two']}'}}"
    )
    config = compose([*small, "pipeline=untrained", f"suite.collections={own}", "measures=[nDCG@10,R@10]"])
    node = target_node(config)
    assert node.values["measures"] == {"answers": "Success@5", "two": "nDCG@10"}
    assert members(node)["answers"]["ColBERT"].values["measures"] == ["Success@5"]
    plain = f"suite.collections={own.replace('measure: Success@5, ', '')}"
    with pytest.raises(InputError, match=r"defines none of nDCG@10, R@10"):
        target_node(compose([*small, "pipeline=untrained", plain, "measures=[nDCG@10,R@10]"]))


def test_a_sweep_over_suites_and_training_collections(folders, small):
    """As on the command line: ``collection=`` itself as an axis, and lists of collections as values."""
    paths = [f"folder:{folders[name]}" for name in ("one", "two")]
    axis, suite = f"collection.path={folders['one']},{folders['two']}", f"suite.collections=[{','.join(paths)}]"
    points = collect(["-m", *small, "pipeline=untrained", axis, suite])
    assert len(points) == 2 and all(len(members(point.node)) == 2 for point in points)
