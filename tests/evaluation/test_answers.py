"""DPR's matching against a naive reading of its rule."""

from unicodedata import category, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.evaluation.protocols import regex_matcher, token_matcher, tokens


def naive_tokens(text: str) -> list[str]:
    found, word = [], ""
    for character in [*normalize("NFD", text), " "]:
        kind = category(character)[0]
        if kind in "LNM":
            word += character
            continue
        if word:
            found.append(word.lower())
        word = ""
        if kind not in "ZC":
            found.append(character.lower())
    return found


def naive_match(answers: list[str], text: str) -> bool:
    words = naive_tokens(text)
    return any(
        bool(wanted) and words[start : start + len(wanted)] == wanted
        for wanted in map(naive_tokens, answers)
        for start in range(len(words))
    )


TEXTS = st.text(st.sampled_from("aAbBéÉſßİΣς1²ˆ'-_ \t\n\x00\u00a0\u200b\u0301§文"), max_size=12)


@given(TEXTS)
def test_tokens_are_runs_of_word_characters_or_single_others(text):
    assert tokens(text) == naive_tokens(text)


@given(st.lists(TEXTS, max_size=3), TEXTS, TEXTS)
def test_an_answer_matches_as_whole_tokens_in_a_row(answers, before, after):
    has_answer = token_matcher(answers)
    assert has_answer(before) == naive_match(answers, before)
    for answer in answers:
        text = f"{before} {answer} {after}"
        assert has_answer(text) == naive_match(answers, text)
        assert has_answer(text) or not naive_tokens(answer)


@pytest.mark.parametrize(
    ("answer", "text", "expected"),
    [
        ("New York", "He went to NEW  YORK.", True),
        ("New York", "a new Yorker", False),
        ("Dvořák", "by Antonín DVOR\u030cÁK", True),
        ("9", "19 or 9th", False),
        ("U.S.", "the U.S. army", True),
        ("U.S.", "the US army", False),
        ("rock'n'roll", "Rock 'n' roll", True),  # tokens know no spaces
        ("", "anything", False),
    ],
)
def test_examples(answer, text, expected):
    assert token_matcher([answer])(text) is expected


def test_regular_expressions():
    has_answer = regex_matcher([r"^born in 18\d\d", "("])
    assert has_answer("He was\nBORN IN 1841") and not has_answer("born in 1741")
    assert not regex_matcher(["("])("(")
    assert regex_matcher(["caf\u00e9"])("CAFE\u0301")
