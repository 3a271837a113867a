"""Examples survive being written and read, in the official layouts, with any ids."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbertv2.errors import InputError
from colbertv2.training.examples import Example, Examples, Selected, write_examples

ids = st.text(min_size=1, max_size=6)
scored = st.lists(
    st.tuples(ids, st.none() | st.floats(allow_nan=False, allow_infinity=False)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=50)
@given(st.lists(st.tuples(ids, scored), max_size=5))
def test_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("examples") / "examples.jsonl"
    examples = list(Example(query, [d for d, _ in pairs], [s for _, s in pairs]) for query, pairs in rows)
    write_examples(path, examples)
    read = Examples(path)
    assert len(read) == len(examples)
    assert [(e.query_id, e.documents) for e in read] == [(e.query_id, e.documents) for e in examples]
    for place in range(-len(examples), len(examples)):
        assert read[place].documents == examples[place].documents
    for one, other in zip(read, examples, strict=True):
        assert one.scores == other.scores and one.is_scored == (None not in other.scores)


def test_unscored_layout_with_integer_ids_is_read(tmp_path):
    (tmp_path / "e").write_text("[7, 1, 2]\n")
    (example,) = Examples(tmp_path / "e")
    assert example.query_id == "7" and example.documents == ["1", "2"] and example.scores == [None, None]


@pytest.mark.parametrize("line", ["nonsense", "[1]", "{}", '["q", ["d", "high"]]', '["q", ["d", 1, 2]]'])
def test_malformed_lines_are_named(tmp_path, line):
    (tmp_path / "e").write_text(f'["q", ["d", 1.0]]\n{line}\n')
    examples = Examples(tmp_path / "e")
    assert examples[0].documents == ["d"]
    with pytest.raises(InputError, match="example 2"):
        list(examples)
    with pytest.raises(InputError, match="example 2"):
        examples[1]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl is not a file"):
        Examples(tmp_path / "none.jsonl")


def test_scores_before_ids_are_read_as_the_ranking_scorer_writes_them(tmp_path):
    (tmp_path / "e").write_text('["q", [[2.5, 7], [1.0, 8]]]\n["q", [7, 2.5]]\n')
    first, second = Examples(tmp_path / "e")
    assert first == Example("q", ["7", "8"], [2.5, 1.0]) and second == Example("q", ["7"], [2.5])


def test_only_places_are_held_in_memory(tmp_path):
    write_examples(tmp_path / "e", (Example(str(i), ["a", "b"], [1.0, 0.0]) for i in range(1000)))
    examples = Examples(tmp_path / "e")
    assert examples.offsets.nbytes == 8000 and examples[999].query_id == "999"
    chosen = Selected(examples, [5, 3])
    assert [example.query_id for example in chosen] == ["5", "3"] and chosen[1:][0].query_id == "3"
