"""Validation of a training by real search: exact MaxSim over all documents of small collections, as in NanoBEIR.

The RR@10 over candidates, which is measured in any case, ranks a few documents that an earlier checkpoint found. A
search also shows mistakes on documents that no earlier checkpoint found.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.data.collection import Collection, is_empty
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking, greatest_first, inverse
from colbertv2.files import sha256
from colbertv2.indexing.packed import Packed, offsets_of
from colbertv2.reduction.reduction import NoReduction, Reduction, special_ids
from colbertv2.schema import PositiveInt, Text, checked

if TYPE_CHECKING:
    from colbertv2.modeling.colbert import ColBERT

ENCODED_AT_ONCE = 1024  # documents; their vectors are float32 until they are stored as float16


@checked
@dataclass(frozen=True)
class SearchValidation:
    """Which collections are searched during a training, how often, and whether that chooses the weights.

    While it runs, the float16 vectors of one collection are in memory: with 20,000 documents of 180 tokens and 128
    dimensions about 0.9 GB, divided among the processes. Documents are encoded and searched as by ``codec=fp16`` and
    ``search=exhaustive``, and cut and reduced as in training.

    Args:
        collections: name → collection, as in ``conf/collection``: its ``documents`` are searched with its ``eval``
            queries. Other keys are ignored.
        interval: optimizer steps between two searches, a multiple of ``validation_interval``; ``None`` searches at
            every validation.
        measure: what is measured, in the notation of ir_measures. The mean over the collections is logged too.
        max_documents: documents per collection. Of a larger one, the relevant documents are searched and as many others
            as fit, chosen by a hash of their ids.
        max_queries: queries per collection, chosen by a hash of their ids.
        selects: whether the weights with the best mean are kept, instead of those with the best RR@10 over candidates.

    Raises:
        InputError: there is no collection, one lacks documents or queries, or the measure is unknown.

    >>> one = {"documents": Collection("stdlib-small"), "eval": Queries("stdlib-small/dev")}
    >>> SearchValidation({"manual": one}, None, "nDCG@10", 20_000, 200, selects=True).metric
    'search/nDCG@10'
    """

    collections: Mapping[str, Any]
    interval: PositiveInt | None
    measure: Text
    max_documents: PositiveInt
    max_queries: PositiveInt
    selects: bool

    def __post_init__(self) -> None:
        from colbertv2.evaluation.measures import parse

        parse([self.measure])
        if not self.collections:
            raise InputError("search_validation.collections is empty; name at least one collection.")
        for name, one in self.collections.items():
            if not name or "/" in name:
                raise InputError(f"search_validation.collections: the name {name!r} is empty or has a slash.")
            given = {key: value for key, value in one.items() if value is not None} if isinstance(one, Mapping) else {}
            if not isinstance(given.get("documents"), Collection) or not isinstance(given.get("eval"), Queries):
                raise InputError(
                    f"search_validation.collections.{name}: expected a collection with documents and eval queries, "
                    f"found {', '.join(given) or repr(one)}; a file of conf/collection is put there by "
                    f"+collection@training.round1.search_validation.collections.{name}=<its name>."
                )

    def identity(self) -> dict[str, Any]:
        """What the address of a training covers: the settings and the content of what is searched."""
        content = {
            name: {"documents": one["documents"].identity(), "eval": one["eval"].identity()}
            for name, one in self.collections.items()
        }
        return {
            "collections": content,
            "interval": self.interval,
            "measure": self.measure,
            "max_documents": self.max_documents,
            "max_queries": self.max_queries,
            "selects": self.selects,
        }

    @property
    def metric(self) -> str:
        """Name of the mean over all collections in the log."""
        return f"search/{self.measure}"

    def metric_of(self, name: str) -> str:
        """Name of the value of one collection in the log."""
        return f"search/{name}/{self.measure}"

    def problems(self) -> Iterator[str]:
        """Yield the reasons why a collection can't be searched and judged; for checks before any work."""
        from colbertv2.evaluation.protocols import unjudgeable

        for name, one in self.collections.items():
            documents, queries = one["documents"], one["eval"]
            reasons = list(unjudgeable(queries))
            if not reasons and not queries.by_answers:
                reasons = queries.qrels.mismatch(documents)
                if (count := len(relevant(queries, self.query_ids(queries)))) > self.max_documents:
                    reasons.append(
                        f"{count:,} documents are relevant, more than max_documents={self.max_documents:,}; raise it, "
                        "or lower max_queries."
                    )
            yield from (f"search_validation.collections.{name}: {reason}" for reason in reasons)

    def query_ids(self, queries: Queries) -> list[str]:
        """The ids of the queries that are searched for, in the order of the source."""
        return chosen([query_id for query_id, _ in queries], self.max_queries)

    def sets(self) -> list[SearchedSet]:
        """The documents and queries of every collection, after a pass over all ids."""
        found = []
        for name, one in self.collections.items():
            documents, queries = one["documents"], one["eval"]
            query_ids = self.query_ids(queries)
            needed = set() if queries.by_answers else relevant(queries, query_ids)
            doc_ids = (doc_id for doc_id, _ in documents)
            found.append(SearchedSet(name, documents, chosen(doc_ids, self.max_documents, needed), queries, query_ids))
        return found


@dataclass(frozen=True)
class SearchedSet:
    """What is searched of one collection.

    Args:
        name: its name in the log.
        documents: the collection, for the texts.
        doc_ids: the documents that are searched.
        queries: the queries, with their judgements and protocol.
        query_ids: the queries that are searched for.
    """

    name: str
    documents: Collection
    doc_ids: list[str]
    queries: Queries
    query_ids: list[str]


class MemoryVectors:
    """The vectors of documents in memory, which :func:`colbertv2.search.exhaustive.search_decoded` can search.

    Args:
        doc_ids: their ids ``[D]``, which order equal scores.
        vectors: those of each document, ``[Ld, dim]``; Ld may be 0.
    """

    def __init__(self, doc_ids: Sequence[str], vectors: Sequence[NDArray[np.float16]]) -> None:
        self.vectors = vectors
        self.lengths = np.array([len(one) for one in vectors], np.int64)
        self.offsets = offsets_of(self.lengths)
        self.ranks = inverse(greatest_first(doc_ids))

    def decode(self, positions: NDArray[np.int64]) -> Packed:
        """The vectors of the documents at ``positions``, as float32."""
        rows = np.concatenate([self.vectors[position] for position in positions])
        return Packed(rows.astype(np.float32), self.lengths[positions])


def chosen(ids: Iterable[str], number: int, needed: Iterable[str] = ()) -> list[str]:
    """Of ``ids``, those that are needed and as many others as fit, in their order; all if there are at most ``number``.

    Others are chosen by the SHA-256 of their ids, so the choice depends on nothing else.

    >>> chosen("abcdefgh", 3, needed="h"), chosen("hgfedcba", 3, needed="h"), chosen("ab", 3)
    (['d', 'f', 'h'], ['h', 'f', 'd'], ['a', 'b'])
    """
    listed, needed = list(dict.fromkeys(ids)), set(needed)
    if len(listed) <= number:
        return listed
    others = (one for one in listed if one not in needed)
    kept = needed | set(heapq.nsmallest(max(0, number - len(needed)), others, key=lambda one: sha256(one.encode())))
    return [one for one in listed if one in kept]


def relevant(queries: Queries, query_ids: Iterable[str]) -> set[str]:
    """The documents that are relevant to one of these queries."""
    return {doc_id for query_id in query_ids for doc_id in queries.qrels.relevant(query_id)}


def search_values(
    model: ColBERT,
    validation: SearchValidation,
    sets: Sequence[SearchedSet],
    batch_tokens: int,
    precision: str,
    reduction: Reduction,
) -> dict[str, float]:
    """Search all collections with a model and return the values for the log: of every collection, and their mean.

    With several processes, each encodes and searches its part of the documents, and all return the same values.

    Args:
        model: the model.
        validation: what is measured.
        sets: what is searched, as from ``validation.sets()``.
        batch_tokens: tokens per encoding batch.
        precision: Lightning's name of the training's precision; weights of 16 bits encode as they are.
        reduction: what is done with the vectors of each document before it is searched, as in the training.
    """
    mixed = precision if precision.endswith("-mixed") else "32-true"
    if precision == "16-mixed" and model.device.type == "cpu":
        mixed = "bf16-mixed"  # as Lightning does
    values = {
        validation.metric_of(one.name): search_value(model, one, validation.measure, batch_tokens, mixed, reduction)
        for one in sets
    }
    return {**values, validation.metric: float(np.mean(list(values.values())))}


def search_value(
    model: ColBERT, one: SearchedSet, measure: str, batch_tokens: int, precision: str, reduction: Reduction
) -> float:
    """The mean of a measure over the queries of one collection."""
    from colbertv2.evaluation.measures import evaluate, parsed_measure
    from colbertv2.evaluation.protocols import judged, most_removed
    from colbertv2.parallel import gathered_objects, rank_and_world
    from colbertv2.search.exhaustive import search_decoded
    from colbertv2.search.scoring import named

    parsed = parsed_measure(measure)
    assert parsed is not None  # ensured by SearchValidation
    # More documents, as protocols remove some; the 1 is for the query's own document, which `beir` removes. Ties are
    # only known to be complete among all documents.
    cutoff = None if parsed.expected else parsed.cutoff
    depth = len(one.doc_ids) if cutoff is None else cutoff + 1 + most_removed(one.queries)
    rank, world = rank_and_world()
    texts = one.queries.texts(one.query_ids)
    query_vectors = model.encode_queries(texts, batch_tokens, prompt=one.queries.prompt, maxlen=one.queries.maxlen)
    index = encoded(model, one.documents, one.doc_ids[rank::world], batch_tokens, precision, reduction)
    found = [named(each, one.doc_ids[rank::world]) for each in search_decoded(index, query_vectors, depth)]
    parts = gathered_objects(found)
    results = {query_id: [pair for part in parts for pair in part[i]] for i, query_id in enumerate(one.query_ids)}
    ranking, qrels = judged(Ranking(results).top(depth), one.queries)
    kept = {query_id: qrels[query_id] for query_id in one.query_ids if query_id in qrels}
    return float(evaluate(ranking, kept, [measure])[measure].mean())


def encoded(
    model: ColBERT,
    documents: Collection,
    doc_ids: Sequence[str],
    batch_tokens: int,
    precision: str,
    reduction: Reduction,
) -> MemoryVectors:
    """Encode documents into memory, and reduce them. As in an index, a document without text has no vectors."""
    kept: list[NDArray[np.float16]] = []
    special = special_ids(model.tokenizer)
    for start in range(0, len(doc_ids), ENCODED_AT_ONCE):
        texts = documents.texts(doc_ids[start : start + ENCODED_AT_ONCE])
        found = model.encode_documents(
            texts, batch_tokens, precision=precision, prompt=documents.prompt, maxlen=documents.maxlen
        )
        own = [
            vectors[: 0 if is_empty(text) else None].astype(np.float16)
            for text, vectors in zip(texts, found, strict=True)
        ]
        if not isinstance(reduction, NoReduction):
            token_ids = model.tokenizer.document_ids(texts, documents.prompt, documents.maxlen)
            for place, ids in enumerate(token_ids):
                if len(own[place]):
                    encoding = model.document_tokens(model.tokenizer.pad_documents([ids]))
                    tokens = encoding.input_ids[0][encoding.scored[0]].numpy()
                    protected = reduction.protects(tokens, special)
                    own[place] = reduction.reduce(own[place].astype(np.float32), tokens, protected).astype(np.float16)
        kept += own
    return MemoryVectors(doc_ids, kept)
