"""Comparisons of published with measured values, and their verdicts."""

import pytest

from colbertv2.reproduction.experiment import parsed
from colbertv2.reproduction.measure import Measurement
from colbertv2.reproduction.verdict import comparison, summary, to_markdown

TABLE = parsed(
    "t",
    {
        "title": "A table", "claim": "It holds.", "source": "Paper", "data": "None.",
        "rows": [
            {"row": "near", "published": {"RR@10": 0.397}, "tolerance": {"RR@10": 0.005}, "others": {"BM25": 0.187}},
            {"row": "far", "published": {"RR@10": 0.397}, "tolerance": 0.005, "source": "Elsewhere"},
            {"row": "fast", "published": {"ms_per_query": 185.5}, "tolerance": {"ms_per_query": "other hardware"}},
            {"row": "new", "published": {"RR@10": None}},
            {"row": "away", "published": {"RR@10": 0.41}, "tolerance": 0.01},
            {"row": "broken", "published": {"RR@10": 0.5}, "tolerance": 0.01},
            {"row": "odd", "published": {"RR@11": 0.5}, "tolerance": 0.01},
        ],
    },
)  # fmt: skip
FOUND = {
    "near": Measurement({"RR@10": 0.392}),
    "far": Measurement({"RR@10": 0.3915}),
    "fast": Measurement({"ms_per_query": 3.0}),
    "new": Measurement({"RR@10": 0.3}),
    "away": Measurement({}, reason="no weights"),
    "broken": Measurement({}, reason="a stage failed", failed=True),
    "odd": Measurement({"RR@10": 0.5}),
}


def test_every_kind_of_verdict():
    compared = comparison(TABLE, FOUND).set_index("row")
    assert compared["verdict"].to_dict() == {
        "near": "within",
        "far": "outside",
        "fast": "not compared: other hardware",
        "new": "no published value",
        "away": "not run: no weights",
        "broken": "failed: a stage failed",
        "odd": "failed: metrics gives no RR@11, only RR@10",
    }
    assert compared["difference"]["near"] == pytest.approx(-0.005)
    assert compared["source"]["far"] == "Elsewhere" and compared["source"]["near"] == "Paper"


def test_a_published_value_is_never_in_the_measured_column():
    compared = comparison(TABLE, FOUND).set_index("row")
    assert compared["measured"][["away", "broken", "odd"]].isna().all()
    assert compared["measured"]["near"] == 0.392 and compared["published"]["near"] == 0.397


def test_small_runs_are_compared_with_nothing():
    compared = comparison(TABLE, {"near": Measurement({"RR@10": 0.397}, small=True)})
    assert compared["verdict"].tolist() == ["small: not comparable"] and compared["difference"].isna().all()
    changed = comparison(TABLE, {"near": Measurement({"RR@10": 0.397}, changed=["codec.nbits=1"])})
    assert changed["verdict"].tolist() == ["changed, not comparable: codec.nbits=1"]
    assert changed["difference"].isna().all() and changed["measured"].tolist() == [0.397]


def test_the_text_holds_values_sources_and_what_was_not_run():
    text = to_markdown(TABLE, comparison(TABLE, FOUND), "make it", "full")
    lines = [line for line in text.splitlines() if line.startswith("| near")]
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == [
        "near", "RR@10", ".397", ".392", "−.005", ".005", "within",
    ]  # fmt: skip
    assert "Paper, Elsewhere" in text and "Published for other systems, not run here" in text and ".187" in text
    assert "not run (2)" in text and "(2) no weights" in text and "`make it`" in text
    assert "Run small" in to_markdown(TABLE, comparison(TABLE, FOUND), "make it", "small")
    assert summary(comparison(TABLE, FOUND)["verdict"].tolist()).startswith("1 within, 1 outside, 1 not compared")
