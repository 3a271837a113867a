from hypothesis import given
from hypothesis import strategies as st

from colbertv2.data.leakage import NEAR, leakage_warnings, leaks, near_duplicates, normalised, words_of

TEXTS = st.lists(st.lists(st.sampled_from("abcdefghij"), min_size=0, max_size=9).map(" ".join), max_size=12)


@given(TEXTS, TEXTS, st.sampled_from([0.5, NEAR, 1.0]))
def test_all_pairs_are_found_that_a_comparison_of_all_finds(train, test, near):
    trained, tested = list(enumerate(train)), list(enumerate(test))
    training = [(f"t{number}", one) for number, one in trained]
    found = {leak.test_id: leak for leak in leaks(training, [(f"q{number}", one) for number, one in tested], near)}
    for number, text in tested:
        own = words_of(text)
        alike = [len(own & words_of(other)) / len(own | words_of(other)) for _, other in trained]
        exact = any(normalised(text) == normalised(other) for _, other in trained)
        best = max(alike, default=0.0)
        assert (f"q{number}" in found) == (best >= near)
        if best >= near:
            assert found[f"q{number}"].exact == exact and (exact or found[f"q{number}"].similarity == best)


@given(TEXTS, st.sampled_from([0.5, 0.6, NEAR, 1.0]))
def test_near_duplicates_are_those_that_a_comparison_with_every_earlier_original_finds(texts, near):
    originals: list[int] = []
    expected: dict[str, str] = {}
    for number, text in enumerate(texts):
        own = words_of(text)
        alike = [
            other
            for other in originals
            if len(own & words_of(texts[other])) / len(own | words_of(texts[other])) >= near
        ]
        if alike:
            expected[f"t{number}"] = f"t{alike[0]}"
        else:
            originals.append(number)
    assert near_duplicates({f"t{number}": text for number, text in enumerate(texts)}, near) == expected


def test_a_warning_says_how_many_and_where():
    train = {"round1": [("t1", "how are strings joined in python"), ("t2", "sort a list")]}
    test = {"mine": [("q1", "Sort  a list"), ("q2", "how are strings joined in python today"), ("q3", "open a file")]}
    [sentence] = leakage_warnings(train, test)
    assert "2 of 3 test queries of mine are training queries (1 word for word, 1 with at least 80%" in sentence
    assert "'q1': 'Sort  a list'" in sentence
    assert leakage_warnings(train, {"other": [("q", "nothing alike here")]}) == []
