"""``collection=mixture``: trainings read all collections, mining and scoring stay with each."""

import json

import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.configuration.composition import build, compose, plan, target_node
from colbertv2.errors import InputError
from colbertv2.evaluation.doubts import leakage
from colbertv2.evaluation.ranking import Ranking
from colbertv2.planning.work import Step
from colbertv2.sharing.history import training_text
from colbertv2.training.examples import Examples


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = tmp_path_factory.mktemp("mixture")
    folders = {"first": tiny_folder(directory / "a"), "second": tiny_folder(directory / "b", 20)}
    small = [one for one in shrunk(folders["first"], directory / "artifacts") if not one.startswith("collection")]
    return {name: f"folder:{folder}" for name, folder in folders.items()}, small


def mixture(world, *more: str, **changes: str) -> list[str]:
    folders, small = world
    parts = [f"{name}: {{collection: '{id}'{changes.get(name, '')}}}" for name, id in folders.items()]
    return ["collection=mixture", f"collection.collections={{{', '.join(parts)}}}", *small, *more]


def build_of(artifact: Artifact, node: Node) -> Artifact:
    return next(one for one in artifact.lineage() if one.address == node.address)


def at(node: Node, key: str) -> Node:
    (found,) = (one for one in node.lineage() if one.key == key)
    return found


def test_test_queries_that_a_mixture_trains_on_are_found(world, tmp_path):
    leaking = tiny_folder(tmp_path / "leaking", 20, splits=("test",))  # its test queries are training queries
    config = compose(mixture(world, "pipeline=round1", f"suite.collections=['folder:{leaking}']"))
    (warning,) = leakage([target_node(config)])
    assert warning.startswith("Leakage: 7 of 20 test queries of ")


def test_every_round_mines_each_collection_and_trains_on_all(world):
    artifact = build(compose(mixture(world, "pipeline=three_rounds", "codec=fp16")))
    assert artifact.stage == "suite" and "| first | second |" in artifact.file("table.md").read_text()
    node = target_node(compose(mixture(world, "pipeline=three_rounds", "codec=fp16")))
    trainings = [one for one in node.lineage() if one.stage.name in ("train", "teacher")]
    assert [one.key for one in trainings] == [
        "pipeline.round1",
        "teacher",
        *(f"pipeline.round{n}.checkpoint" for n in (2, 3)),
    ]
    for training in trainings:
        built = build_of(artifact, training)
        ids = [(one.query_id, *one.documents) for one in Examples(built.parents["examples"].file("examples.jsonl"))]
        assert all(len({id.split("/")[0] for id in one}) == 1 for one in ids), "negatives are of the query's collection"
        assert {one[0].split("/")[0] for one in ids} == {"first", "second"}
        log = next(built.path.glob("log*/metrics.csv")).read_text().splitlines()[0]
        assert "dev/first/RR@10" in log and "dev/second/RR@10" in log
    for name, number in (("first", 30), ("second", 20)):
        candidates = at(node, f"pipeline.round3.candidates ({name})")
        found = Ranking.read(build_of(artifact, candidates).file("run.trec"))
        assert {doc for ranked in found.values() for doc, _ in ranked} <= {f"d{n}" for n in range(number)}
        assert candidates.ancestor("checkpoint") is at(node, "pipeline.round2.checkpoint")
        assert at(node, f"pipeline.round2.scored ({name})").parents["teacher"] is at(node, "teacher")


def test_a_single_collection_keeps_its_addresses(world):
    """The addresses of the commit before mixtures, 921a205; a mixture of one is that collection."""
    folders, small = world
    known = {
        "round1": "encode-ed776f0bb4",
        "colbertv2": "encode-1459947d41",
        "three_rounds": "encode-c93833b4eb",
    }
    alone = ["collection=folder", f"collection.path={folders['first'][7:]}", *small]
    for pipeline, address in known.items():
        assert target_node(compose([*alone, f"pipeline={pipeline}", "target=embeddings"])).address == address
        one = ["collection=mixture", f"collection.collections=['{folders['first']}']", *small]
        assert target_node(compose([*one, f"pipeline={pipeline}", "target=embeddings"])).address == address


@pytest.mark.parametrize("key", ["sampling=equal", "batches=single", "sampling=temperature"])
def test_every_key_of_the_mixture_moves_the_weights(world, key):
    more = ["target=round1", "pipeline=no_dev", "collection.temperature=9", "training.round1.optimization.steps=20"]
    before = build(compose(mixture(world, *more)))
    after = build(compose(mixture(world, *more, f"collection.{key}")))
    assert before.file("model.safetensors").read_bytes() != after.file("model.safetensors").read_bytes()
    assert before.parents["examples"].address == after.parents["examples"].address


def test_prompts_and_lengths_are_kept_only_if_common(world):
    first, second = ", query_prompt: 'value ', query_maxlen: 9", ", query_prompt: 'text ', query_maxlen: 9"
    more = ["target=round1", "pipeline=round1"]
    trained = build(compose(mixture(world, *more, first=first, second=second)))
    settings = json.loads(trained.file("colbert.json").read_text())
    assert (settings["query_prompt"], settings["query_maxlen"]) == ("", 9)
    assert trained.address != target_node(compose(mixture(world, *more, first=first, second=first))).address


def test_a_suite_evaluates_what_the_mixture_trained(world):
    node = target_node(compose(mixture(world, "pipeline=round1", "suite.collections=[stdlib_small]")))
    (evaluation,) = node.parents.values()
    assert evaluation.ancestor("checkpoint").key == "pipeline.round1"
    assert evaluation.key == "pipeline.metrics (stdlib-small)"


def test_a_collection_without_dev_queries_takes_no_part_in_choosing(world):
    trained = target_node(compose(mixture(world, "target=round1", "pipeline=round1", second=", dev: null")))
    assert [*trained.parents["validation"].parents] == ["examples.first"]
    assert [*trained.parents["examples"].parents] == ["examples.first", "examples.second"]
    build(compose(mixture(world, "target=round1", "pipeline=round1", second=", dev: null")))


def test_a_collection_without_test_queries_is_not_evaluated(world):
    node = target_node(compose(mixture(world, "pipeline=round1", second=", eval: null")))
    assert [*node.parents] == ["evaluations.ColBERT.first"]


def test_costs_are_predicted_and_the_model_card_names_all_collections(world):
    node = target_node(compose(mixture(world, "pipeline=round1", "target=round1")))
    steps: dict[str, Step] = {}
    for one in node.lineage():
        parents = {role: steps[parent.address] for role, parent in one.parents.items()}
        steps[one.address] = Step(one.stage.name, one.arguments, one.sizes, parents)
    mixed = steps[node.parents["examples"].address]
    assert mixed.results == sum(parent.results for parent in mixed.parents.values()) > 0
    assert all(step.cost.disk > 0 for step in steps.values())
    text = training_text("Round 1", build(compose(mixture(world, "pipeline=round1", "target=round1"))))
    assert "documents `folder:…/a` + `folder:…/b` (50)" in text and "mixed_examples" in text


def test_real_search_validates_on_each_collection(world):
    more = ["+validation@training.round1.search_validation=dev", "target=round1", "pipeline=round1"]
    trained = build(compose(mixture(world, *more)))
    log = next(trained.path.glob("log*/metrics.csv")).read_text().splitlines()[0]
    assert "search/own-first/nDCG@10" in log and "search/own-second/nDCG@10" in log


@pytest.mark.parametrize(
    ("more", "changes", "expected"),
    [
        (["collection.sampling=often"], {}, "sampling.*expected"),
        (["collection.batches=both"], {}, "batches.*expected"),
        (["collection.temperature=0"], {}, "temperature.*expected"),
        ([], {"second": ", train: null"}, "'second' of the mixture has no training queries"),
        ([], {"second": ", train_split: nowhere"}, "'second' of the mixture"),
        (["target=bm25_train"], {}, "has such a node for each of its collections"),
        (["target=nothing"], {}, "no node 'nothing'"),
    ],
)
def test_wrong_input_is_refused_before_any_work(world, more, changes, expected):
    with pytest.raises(InputError, match=expected):
        plan(compose(mixture(world, *more, **changes)))


def test_lists_that_can_not_be_trained_on_are_refused(world, tmp_path):
    folders, small = world
    copy = tiny_folder(tmp_path / "copy")  # the same content at another place
    copied = f"collection.collections={{x: '{folders['first']}', y: 'folder:{copy}'}}"
    with pytest.raises(InputError, match="'x' and 'y' have the same queries and documents"):
        plan(compose(["collection=mixture", copied, "target=round1", *small]))
    twice = f"collection.collections={{x: '{folders['first']}', y: '{folders['first']}'}}"
    with pytest.raises(InputError, match="'x' and 'y' have the same queries and documents"):
        plan(compose(["collection=mixture", twice, *small]))
    with pytest.raises(InputError, match=r"collection\.collections has no value"):
        plan(compose(["collection=mixture", *small]))
