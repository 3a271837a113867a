"""Cranfield with its grades the right way round: ``cranfield-graded``.

``ir_datasets`` passes on the codes of ``cranqrel`` as they stand, 1 to 4, and describes 4 as a complete answer. In the
collection's own coding 1 is the complete answer and 4 of minimum interest, and so the texts say: BM25 puts documents of
code 1 at a median rank of 9, of 2 at 21, of 3 at 32, of 4 at 49. Here the grade is 5 − code: BM25 (k1 1.2, b .75) has
nDCG@10 .370, near the .374 published of Lucene's; by the codes as they stand it has .339. Each query also has one
document of code −1, which BM25 puts first for most: where the question came from, which is not relevant to it. That
stays. Query ids are the queries' ordinal numbers, as ``cranqrel`` has them; ``ir_datasets`` sees to that.
"""

from collections.abc import Iterator
from typing import Any

import ir_datasets
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseQrels, TrecQrel

NAME, SOURCE = "cranfield-graded", "cranfield"
WORST = 4


class GradedQrels(BaseQrels):
    """The judgements of ``source``, the best graded highest."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def qrels_iter(self) -> Iterator[TrecQrel]:
        return (one._replace(relevance=graded(one.relevance)) for one in self.source.qrels_iter())

    def qrels_defs(self) -> dict[int, str]:
        return self.source.qrels_defs()  # which describe these grades, and not the codes

    def qrels_cls(self) -> type[TrecQrel]:
        return TrecQrel


def graded(code: int) -> int:
    """The grade of a code of ``cranqrel``.

    >>> [graded(code) for code in (1, 4, -1)]
    [4, 1, -1]
    """
    return WORST + 1 - code if code > 0 else code


def register() -> None:
    """Register it with ``ir_datasets``, once per process."""
    if NAME not in ir_datasets.registry:
        source = ir_datasets.load(SOURCE)
        parts = source.docs_handler(), source.queries_handler(), GradedQrels(source.qrels_handler())
        ir_datasets.registry.register(NAME, Dataset(*parts))
