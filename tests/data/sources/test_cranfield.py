"""Cranfield's codes become grades: the smaller the code, the better the document."""

from statistics import median

import pytest

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.search.bm25 import BM25


@pytest.fixture(scope="module")
def queries(shared_collections) -> Queries:
    return Queries("cranfield-graded")


def test_ids_texts_and_codes_are_those_of_ir_datasets_but_for_the_order_of_grades(queries):
    original = Queries("cranfield")
    assert list(queries) == list(original)
    for query_id, grades in original.judgements.items():
        assert queries.judgements[query_id] == {doc: 5 - code if code > 0 else code for doc, code in grades.items()}


def test_better_grades_are_found_earlier_and_query_ids_go_with_their_judgements(queries):
    ranking = BM25(1.2, 0.75, "words").index(Collection("cranfield")).search(list(queries), 1400)
    ranks: dict[int, list[int]] = {}
    for query_id, grades in queries.judgements.items():
        places = {doc_id: rank for rank, (doc_id, _) in enumerate(ranking[query_id])}
        for doc_id, grade in grades.items():
            ranks.setdefault(grade, []).append(places.get(doc_id, 1400))
    medians = {grade: median(found) for grade, found in ranks.items()}
    assert medians[4] < medians[3] < medians[2] < medians[1] < 100
    assert len(ranks[-1]) == len(queries) and medians[-1] < medians[4]  # the document that each question came from
