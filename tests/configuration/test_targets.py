"""What ``target`` names with a suite of one collection, without the suite's tables."""

import pytest
from support import shrunk, tiny_folder

from colbertv2.configuration.composition import compose, target_node
from colbertv2.configuration.targets import members, on_one_collection
from colbertv2.errors import InputError


def test_the_only_collection_is_evaluated_as_in_its_suite(tmp_path):
    folder = tiny_folder(tmp_path / "folder")
    words = [*shrunk(folder, tmp_path / "artifacts"), f"suite.collections={{tiny: 'folder:{folder}'}}"]
    config = compose([*words, "suite.measure=RR@10", "measures=[nDCG@10]"])
    node = target_node(on_one_collection(config))
    assert node.key == "pipeline.metrics" and node.values["measures"] == ["RR@10", "nDCG@10"]
    assert node.address == members(target_node(config))["tiny"]["ColBERT"].address
    assert target_node(config).stage.name == "suite"  # the configuration itself is as before


def test_the_only_collection_need_not_be_here():
    config = on_one_collection(compose(["pipeline=untrained", "collection=none", "suite.collections=['folder:/none']"]))
    assert target_node(config).values["queries"].values["id"] == "folder:/none/test"


def test_without_a_suite_nothing_changes_and_several_collections_are_refused():
    config = compose([])
    assert on_one_collection(config) is config
    with pytest.raises(InputError, match="expected one collection; found vaswani, cranfield"):
        on_one_collection(compose(["suite.collections=[vaswani,cranfield]"]))


def test_nothing_to_evaluate_on_is_refused():
    with pytest.raises(InputError, match="choose a suite"):
        target_node(compose(["pipeline=untrained", "collection=none"]))
