"""A part of `make torture`: no damage to what a small pipeline made is taken in silence or ends in a traceback."""

from random import Random

import pytest

from experiments.torture import damage
from experiments.torture.campaign import BAD
from experiments.torture.damage import KINDS, Setting, prepare

CASES = 150


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    prepared = prepare(tmp_path_factory.mktemp("damage"), ("pipeline=untrained", "search=plaid", "target=metrics"))
    yield prepared
    prepared.worker.stop()


def test_no_damage_is_silent_or_ends_in_a_traceback(setting: Setting):
    outcomes = [damage.run(setting, Random(f"test/{number}"), setting.work) for number in range(CASES)]
    assert [one for one in outcomes if one.verdict in BAD] == []
    refused = [one for one in outcomes if one.verdict == "refused"]
    assert len(refused) > CASES / 2, "most damage is noticed"
    assert {one.kind.split(", ")[0] for one in refused} >= {"flipped bit", "cut short", "removed", "swapped"}


def test_a_damage_that_nothing_checks_is_found_to_be_silent(setting: Setting, monkeypatch):
    """The campaign can fail: with the recorded digests changed to those of the damage, it says so."""
    how, name = next(one for one in setting.files if one[0] == "read" and one[1].endswith("residuals.npy"))
    import json
    from hashlib import sha256

    from colbertv2.artifacts.integrity import digest_of

    directory = setting.work / "store" / "/".join(name.split("/")[:2])
    content = bytearray((setting.work / "store" / name).read_bytes())
    content[-5:] = bytes(5)
    (setting.work / "store" / name).write_bytes(bytes(content))
    record = json.loads((directory / "artifact.json").read_text())
    record["sha256"]["residuals.npy"] = sha256(bytes(content)).hexdigest()
    (directory / "artifact.json").write_text(json.dumps({**record, "digest": digest_of(record)}))
    reply = setting.worker.ask(how, "/".join(name.split("/")[:2]), name, 0.9)
    damage.restore(setting.work / "pristine" / directory.relative_to(setting.work / "store"), directory)
    assert reply.verdict == "silent"
    assert setting.worker.ask(how, "/".join(name.split("/")[:2]), name, 0.9).verdict == "same"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_damage_changes_a_file(kind, tmp_path):
    for stage in ("one", "two"):
        (tmp_path / "pristine" / "train" / stage).mkdir(parents=True)
        (tmp_path / "pristine" / "train" / stage / "a.json").write_text('{"a": [1, 2, {"b": "' + stage * 50 + '"}]}\n')
    file = tmp_path / "pristine" / "train" / "one" / "a.json"
    changed = [KINDS[kind](file, Random(number)) != file.read_bytes() for number in range(10)]
    assert any(changed)
