"""Cranfield with corrected relevance grades: ``cranfield-graded``.

``ir_datasets`` uses the codes of ``cranqrel``, 1 to 4, as grades and describes 4 as a complete answer. In the
collection's own coding, however, 1 is a complete answer and 4 is of minimum interest. The texts confirm this: BM25
ranks documents of code 1 at a median rank of 9, code 2 at 21, code 3 at 32 and code 4 at 49. Here the grade is
5 − code. With it, BM25 (k1 1.2, b .75) has an nDCG@10 of .370, near the .374 published for Lucene's BM25; with the
codes as grades it has .339. Each query also has one document of code −1, which BM25 ranks first for most queries: the
document that the question came from, which is not relevant to it. This code is kept. Query ids are the ordinal numbers
of the queries, as in ``cranqrel``; ``ir_datasets`` assigns them.
"""

from collections.abc import Iterator
from typing import Any

import ir_datasets
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseQrels, TrecQrel

NAME, SOURCE = "cranfield-graded", "cranfield"
WORST = 4


class GradedQrels(BaseQrels):
    """The judgements of ``source`` with grades that rise with relevance."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def qrels_iter(self) -> Iterator[TrecQrel]:
        return (one._replace(relevance=graded(one.relevance)) for one in self.source.qrels_iter())

    def qrels_defs(self) -> dict[int, str]:
        return self.source.qrels_defs()  # they describe these grades, not the codes

    def qrels_cls(self) -> type[TrecQrel]:
        return TrecQrel


def graded(code: int) -> int:
    """Convert a code of ``cranqrel`` to a grade: 5 − code; codes below 1 are kept.

    >>> [graded(code) for code in (1, 4, -1)]
    [4, 1, -1]
    """
    return WORST + 1 - code if code > 0 else code


def register() -> None:
    """Register the id with ``ir_datasets``, once per process."""
    if NAME not in ir_datasets.registry:
        source = ir_datasets.load(SOURCE)
        parts = source.docs_handler(), source.queries_handler(), GradedQrels(source.qrels_handler())
        ir_datasets.registry.register(NAME, Dataset(*parts))
