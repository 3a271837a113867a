"""What the decorator requires of a signature."""

from pathlib import Path

import pytest

from colbertv2.artifacts.build import build_node
from colbertv2.artifacts.reader import parse
from colbertv2.artifacts.stage import stage, stage_of
from colbertv2.artifacts.validate import validate
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import measures_of
from colbertv2.runtime import Runtime


def measures(arguments) -> list[str]:
    """Belongs to no stage below: none is called ``run``, and none names it."""
    raise AssertionError


def check(**_: object) -> list[str]:
    """Belongs to no stage below either."""
    raise AssertionError


def unneeded(**_: object) -> list[str]:
    """Belongs to no stage below either."""
    raise AssertionError


@stage(version=1)
def shortest(words: list[str], *, out: Path, runtime: Runtime) -> None:
    (out / "word.txt").write_text(min(words, key=len))


@stage(version=1)
def longest(words: list[str], *, out: Path, runtime: Runtime) -> None:
    (out / "word.txt").write_text(max(words, key=len))


@stage(
    version=1,
    measures=lambda arguments: [f"{word}@1" for word in arguments["words"]],
    check=lambda words: ["there are no words"] * (not words),
)
def evaluated(words: list[str], *, out: Path, runtime: Runtime) -> None: ...


def test_two_stages_of_a_module_do_not_share_artifacts(tmp_path) -> None:
    runtime = Runtime(root=tmp_path)
    found = {}
    for name in ("shortest", "longest"):
        node = parse({"_target_": f"{__name__}.{name}", "words": ["a", "word"]})
        assert node.address.startswith(f"{name}-")
        found[name] = (build_node(node, runtime).path / "word.txt").read_text()
    assert found == {"shortest": "a", "longest": "word"}


def test_stages_of_equal_name_in_two_modules_differ(monkeypatch) -> None:
    here = parse({"_target_": f"{__name__}.shortest", "words": []}).address
    monkeypatch.setattr(shortest, "__module__", "other.parts")
    assert parse({"_target_": f"{__name__}.shortest", "words": []}).address != here


def test_stages_of_the_package_keep_their_addresses() -> None:
    """As they were before stages outside the package were told apart."""
    node = {"_target_": "colbertv2.stages.random_candidates.run", "documents": 1, "queries": 2, "depth": 3, "seed": 4}
    assert parse(node).address == "random_candidates-01feece16f"


def test_what_stands_beside_a_stage_belongs_to_it_only_if_it_says_so() -> None:
    node = parse({"_target_": f"{__name__}.shortest", "words": ["a"]})
    validate(node)
    assert measures_of(node) == []
    node = parse({"_target_": f"{__name__}.evaluated", "words": ["a"]})
    assert measures_of(node) == ["a@1"]
    with pytest.raises(InputError, match="there are no words"):
        validate(parse({"_target_": f"{__name__}.evaluated", "words": []}))


def test_a_stage_stays_a_function_and_knows_its_schema() -> None:
    from toy import index

    declared = stage_of(index.run)
    assert declared is not None
    assert (declared.name, declared.version, declared.resumable) == ("index", 1, False)
    assert list(declared.parameters) == ["embeddings", "codec"]
    assert declared.check is index.check
    assert declared.function is index.run
    assert stage_of(index.check) is None


def test_defaults_are_refused() -> None:
    with pytest.raises(TypeError, match="'bits' has a default"):

        @stage(version=1)
        def run(bits: int = 2, *, out: Path, runtime: Runtime) -> None: ...


def test_swallowed_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"\*\*rest"):

        @stage(version=1)
        def run(*, out: Path, runtime: Runtime, **rest: int) -> None: ...


@pytest.mark.parametrize("missing", ["out", "runtime"])
def test_out_and_runtime_are_demanded(missing: str) -> None:
    def with_out(*, out: Path) -> None: ...
    def with_runtime(out: Path, *, runtime: Runtime) -> None: ...

    with pytest.raises(TypeError, match=f"keyword-only parameter '{missing}'"):
        stage(version=1)(with_out if missing == "runtime" else with_runtime)
