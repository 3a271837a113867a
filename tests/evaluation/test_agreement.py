"""Agreement of rankings: what must hold for any two lists, and values computed by hand or as the sum is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.errors import InputError
from colbertv2.evaluation.agreement import agreement, rank_biased_overlap, share_found
from colbertv2.evaluation.ranking import Ranking

LISTS = st.lists(st.integers(0, 12).map(str), unique=True, max_size=12)
FULL = st.lists(st.integers(0, 12).map(str), unique=True, min_size=1, max_size=12)
PERSISTENCES = st.floats(0.05, 0.999)


def naive(first: list[str], second: list[str], persistence: float) -> float:
    """The sum as it is written, one depth after the other."""
    score = normaliser = 0.0
    for depth in range(1, max(len(first), len(second)) + 1):
        weight = persistence ** (depth - 1)
        score += weight * len({*first[:depth]} & {*second[:depth]}) / depth
        normaliser += weight
    return score / normaliser


@given(FULL, FULL, PERSISTENCES)
def test_overlap_is_the_sum_as_it_is_written_and_the_same_from_both_sides(first, second, persistence):
    found = rank_biased_overlap(first, second, persistence)
    assert found == pytest.approx(naive(first, second, persistence))
    assert found == rank_biased_overlap(second, first, persistence)
    assert 0 <= found <= 1


@given(LISTS, PERSISTENCES)
def test_equal_lists_agree_wholly_and_disjoint_ones_not_at_all(documents, persistence):
    assert rank_biased_overlap(documents, documents, persistence) == 1
    others = [f"other {document}" for document in documents]
    assert rank_biased_overlap(documents, others, persistence) == (0 if documents else 1)
    assert rank_biased_overlap(documents, [], persistence) == (0 if documents else 1)


@given(FULL, FULL, st.data())
def test_agreement_grows_as_a_list_is_made_more_like_the_other(first, second, data):
    """One more of the reference's documents in a stranger's place, and an exchange of two that were the wrong way."""
    reference = {"q": [(document, -rank) for rank, document in enumerate(second)]}

    def values(documents: list[str]) -> dict[str, float]:
        ranking = {"q": [(document, -rank) for rank, document in enumerate(documents)]}
        return agreement(ranking, reference, [1, 3, 10], 0.9).loc["q"].to_dict()

    place = data.draw(st.integers(0, len(first) - 1))
    if (missing := [one for one in second if one not in first]) and first[place] not in second:
        closer = [*first[:place], data.draw(st.sampled_from(missing)), *first[place + 1 :]]
        before, after = values(first), values(closer)
        assert all(after[name] >= before[name] for name in before)
        assert after["RBO"] > before["RBO"]
    if place and first[place] in second and first[place - 1] not in second:
        swapped = [*first[: place - 1], first[place], first[place - 1], *first[place + 1 :]]
        assert values(swapped)["RBO"] >= values(first)["RBO"]


def test_by_hand():
    # d=1: a, x share nothing; d=2: b of two; d=3: a and b of three; d=4: the shorter list has ended, still two of four.
    expected = (0 + 0.9 * 1 / 2 + 0.81 * 2 / 3 + 0.729 * 2 / 4) / (1 + 0.9 + 0.81 + 0.729)
    assert rank_biased_overlap(list("xba"), list("abcd"), 0.9) == pytest.approx(expected)
    assert share_found(list("xb"), list("ab")) == 0.5 and share_found([], list("ab")) == 0


def test_a_list_that_ends_early_is_no_better_than_its_documents():
    """PLAID's first row of Table 2 decodes 64 documents: of 1,000 the other 936 are not made up for."""
    exact = [str(number) for number in range(1000)]
    assert rank_biased_overlap(exact[:64], exact, 0.99) == pytest.approx(naive(exact[:64], exact, 0.99))
    assert 0.6 < rank_biased_overlap(exact[:64], exact, 0.99) < 0.8
    table = agreement({"q": [(one, 0.0) for one in exact[:64]]}, {"q": [(one, 0.0) for one in exact]}, [10, 100], 0.99)
    assert table.loc["q", ["overlap@10", "overlap@100", "found@100"]].tolist() == [1.0, 0.64, 0.64]


def test_queries_are_the_references_and_short_lists_count_whole():
    reference = Ranking({"both": [("a", 2.0), ("b", 1.0)], "lost": [("a", 1.0)]})
    ranking = Ranking({"other": [("a", 1.0)], "both": [("c", 3.0), ("b", 2.0), ("a", 1.0)]})
    table = agreement(ranking, reference, [1, 10], 0.5)
    assert table.index.tolist() == ["both", "lost"] and table.index.name == "query_id"
    assert table.columns.tolist() == ["RBO", "overlap@1", "overlap@10", "found@1", "found@10"]
    assert table.loc["both"].tolist() == pytest.approx([(0.5 / 2 + 0.25 * 2 / 3) / 1.75, 0, 1, 1, 1])
    assert (table.loc["lost"] == 0).all()


def test_equal_scores_are_one_order_whoever_wrote_them():
    """``Ranking`` breaks ties by document id, so that two engines' equal scores cannot differ in order."""
    first, second = Ranking({"q": [("a", 1.0), ("b", 1.0)]}), Ranking({"q": [("b", 1.0), ("a", 1.0)]})
    assert agreement(first, second, [1], 0.9).loc["q", "RBO"] == 1


@pytest.mark.parametrize(
    ("depths", "persistence", "expected"),
    [([], 0.9, "at least one"), ([0, 1], 0.9, "at least 1"), ([5, 5], 0.9, "each once"), ([1], 1.0, "less than 1"),
     ([1], 0.0, "more than 0"), ([1], float("nan"), "less than 1")],
)  # fmt: skip
def test_wrong_arguments_are_refused(depths, persistence, expected):
    with pytest.raises(InputError, match=expected):
        agreement({}, {"q": [("a", 1.0)]}, depths, persistence)


def test_a_reference_without_queries_is_refused():
    with pytest.raises(InputError, match="no queries"):
        agreement({"q": [("a", 1.0)]}, {}, [1], 0.9)
