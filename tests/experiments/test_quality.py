"""The table of what training gives: every row has its node, and means, intervals and tests are what they say."""

import numpy as np
import pandas as pd
import pytest
from support import shrunk, tiny_folder

from colbertv2.configuration.composition import plan, target_node
from experiments.quality.__main__ import (
    ELSEWHERE,
    MEASURES,
    ROWS,
    configured,
    half_width,
    tabulate,
    to_markdown,
    with_interval,
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.target}{row.overrides}")
def test_every_row_plans(row, tmp_path):
    small = shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts")
    config = configured(row, 1, small)
    for part in ("documents", "eval"):  # the files of another collection may not be here
        config.evaluated[part].id = config.collection[part].id
    assert plan(config)[-1].key == f"pipeline.{row.target}"


def test_rows_elsewhere_evaluate_the_first_and_the_last_checkpoint():
    for row in ROWS:
        if row.block == ELSEWHERE:
            config = configured(row, 1, [])
            evaluation = target_node(config)
            assert config.evaluated.name == row.name.partition(",")[0].lower()
            trained = evaluation.ancestor("checkpoint").key == "pipeline.round3.checkpoint"
            assert trained == ("trained on" in row.name) and row.name.count("untrained") == (not trained)
            assert evaluation.ancestor("index").values["codec"].values["nbits"] == 2


def test_rows_are_compared_with_rows_of_their_block():
    names = {(row.block, row.name) for row in ROWS}
    assert len(names) == len(ROWS)
    assert all((row.block, row.against) in names for row in ROWS if row.against)


def test_means_intervals_and_p_values():
    generator = np.random.default_rng(0)
    ids = pd.Index([f"q{number}" for number in range(40)], name="query_id")

    def table(gain: float) -> pd.DataFrame:
        return pd.DataFrame(generator.uniform(0, 0.1, (40, len(MEASURES))) + gain, ids, list(MEASURES))

    first, second, same = (next(row for row in ROWS if row.target == name) for name in
                           ("untrained_metrics", "round1_metrics", "contrastive_metrics"))  # fmt: skip
    better = [table(0.5), table(0.6)]
    made = tabulate({first: [table(0.0), table(0.0)], second: better, same: better})
    assert made["seeds"].tolist() == [2, 2, 2] and made["queries"].tolist() == [40, 40, 40]
    by_seed = [one["nDCG@10"].mean() for one in better]
    assert made["nDCG@10"][1] == pytest.approx(np.mean(by_seed))
    assert made["nDCG@10_half_width"][1] == pytest.approx(12.706 * abs(by_seed[0] - by_seed[1]) / 2, rel=1e-3)
    assert np.isnan(made["p_nDCG@10"][0]) and made["p_nDCG@10"][1] < 0.001 and made["p_nDCG@10"][2] == 1
    text = to_markdown(made, 120.0)
    assert "| untrained |" in text and "< .001 | untrained |" in text and "took 2 minutes" in text


def test_one_seed_has_no_interval():
    assert np.isnan(half_width([0.5]))
    assert with_interval(0.7661, float("nan")) == ".766" and with_interval(0.7661, 0.0123) == ".766 ± .012"


def test_seeds_that_change_nothing_have_no_interval_either():
    assert with_interval(0.7661, half_width([0.7661, 0.7661, 0.7661])) == ".766"
    assert with_interval(0.7661, half_width([0.7661, 0.7662, 0.7661])) == ".766 ± .000"
