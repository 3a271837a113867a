"""The files of the papers' tables are read strictly."""

import pytest

from colbertv2.configuration.composition import CONF, compose
from colbertv2.errors import InputError
from colbertv2.reproduction.experiment import Experiment, names, parsed, points

TABLE = {"title": "T", "claim": "C", "source": "S", "data": "D"}


def test_every_file_of_a_table_reads_and_says_what_it_is():
    assert {"msmarco", "beir", "lotte_test", "lotte_dev", "openqa", "compression", "peerqa", "plaid"} <= set(names())
    for name in names():
        table = Experiment.read(name)
        assert table.title and table.claim and table.data and table.rows
        for row in table.rows:
            for measure, published in row.published.items():
                if published is not None and not row.not_run:  # then there is a value to compare it with
                    assert row.allowed(measure) is not None or measure == "ms_per_query", (name, row.row, measure)
                fraction = measure.partition("@")[0] in ("RR", "R", "nDCG", "AP", "Success", "RBO")
                assert published is None or not fraction or 0 < published < 1, (name, row.row)


def test_what_rows_choose_by_name_is_there():
    for name in names():
        for row in Experiment.read(name).rows:
            for group, _, choice in (word.partition("=") for word in row.overrides):
                if (CONF / group).is_dir():
                    assert (CONF / group / f"{choice}.yaml").is_file(), (name, row.row, choice)


def test_tables_of_the_paper_have_their_values():
    beir = {row.row: row for row in Experiment.read("beir").rows}
    assert sum(row.of == "metrics" and "PLAID" not in row.row for row in beir.values()) == 13
    assert beir["SciFact"].published == {"nDCG@10": 0.693} and beir["SciFact"].others["SPLADEv2"] == 0.693
    lotte = Experiment.read("lotte_test")
    assert len(lotte.rows) == 24 and next(r for r in lotte.rows if r.row == "Pooled, search").published == {
        "Success@5": 0.716
    }
    peerqa = {row.row: row.published for row in Experiment.read("peerqa").rows}
    assert peerqa["paragraphs, with title, PLAID"] == {"RR": 0.4122, "R@10": 0.6371}
    assert peerqa["paragraphs, PLAID"] == {"RR": 0.4368, "R@10": 0.6287}


def test_a_grid_makes_a_row_of_each_point_and_common_values_reach_all():
    row = {"row": "a", "published": {"RR@10": None}, "with": ["x=1"], "grid": {"k.bits": [1, 2], "seed": [3]}}
    table = parsed("t", {**TABLE, "tolerance": 0.1, "passages": 5, "rows": [row]})
    assert [one.row for one in table.rows] == ["a: bits=1, seed=3", "a: bits=2, seed=3"]
    assert table.rows[1].overrides == ["x=1", "k.bits=2", "seed=3"] and table.rows[1].passages == 5
    assert table.rows[0].allowed("RR@10") == 0.1


def test_a_block_makes_a_row_of_each_collection():
    own = {"row": "NQ", "published": {"RR@10": 0.3}, "with": ["y=2"], "tolerance": 0.2}
    block = {"of": "bm25_metrics", "with": ["x=1"], "collections": {"beir/nq": own, "vaswani": {**own, "row": "V"}}}
    first, second = parsed("t", {**TABLE, "tolerance": 0.1, "rows": [block]}).rows
    assert (first.row, first.of, second.row) == ("NQ", "bm25_metrics", "V") and first.allowed("RR@10") == 0.2
    assert first.overrides == ["x=1", "suite.collections=[beir/nq]", "y=2"]
    with pytest.raises(InputError, match="expected collection → keys of its row"):
        parsed("t", {**TABLE, "rows": [{**block, "collections": ["beir/nq"]}]})


@pytest.mark.parametrize("name", ["beir", "collections", "lotte_dev", "lotte_test"])
def test_the_collections_of_a_table_are_those_of_its_suites(name):
    found: dict[str, list[str]] = {}
    for row in Experiment.read(name).rows:
        words = dict(word.split("=", 1) for word in row.overrides)
        found.setdefault(words.get("suite", ""), []).append(words["suite.collections"].strip("[]"))
    for suite, collections in found.items():
        config = compose([f"+paper={name}", *([f"suite={suite}"] if suite else [])])
        assert list(dict.fromkeys(collections)) == list(config.suite.collections)


def test_rows_share_overrides_by_name():
    row = {"row": "a", "published": {"RR@10": None}, "with": ["x=1"], "under": "here"}
    table = parsed("t", {**TABLE, "settings": {"here": ["y=2"]}, "rows": [row]})
    assert table.rows[0].overrides == ["y=2", "x=1"]
    with pytest.raises(InputError, match="no settings 'hare'; did you mean 'here'"):
        parsed("t", {**TABLE, "settings": {"here": ["y=2"]}, "rows": [{**row, "under": "hare"}]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": [{"row": "a", "publishd": {}}]}, "row 1: unknown key 'publishd'; did you mean 'published'"),
        ({"rows": [{"published": {"RR": 1}}]}, "row 1: row is missing"),
        ({"rows": [{"row": "a", "published": {}}]}, "published is empty"),
        ({"rows": [{"row": "a", "published": {"RR": "39.7"}}]}, "expected numbers"),
        ({"rows": [{"row": "a", "published": {"RR": 1}}] * 2}, "two rows are called 'a'"),
        ({"rows": [], "clame": "x"}, "unknown key 'clame'"),
    ],
)
def test_a_wrong_table_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        parsed("t", {**TABLE, **change})


def test_a_wrong_grid_and_an_unknown_table_are_refused():
    with pytest.raises(InputError, match="expected override"):
        points({"row": "a", "grid": {"codec.nbits": 2}})
    with pytest.raises(InputError, match=r"no table 'biir'.*did you mean 'beir'"):
        Experiment.read("biir")
