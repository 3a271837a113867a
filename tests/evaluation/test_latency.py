import time

import pytest

from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import milliseconds_per_query


def test_the_best_pass_counts():
    calls = []

    def search(query):
        calls.append(query)
        time.sleep(0.05 if len(calls) <= 2 else 0.005)  # the first pass is slow

    assert 5 <= milliseconds_per_query(search, ["a", "b"]) < 40
    assert calls == ["a", "b"] * 3


def test_no_queries():
    with pytest.raises(InputError):
        milliseconds_per_query(print, [])
