"""A small, fixed sample of any collection: ``sample:<documents>:<queries>:<id>``.

The sample has the first queries with a relevant document, in the order of a hash of their ids; then their relevant
documents, until the number of documents is reached; then other documents, those with the smallest hashes, until it is
reached. Judgements are restricted to these queries and documents. So a sample depends on the ids alone, not on the
order of the files. If two samples differ only in the number of queries, the smaller one's are among the larger one's.

The sample is drawn once, in one pass over the documents that never holds more of them in memory than the sample has,
and is kept in ``ir_datasets``' store under its home.
"""

import heapq
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import ir_datasets
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseQrels, BaseQueries

from colbertv2.data.opening import building, content_digest, load, reading
from colbertv2.data.sources.stores import StoredDocs
from colbertv2.errors import InputError
from colbertv2.files import sha256


def order(id: str) -> int:
    """The sort key of an id in a sample: a 64-bit hash, salted as ``Queries`` splits by a hash of the bare id."""
    return int(sha256(f"sample\t{id}".encode())[:16], 16)


class Sample:
    """The queries and documents that are drawn from an ``ir_datasets`` dataset.

    Args:
        id: a dataset with documents, queries and judgements.
        num_documents: the maximum number of documents.
        num_queries: the maximum number of queries.
    """

    def __init__(self, id: str, num_documents: int, num_queries: int) -> None:
        self.id = id
        self.source = load(id)
        self.num_documents = num_documents
        self.num_queries = num_queries

    @cached_property
    def wanted(self) -> dict[str, set[str]]:
        """Query id → its relevant documents in the sample, for the chosen queries."""
        relevant: dict[str, dict[str, int]] = {}
        with reading(self.id, self.source.qrels_handler()):
            for judgement in self.source.qrels_handler().qrels_iter():
                if judgement.relevance > 0:
                    relevant.setdefault(judgement.query_id, {})[judgement.doc_id] = judgement.relevance
        with reading(self.id, self.source.queries_handler()):
            asked = {query.query_id for query in self.source.queries_iter()}
        chosen: dict[str, set[str]] = {}
        taken: set[str] = set()
        for query_id in sorted(asked & relevant.keys(), key=order)[: self.num_queries]:
            grades = relevant[query_id]
            best_first = sorted(grades, key=lambda doc_id: (-grades[doc_id], doc_id))
            new = [doc_id for doc_id in best_first if doc_id not in taken]
            taken.update(new[: self.num_documents - len(taken)])
            if kept := taken & grades.keys():
                chosen[query_id] = kept
        return chosen

    def documents(self) -> Iterator[Any]:
        """Yield the sample's documents in corpus order; the corpus is read once."""
        relevant = set().union(*self.wanted.values())
        found: list[tuple[int, Any]] = []
        others: list[tuple[int, int, Any]] = []  # a heap with the largest hash on top
        for place, document in enumerate(self.source.docs_iter()):
            if document.doc_id in relevant:
                found.append((place, document))
            elif document.doc_id:  # a blank line in a benchmark's file is a document without an id
                heapq.heappush(others, (-order(document.doc_id), place, document))
                if len(others) > self.num_documents:
                    heapq.heappop(others)
        smallest = heapq.nlargest(self.num_documents - len(found), others)
        found += [(place, document) for _, place, document in smallest]
        yield from (document for _, document in sorted(found, key=lambda one: one[0]))

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with what determines the documents, and with the source's fingerprint."""
        of_source = getattr(self.source.docs_handler(), "fingerprint", str)()
        chosen = [[query_id, sorted(ids)] for query_id, ids in self.wanted.items()]
        return content_digest([self.id, self.num_documents, of_source, chosen])[:16]


class SampleDocs(StoredDocs):
    """The documents of a sample."""

    source = "sample"

    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    def fingerprint(self) -> str:
        return self.sample.fingerprint()

    def identity(self) -> Any:
        """What identifies the content of the source's documents; None if that is not known without reading them."""
        of_source = getattr(self.sample.source.docs_handler(), "identity", None)
        return None if of_source is None else of_source()

    def read(self) -> Iterator[Any]:
        return self.sample.documents()

    def docs_cls(self) -> type:
        return self.sample.source.docs_cls()


class SampleQueries(BaseQueries):
    """The queries of a sample, unchanged from the source."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    def queries_iter(self) -> Iterator[Any]:
        return (query for query in self.sample.source.queries_iter() if query.query_id in self.sample.wanted)

    def queries_cls(self) -> type:
        return self.sample.source.queries_cls()


class SampleQrels(BaseQrels):
    """The judgements between a sample's queries and its documents."""

    def __init__(self, sample: Sample, documents: SampleDocs) -> None:
        self.sample = sample
        self.documents = documents

    def qrels_iter(self) -> Iterator[Any]:
        everything = self.sample.source.qrels_handler().qrels_iter()
        judgements = [one for one in everything if one.query_id in self.sample.wanted]
        store = self.documents.docs_store()
        with building():
            kept = store.get_many({judgement.doc_id for judgement in judgements})
        return (judgement for judgement in judgements if judgement.doc_id in kept)

    def qrels_defs(self) -> dict[int, str]:
        return self.sample.source.qrels_defs()

    def qrels_cls(self) -> type:
        return self.sample.source.qrels_cls()


def sample_dataset(documents: str, queries: str, id: str) -> Dataset:
    """Return the dataset of ``sample:<documents>:<queries>:<id>``.

    Raises:
        InputError: a number is 0, or the id is unknown or lacks documents, queries or judgements.
    """
    sample = Sample(id, int(documents), int(queries))
    if not (sample.num_documents and sample.num_queries):
        raise InputError(f"A sample of {documents} documents and {queries} queries is empty; use at least 1 of each.")
    if not (sample.source.has_docs() and sample.source.has_queries() and sample.source.has_qrels()):
        raise InputError(f"{id!r} lacks documents, queries or judgements to sample; use a split, such as {id}/test.")
    kept = SampleDocs(sample)
    return Dataset(kept, SampleQueries(sample), SampleQrels(sample, kept))


def register() -> None:
    """Register the pattern with ``ir_datasets``; registering it again changes nothing."""
    ir_datasets.registry.register_pattern(r"^sample:(\d+):(\d+):(.+)$", lambda _, groups: sample_dataset(*groups))
