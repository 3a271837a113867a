"""A few cases of the torture campaign `inputs`, and that it tells a fault from a clear refusal."""

from random import Random

import pytest

from colbertv2.errors import InputError
from experiments.torture import inputs
from experiments.torture.campaign import BAD


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    return inputs.prepare(tmp_path_factory.mktemp("torture"))


def test_hostile_values_are_refused_or_accepted(small, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "BUILT_SHARE", 0)  # `make torture` runs some to the end
    outcomes = [inputs.run(small, Random(f"test/{number}"), tmp_path) for number in range(12)]
    assert [one for one in outcomes if one.verdict in BAD] == []
    assert any(one.verdict == "refused" for one in outcomes)


def test_a_fault_is_told_from_a_refusal(small, tmp_path, monkeypatch):
    def verdict(error: Exception) -> str:
        def fail(point: object) -> None:
            raise error

        monkeypatch.setattr(inputs, "check_point", fail)
        return inputs.run(small, Random(0), tmp_path).verdict

    assert verdict(InputError("depth is 0; expected more.")) == "refused"
    assert verdict(InputError("depth is 0\n\nexpected more")) == "silent"
    assert verdict(KeyError("depth")) == "traceback"
