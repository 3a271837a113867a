"""What the decorator requires of a signature."""

from pathlib import Path

import pytest

from colbertv2.artifacts.stage import stage, stage_of
from colbertv2.runtime import Runtime


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
