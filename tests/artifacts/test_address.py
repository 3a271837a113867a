"""What changes an address and what does not."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.artifacts.node import Component, Node, digest
from colbertv2.artifacts.reader import parse
from colbertv2.configuration.composition import plan, target_node
from colbertv2.errors import InputError


def addresses(config) -> dict[str, str]:
    return {step.key.removeprefix("pipeline."): step.address for step in plan(config)}


def moved(toy: Callable, *overrides: str) -> set[str]:
    before, after = addresses(toy()), addresses(toy(*overrides))
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("codec.bits=1", {"index", "table"}),
        ("+ablation=bits", {"index", "table"}),
        ("measures=[RR@10]", {"table"}),
        ("dim=16", {"embeddings", "index", "wide", "table"}),
        ("training.rate=0.01", {"round1", "embeddings", "index", "wide", "table"}),
        ("training.rate=1e-3", set()),
        ("runtime.device=auto", set()),
        ("runtime.batch_tokens=1", set()),
        ("runtime.root=elsewhere", set()),
        ("target=table", set()),
    ],
)
def test_only_what_follows_moves(toy, override: str, expected: set[str]) -> None:
    assert moved(toy, override) == expected


def test_address_is_stage_and_ten_hex_digits(toy) -> None:
    for name, address in addresses(toy()).items():
        stage, _, digits = address.rpartition("-")
        assert stage == {"round1": "train", "embeddings": "encode", "wide": "index"}.get(name, name)
        assert len(digits) == 10
        int(digits, 16)


def test_version_moves_the_stage_and_its_descendants(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from toy import encode

    before = addresses(toy())
    monkeypatch.setattr(encode.run, "stage", replace(encode.run.stage, version=2))
    after = addresses(toy())
    assert {name for name in before if before[name] != after[name]} == {"embeddings", "index", "wide", "table"}


def test_content_of_outside_data_counts_and_its_path_does_not(toy, tmp_path) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_text((tmp_path / "corpus.txt").read_text())
    assert moved(toy, f"corpus.path={copy}") == set()
    copy.write_text("other words")
    assert "round1" in moved(toy, f"corpus.path={copy}")


def test_identity_replaces_arguments_inside_other_components(toy, tmp_path) -> None:
    def address(path: str) -> str:
        pair = {"_target_": "toy.components.Pair", "first": {"_target_": "toy.components.Corpus", "path": path}}
        return parse({"_target_": "toy.train.run", "corpus": pair, "rate": 0.1, "epochs": 1}).address

    toy()
    (tmp_path / "copy.txt").write_text((tmp_path / "corpus.txt").read_text())
    assert address(str(tmp_path / "corpus.txt")) == address(str(tmp_path / "copy.txt"))


def test_equal_nodes_are_one_and_read_once(toy) -> None:
    table = target_node(toy("codec=wide"))
    systems = table.values["systems"]
    assert systems["chosen"] is systems["wide"]
    assert len(table.lineage()) == 4
    assert target_node(toy()).values["systems"]["chosen"].parents["embeddings"] is not None


def test_deep_pipelines_take_linear_time() -> None:
    from omegaconf import OmegaConf

    corpus = {"_target_": "toy.components.Pair", "first": 1}
    pipeline: dict = {"n0": {"_target_": "toy.encode.run", "checkpoint": None, "corpus": corpus, "dim": 1}}
    for depth in range(1, 60):  # if references were inlined: 2**60 mappings
        before = f"${{pipeline.n{depth - 1}}}"
        pipeline[f"n{depth}"] = {"_target_": "toy.encode.run", "checkpoint": before, "corpus": before, "dim": depth}
    node = parse(OmegaConf.create({"pipeline": pipeline}).pipeline.n59)
    assert len(node.lineage()) == 60
    assert node.address.startswith("encode-")


def test_roles_and_ancestors(toy) -> None:
    table = target_node(toy())
    assert list(table.parents) == ["systems.chosen", "systems.wide"]
    index = table.parents["systems.chosen"]
    assert index.ancestor("checkpoint") is table.ancestor("checkpoint")
    assert index.ancestor("checkpoint").stage.name == "train"
    with pytest.raises(InputError, match=r"'teacher'.*checkpoint, embeddings"):
        index.ancestor("teacher")


def test_nearest_ancestor_wins() -> None:
    def encode(checkpoint: object, dim: int) -> dict:
        return {"_target_": "toy.encode.run", "checkpoint": checkpoint, "corpus": 1, "dim": dim}

    node = parse(encode(encode(encode(None, 1), 2), 3))
    assert node.ancestor("checkpoint").values["dim"] == 2
    assert node.parents["checkpoint"].ancestor("checkpoint").values["dim"] == 1


def test_rows_keep_their_order_and_knobs_do_not(toy) -> None:
    config = toy()
    table = target_node(config)
    systems = dict(reversed(table.values["systems"].items()))
    assert Node("", table.stage, {**table.values, "systems": systems}).address != table.address
    assert Node("", table.stage, dict(reversed(table.values.items()))).address == table.address


def test_arguments_are_plain_and_name_their_parents(toy) -> None:
    index = target_node(toy("target=index"))
    codec = {"_target_": "toy.components.Codec", "bits": 2, "dim": 8}
    assert index.arguments == {"embeddings": index.parents["embeddings"].address, "codec": codec}
    assert isinstance(index.values["codec"], Component)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.dictionaries(st.text(), scalars | st.lists(scalars, max_size=3), max_size=4))
def test_digest_ignores_the_order_of_keys_only(identity: dict) -> None:
    assert digest(dict(reversed(identity.items()))) == digest(identity)
    assert digest({**identity, "new key": None}) != digest(identity) or "new key" in identity


def test_numbers_are_told_apart_as_yaml_does() -> None:
    assert len({digest({"value": value}) for value in (1, 1.0, True, "1")}) == 4
    assert digest({"value": 1e-5}) == digest({"value": 0.00001})
    with pytest.raises(ValueError, match="JSON compliant"):
        digest({"value": math.nan})


def test_what_is_no_stage_is_no_node(toy) -> None:
    with pytest.raises(InputError, match=r"found toy\.components\.Codec"):
        parse(toy().codec)
    with pytest.raises(InputError, match=r"cannot import 'toy\.no_such\.run'"):
        parse({"_target_": "toy.no_such.run"})


def test_circles_are_refused() -> None:
    from omegaconf import OmegaConf

    def encode(checkpoint: str) -> dict:
        return {"_target_": "toy.encode.run", "checkpoint": checkpoint}

    config = OmegaConf.create({"pipeline": {"a": encode("${pipeline.b}"), "b": encode("${pipeline.a}")}})
    with pytest.raises(InputError, match=r"pipeline\.a reads itself"):
        parse(config.pipeline.a)
