"""Wrong configurations are refused before any work, with all problems at once."""

import pytest

from colbertv2.artifacts.reader import parse, parse_value
from colbertv2.artifacts.validate import component_problems, validate
from colbertv2.configuration.composition import build, plan, runtime_of, target_node
from colbertv2.errors import InputError


def problems(config) -> list[str]:
    with pytest.raises(InputError) as caught:
        plan(config)
    return str(caught.value).splitlines()[1:]


def test_a_right_configuration_passes(toy) -> None:
    validate(target_node(toy()))


def test_all_problems_at_once_and_each_once(toy, runs) -> None:
    config = toy(
        "+pipeline.embeddings.dimm=8",
        "~pipeline.embeddings.dim",
        "~pipeline.round1.epochs",
        "+codec.bit=1",
        "pipeline.wide.codec.bits=3",
        "corpus.path=/nowhere",
        "+pipeline.index.seeed=1",
    )
    with pytest.raises(InputError) as caught:
        build(config)
    lines = str(caught.value).splitlines()
    assert lines[0] == "7 problems in the configuration:"
    assert [line.strip("- ") for line in lines[1:]] == [
        "pipeline.round1 (stage train): missing argument 'epochs'.",
        "corpus (Corpus): /nowhere does not exist.",
        "pipeline.embeddings (stage encode): unexpected argument 'dimm'; did you mean 'dim'?",
        "pipeline.embeddings (stage encode): missing argument 'dim'.",
        "pipeline.index (stage index): unexpected argument 'seeed'; known: embeddings, codec.",
        "codec (Codec): unexpected argument 'bit'; did you mean 'bits'?",
        "pipeline.wide.codec (Codec): bits is 3; expected 1, 2 or 4.",
    ]
    assert runs() == []


def test_checks_compare_across_the_graph(toy) -> None:
    assert problems(toy("codec.dim=4")) == ["  - pipeline.index: the codec is for 4 dims; the embeddings have 8."]


def test_checks_wait_for_sound_parents(toy) -> None:
    found = problems(toy("codec.dim=4", "~pipeline.embeddings.dim"))
    assert found == ["  - pipeline.embeddings (stage encode): missing argument 'dim'."]


def test_missing_and_dangling_values_are_named(toy) -> None:
    found = problems(toy("codec.bits=???", "pipeline.embeddings.dim=${nope}"))
    assert "codec.bits: no value given" in found[1]
    assert found[0] == "  - pipeline.embeddings.dim: Interpolation key 'nope' not found"


def test_components_inside_components_are_checked_first(toy) -> None:
    inner = {"_target_": "toy.components.Codec", "bits": 3, "dim": 8}
    outer = {"_target_": "toy.components.Pair", "frist": 1, "second": inner}
    assert list(component_problems({"pair": parse_value({"pair": outer})["pair"]})) == [
        "pair (Pair): unexpected argument 'frist'; did you mean 'first'?",
        "pair (Pair): missing argument 'first'.",
        "pair.second (Codec): bits is 3; expected 1, 2 or 4.",
    ]


def test_a_component_of_the_wrong_kind_is_told_before_anything_of_its_own(toy) -> None:
    config = toy("codec._target_=toy.components.Corpus")
    assert problems(config) == ["  - pipeline.index (stage index): 'codec' is a Corpus; expected Codec."]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs=many", "'epochs' is 'many'; expected a whole number."),
        ("training.epochs=1.5", "'epochs' is 1.5; expected a whole number."),
        ("training.epochs=true", "'epochs' is True; expected a whole number."),
        ("pipeline.index.embeddings=${codec}", "'embeddings' is a Codec; expected Artifact."),
        ("pipeline.index.codec=${pipeline.round1}", "'codec' is the node pipeline.round1; expected Codec."),
        ("measures=RR", "'measures' is 'RR'; expected a list, each item text."),
        ("corpus=${codec}", "'corpus' is a Codec; expected Corpus."),
    ],
)
def test_values_fit_their_annotations(toy, override: str, message: str) -> None:
    assert any(message in line for line in problems(toy(override)))


def test_whole_numbers_fit_floats(toy) -> None:
    assert plan(toy("training.rate=1"))


def test_unimportable_targets_and_nodes_in_components_are_named(toy) -> None:
    config = toy("codec._target_=toy.components.Codek")
    assert "codec: cannot import 'toy.components.Codek'" in problems(config)[0]
    config = toy("codec.bits=${pipeline.round1}")
    assert "codec: the component 'toy.components.Codec' reads a node" in problems(config)[0]


def test_components_receive_plain_containers() -> None:
    pair = {"_target_": "toy.components.Pair", "first": [1, 2], "options": {"a": {"b": 1}}}
    node = parse({"_target_": "toy.train.run", "corpus": pair, "rate": 1.0, "epochs": 1})
    built = node.values["corpus"].build()
    assert type(built.first) is list
    assert type(built.options["a"]) is dict


def test_infinity_has_no_address() -> None:
    with pytest.raises(InputError, match="not a finite number"):
        validate(parse({"_target_": "toy.train.run", "corpus": None, "rate": float("inf"), "epochs": 1}))


def test_runtime_is_checked_too(toy) -> None:
    with pytest.raises(InputError, match=r"runtime \(Runtime\): unexpected argument 'bach_tokens'; did you mean"):
        runtime_of(toy("+runtime.bach_tokens=1"))
    with pytest.raises(InputError, match="expected one of auto, offline, online, disabled"):
        runtime_of(toy("+runtime.wandb=maybe"))


def test_unknown_target_is_named(toy) -> None:
    with pytest.raises(InputError, match="no node 'indx'; did you mean 'index'"):
        target_node(toy("target=indx"))
