"""A chain of the campaign of kills: nothing lives on, nothing is left, and the result is the same."""

from experiments.torture import kills
from experiments.torture.campaign import GOOD, run_part


def test_a_chain_of_kills_ends_in_the_same_result(tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "KILLS", 1)
    monkeypatch.setattr(kills, "UNDISTURBED", 1)
    (outcome,) = run_part("kills", tmp_path, seed=0, count=1)
    assert outcome.verdict in GOOD, outcome
    assert not outcome.detail.startswith("0 kills")
