from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import COLLECTION, made_cells

from colbertv2.ablation.cells import Cell
from colbertv2.ablation.conclusions import (
    against,
    conclude,
    difference_of,
    interaction_sentences,
    pareto,
    traded,
    unknown_sentences,
)
from colbertv2.ablation.findings import Interaction, find
from colbertv2.evaluation.intervals import ConfidenceInterval
from colbertv2.evaluation.statistics import Contrast, Estimate

AXIS = {"codec.nbits": ["2", "1", "4"]}
LOWER = Estimate(-0.0281, ConfidenceInterval(-0.0412, -0.0149), None, None, 0.0066, 299)


def one_bit(setting):
    return -0.03 * (setting["codec.nbits"] == "1")


def told_of(contrast, cells=None):
    return difference_of(contrast, "RR@10", cells or made_cells(AXIS))


def test_a_difference_is_told_with_its_evidence():
    told = told_of(Contrast(LOWER, 0.0012, 0.02, 300))
    assert told == "RR@10 is .028 lower (95 % interval −.041 to −.015, Holm-adjusted p = .001)"
    higher = Estimate(0.0002, ConfidenceInterval(0.0001, 0.0003), None, None, 0.0001, 299)
    told = told_of(Contrast(higher, 0.0004, 0.02, 300))
    assert told.startswith("RR@10 is less than .001 higher (95 % interval .0001 to .0003") and told.endswith(
        "p < .001)"
    )


@pytest.mark.parametrize("p", [0.05, 0.61])
def test_without_significance_nothing_is_called_lower(p):
    told = told_of(Contrast(LOWER, p, 0.009, 300))
    assert told.startswith("no difference in RR@10 was shown (−.028, 95 % interval −.041 to −.015, Holm-adjusted p = ")
    assert told.endswith("; a true difference of .009 would have been found with probability .8")


def test_what_cannot_be_found_is_not_promised():
    told = told_of(Contrast(LOWER, 0.25, None, 3))
    assert "(too narrow: only 3 queries differ)" in told and "probability" not in told
    assert told.endswith("; only 3 queries differ, too few to show any difference in so many tests")
    assert "only 1 query differ" in told_of(Contrast(LOWER, 1.0, None, 1))
    same = Estimate(0.0, ConfidenceInterval(0, 0), None, None, 0.0, 299)
    assert told_of(Contrast(same, 1.0, None, 0)) == "no query differs in RR@10"


def test_models_that_were_trained_apart_are_told_apart_from_their_recipes():
    def made(p, p_recipes, detectable_recipes=None, few=False):
        return Contrast(LOWER, p, 0.009, 300, True, p_recipes, detectable_recipes, few)

    one_seed = told_of(made(0.001, None))
    assert one_seed.startswith("RR@10 of these models is .028 lower (")
    assert one_seed.endswith("; with one training seed this says nothing of other trainings by the same recipes")
    cells = made_cells(AXIS, seeds=(3, 1))
    both = told_of(made(0.001, 0.02, 0.03), cells)
    assert both.startswith("RR@10 is .028 lower (")
    assert both.endswith("; with other training seeds too (‡, Holm-adjusted p = .020)")
    models = told_of(made(0.001, 0.2, 0.03), cells)
    assert models.startswith("RR@10 of these models is .028 lower (")
    assert models.endswith(
        "; with other training seeds no difference was shown (Holm-adjusted p = .200), where one of .030 would have "
        "been found with probability .8"
    )
    assert told_of(made(0.001, 0.2, few=True), cells).endswith("two seeds are too few to tell which true difference "
                                                               "would have been found")  # fmt: skip
    neither = told_of(made(0.3, 0.4, 0.03), cells)
    assert neither.endswith(
        "a true difference of .009 between these models would have been found with probability .8, and one of .030 "
        "between their recipes"
    )
    assert told_of(made(0.3, None)).endswith("; with one training seed nothing is known of their recipes")


def test_recipes_that_only_seem_to_differ_are_not_called_better():
    cells = made_cells(AXIS, one_bit, seeds=(3, 1), noise=(0.05, 0.0, 0.02), trained="codec.nbits")
    found = find(cells, 0)
    contrast = found.comparisons["RR@10"]["codec.nbits=1"]
    assert contrast.significant and not contrast.significant_recipes
    assert "of these models" in conclude(found)[0]
    assert "no difference was shown" in conclude(found)[0]
    single = conclude(find(made_cells(AXIS, one_bit, trained="codec.nbits"), 0))[0]
    assert "of these models" in single and "says nothing of other trainings" in single


def test_an_interval_over_seeds_that_includes_zero_is_told():
    cells = made_cells(AXIS, seeds=(3, 2))
    doubtful = replace(
        LOWER, training=ConfidenceInterval(-0.06, 0.004), kmeans=ConfidenceInterval(-0.03, -0.02), degrees=100
    )
    told = told_of(Contrast(doubtful, 0.001, 0.02, 300), cells)
    assert told.endswith(
        "; but the interval over 3 training seeds (−.060 to .004) includes 0, so the difference may be due to the seed"
    )
    both = replace(doubtful, kmeans=ConfidenceInterval(-0.06, 0.01), error=0.02, degrees=2.0)
    told = told_of(Contrast(both, 0.001, 0.02, 300), cells)
    assert "3 training seeds (−.060 to .004) and the interval over 2 k-means seeds (−.060 to .010) include 0" in told
    sure = replace(doubtful, training=ConfidenceInterval(-0.05, -0.01))
    together = replace(sure, error=0.02)
    told = told_of(Contrast(together, 0.001, 0.02, 300), cells)
    assert "but the interval over queries and seeds together (−.068 to .012) includes 0" in told
    assert "due to the seed" not in told_of(Contrast(sure, 0.001, 0.02, 300), cells)


def test_seeds_that_matter_more_than_the_knob_are_found_in_made_up_values():
    cells = made_cells(AXIS, one_bit, seeds=(3, 1), noise=(0.05, 0.0, 0.02))
    sentences = conclude(find(cells, 0))
    assert "may be due to the seed" in sentences[0]


def test_the_factors_that_differ_are_named():
    def cell(**factors):
        return Cell(factors, {}, {}, None, "")

    assert against(cell(bits="1", k="64"), cell(bits="2", k="64")) == "bits=1 against 2"
    assert against(cell(bits="1", k="64"), cell(bits="2", k="9")) == "bits=1, k=64 against bits=2, k=9"


def test_one_factor_is_told_by_its_cells_and_the_seeds_once_at_the_end():
    sentences = conclude(find(made_cells(AXIS, one_bit), 0))
    assert sentences[0].startswith("codec.nbits=1 against 2: RR@10 is .0") and " lower (" in sentences[0]
    assert sentences[1].startswith("codec.nbits=4 against 2: no difference in RR@10 was shown")
    assert sentences[-1] == (
        "There is only one training seed and one k-means seed, so nothing is known about other training and k-means "
        "seeds."
    )
    assert sum("nothing is known" in sentence for sentence in sentences) == 1
    assert unknown_sentences(made_cells(AXIS, seeds=(2, 2))) == []


def test_a_factorial_design_is_told_by_its_effects():
    axes = AXIS | {"num_centroids": ["64", "128"], "nprobe": ["1", "2"]}
    cells = made_cells(axes, lambda s: one_bit(s) * (1 + (s["num_centroids"] == "128")), queries=100)
    told = conclude(find(cells, 0))
    assert told[0].startswith("codec.nbits=1 against 2, averaged over num_centroids and nprobe: RR@10 is .04")
    [interaction] = [sentence for sentence in told if sentence.startswith("Interaction")]
    assert "RR@10 of codec.nbits=1 with num_centroids=128 is .0" in interaction
    assert "lower than the sum of their two effects (95 % interval" in interaction
    absent = [sentence for sentence in told if sentence.startswith("No interaction of")]
    assert len(absent) == 2 and all("would have been found with probability .8" in sentence for sentence in absent)
    assert any(sentence.startswith("Shares of the sum of squares") and "codec.nbits 8" in sentence for sentence in told)


def test_the_interaction_that_is_hardest_to_find_is_the_one_told():
    family = [
        Interaction(("a", "b"), ("1", "1"), Contrast(LOWER, 0.4, 0.01, 300)),
        Interaction(("a", "b"), ("2", "1"), Contrast(LOWER, 0.2, 0.03, 300)),
    ]
    assert interaction_sentences(family, made_cells(AXIS), "RR@10") == [
        "No interaction of a and b was shown (smallest Holm-adjusted p = .200); "
        "a true difference of .030 would have been found with probability .8."
    ]


def test_a_pair_of_which_nothing_can_be_shown_hides_nothing_and_is_named():
    family = [
        Interaction(("a", "b"), ("1", "1"), Contrast(LOWER, 0.4, None, 3)),
        Interaction(("a", "b"), ("2", "1"), Contrast(LOWER, 0.2, 0.03, 300)),
    ]
    assert interaction_sentences(family, made_cells(AXIS), "RR@10") == [
        "No interaction of a and b was shown (smallest Holm-adjusted p = .200); a true difference of .030 would have "
        "been found with probability .8; of a=1 with b=1 nothing can be shown, as too few queries differ."
    ]
    [nothing] = interaction_sentences(family[:1], made_cells(AXIS), "RR@10")
    assert nothing.endswith("only 3 queries differ, too few to show any difference in so many tests.")


def test_an_interaction_that_may_be_due_to_the_seed_is_told_so():
    doubtful = replace(LOWER, training=ConfidenceInterval(-0.06, 0.004), degrees=100)
    family = [Interaction(("a", "b"), ("1", "1"), Contrast(doubtful, 0.001, 0.02, 300))]
    [told] = interaction_sentences(family, made_cells(AXIS, seeds=(3, 1)), "RR@10")
    assert "lower than the sum" in told and told.endswith("so the difference may be due to the seed.")


def test_seeds_that_moved_together_are_told_so():
    cells = replace(made_cells(AXIS, one_bit, seeds=(3, 1)), kmeans_follows=True)
    told = conclude(find(cells, 0))
    assert "Training and k-means seeds moved together" in told[-1] and not any("one k-means" in one for one in told)


SUITE = {"a": 40, "b": 60, "c": 50}


def test_several_collections_are_told_by_their_mean_and_each():
    found = find(made_cells(AXIS, one_bit, queries=SUITE), 0)
    told = conclude(found)
    assert told[0].startswith("codec.nbits=1 against 2: the mean RR@10 of 3 collections is .0")
    [counts] = [one for one in told if one.startswith("codec.nbits=1 against 2, collection by collection: RR@10 is")]
    assert "higher on 0 of 3 and lower on 3 (Holm" in counts and "equal on 0 and lower on 3." in counts
    [further] = [one for one in told if one.startswith("codec.nbits=1 against 2, collection by collection: if these")]
    assert "3 collections tell very little about others" in further and "on a further collection from −" in further


def test_holes_and_a_failed_baseline_are_told():
    axes = AXIS | {"nprobe": ["1", "2"]}
    told = conclude(find(made_cells(axes, one_bit, fails=lambda s: s == {"codec.nbits": "1", "nprobe": "2"}), 0))
    assert told[0].startswith("The grid is not complete: 1 of 6 cells lack values")
    assert told[1].startswith("nprobe=2 against 1: no difference")
    assert "1 of 6 cells has no values." in told
    told = conclude(find(made_cells(AXIS, fails=lambda s: s["codec.nbits"] == "2"), 0))
    assert told[0] == "The baseline codec.nbits=2 has no values, so nothing is compared with it."
    assert not any("lower" in sentence or "higher" in sentence for sentence in told)
    conclude(find(made_cells(AXIS, fails=lambda s: True), 0))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
@settings(max_examples=60)
def test_pareto_leaves_what_no_other_dominates(points):
    made = made_cells({"a": [str(i) for i in range(len(points))]}, queries=1)
    cells = [
        replace(
            cell,
            values={"RR@10": {COLLECTION: 0 * cell.values["RR@10"][COLLECTION] + quality}},
            costs={"ms_per_query": float(cost)},
        )
        for cell, (quality, cost) in zip(made.cells, points, strict=True)
    ]
    left = {cell.name for cell in pareto(cells, "RR@10", "ms_per_query")}
    for cell, (quality, cost) in zip(cells, points, strict=True):
        dominated = any((q >= quality and c < cost) or (q > quality and c <= cost) for q, c in points)
        assert (cell.name in left) != dominated


def test_pareto_is_told_where_costs_are_known():
    cells = made_cells(AXIS, one_bit)  # bytes rise and milliseconds fall from cell to cell
    told = " ".join(conclude(find(cells, 0)))
    assert "RR@10 against bytes per token: " in told and "codec.nbits=2 (20.0, ." in told
    assert "codec.nbits=1 (21.0" not in told  # larger and worse than 2 bits
    without = replace(cells, cells=[replace(cell, costs={}) for cell in cells.cells])
    without = replace(without, baseline=without.cells[0])
    assert "dominated" not in " ".join(conclude(find(without, 0)))


def test_bytes_are_per_document_where_bytes_per_token_hide_a_difference():
    """Pooling keeps the bytes of a vector and makes fewer vectors: a front of bytes per token showed one cost."""
    cells = made_cells({"codec.nbits": ["1", "2"], "reduction.factor": ["1", "2"]})
    assert traded(cells) == ("bytes_per_token", "ms_per_query")
    for cell in cells.cells:
        cell.costs["bytes_per_token"] = 20.0 if cell.factors["codec.nbits"] == "1" else 36.0
    assert traded(cells) == ("bytes_per_document", "ms_per_query")
    for cell in cells.cells:
        cell.costs["bytes_per_document"] = 100 * cell.costs["bytes_per_token"]
    assert traded(cells) == ("bytes_per_token", "ms_per_query")
