"""Explaining scores: which document token each query token matches (MaxSim, ColBERTv2 §3.1).

``explain`` returns all similarities of one query and one document. ``difference`` compares two configurations, from
ranks down to tokens. ``scored_ids`` and ``document_token_ids`` return the token that each scored vector belongs to.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from colbertv2.artifacts.artifact import Artifact
from colbertv2.compression.codec import Codec
from colbertv2.data.collection import Collection, is_empty
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.encoding import document_model
from colbertv2.indexing.index import Index
from colbertv2.indexing.sharded_index import ShardedIndex
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.learned_pooling import vector_tokens
from colbertv2.modeling.tokenizer import Encoding, Tokenizer
from colbertv2.search.searcher import Searcher

BATCH_DOCUMENTS = 256  # documents tokenized at once


def scored_ids(encoding: Encoding) -> list[NDArray[np.int64]]:
    """For each text, the ids ``[L]`` of its scored tokens: one for every vector that ``ColBERT`` returns, in order."""
    return [ids[kept].numpy() for ids, kept in zip(encoding.input_ids, encoding.scored, strict=True)]


def document_token_ids(
    tokenizer: Tokenizer, texts: Iterable[str], vectors_per_document: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Yield for each document the ids ``[L]`` of its tokens that have vectors, tokenizing texts in batches.

    With ``vectors_per_document``, as of a model with a learned pooling, so many that are -1.
    """
    stream = iter(texts)
    while batch := list(islice(stream, BATCH_DOCUMENTS)):
        encoding = vector_tokens(tokenizer.documents(batch), vectors_per_document)
        for text, ids in zip(batch, scored_ids(encoding), strict=True):
            yield ids[:0] if is_empty(text) else ids


def model_of(encoded: Artifact) -> ColBERT:
    """The model as the stage ``encode`` used it for ``encoded``, with its length and prompt of documents."""
    checkpoint = encoded.ancestor("checkpoint").path
    return document_model(checkpoint, encoded.component("documents"), encoded.arguments["document_maxlen"])


def document_tokenizer(encoded: Artifact) -> Tokenizer:
    """The tokenizer of documents as the stage ``encode`` used it for ``encoded``, with its length and prompt."""
    return model_of(encoded).tokenizer


def token_names(tokenizer: Tokenizer, ids: NDArray[np.integer]) -> list[str]:
    """The tokens of ``ids``, spelled as in the vocabulary."""
    return list(tokenizer.tokenizer.convert_ids_to_tokens(ids.tolist()))


@dataclass(frozen=True, eq=False)
class MaxSimMap:
    """The similarities of all query tokens to all document tokens; MaxSim is the sum of the rows' maxima.

    Args:
        query_tokens: Lq tokens.
        document_tokens: Ld tokens.
        similarities: ``[Lq, Ld]``.

    Raises:
        InputError: the shapes do not match, or query or document has no token.

    >>> similarities = np.array([[0.25, 0.5], [1.0, 0.0]])
    >>> found = MaxSimMap(["join", "strings"], ["string", "joined"], similarities)
    >>> found.best.tolist(), found.contributions.tolist(), found.score
    ([1, 0], [0.5, 1.0], 1.5)
    """

    query_tokens: list[str]
    document_tokens: list[str]
    similarities: NDArray[np.float32]

    def __post_init__(self) -> None:
        expected = (len(self.query_tokens), len(self.document_tokens))
        if self.similarities.shape != expected or 0 in expected:
            raise InputError(
                f"The similarities of {expected[0]} query tokens and {expected[1]} document tokens have the shape "
                f"{list(self.similarities.shape)}; expected {list(expected)}, with at least one token on each side."
            )

    @cached_property
    def best(self) -> NDArray[np.int64]:
        """``[Lq]``: the position of the document token that each query token matches; of equal ones the first."""
        return self.similarities.argmax(axis=1)

    @cached_property
    def contributions(self) -> NDArray[np.float32]:
        """``[Lq]``: the contribution of each query token to the score."""
        return self.similarities.max(axis=1)

    @property
    def score(self) -> float:
        """The sum of the contributions."""
        return float(self.contributions.sum())

    @property
    def taken(self) -> list[str]:
        """The document token that each of the Lq query tokens matches."""
        return [self.document_tokens[place] for place in self.best]

    def table(self) -> pd.DataFrame:
        """A table with one row per query token, highest contribution first, indexed by ``place`` in the query."""
        columns = {"query_token": self.query_tokens, "document_token": self.taken, "similarity": self.contributions}
        return pd.DataFrame(columns).rename_axis("place").sort_values("similarity", ascending=False, kind="stable")


class Configuration(NamedTuple):
    """A retrieval configuration: a model, and a searcher over the documents that it encoded."""

    model: ColBERT
    searcher: Searcher


class Difference(NamedTuple):
    """How two configurations rank and score documents differently for a query.

    Args:
        documents: the table of ``ranking_difference``.
        tokens: the tables of ``explain_difference`` for these documents, indexed by ``document`` and ``place``.
    """

    documents: pd.DataFrame
    tokens: pd.DataFrame


def explain(model: ColBERT, query: str, document: str, codec: Codec | None = None) -> MaxSimMap:
    """The MaxSim of ``query`` and ``document``, token by token, as in a search of an index.

    Punctuation that is not scored does not appear; the ``[MASK]`` tokens of an augmented query do.

    Args:
        model: a model with the document length that the index was encoded with.
        codec: the codec of the index, which encodes and decodes the document's vectors. None leaves them unchanged.

    Raises:
        InputError: no token of the document is scored, or the model has a learned pooling.
    """
    if model.pooling is not None:
        raise InputError(
            "This model has a learned pooling (head=constant): its document vectors belong to no token, so there is no "
            "score of a token. Use a model with head=linear."
        )
    encodings = model.tokenizer.queries([query]), model.tokenizer.documents([document])
    query_tokens, document_tokens = (token_names(model.tokenizer, scored_ids(encoding)[0]) for encoding in encodings)
    (query_vectors,), (document_vectors,) = model.encode_queries([query]), model.encode_documents([document])
    if codec is not None:
        stored = document_vectors.astype(np.float16).astype(np.float32)  # codecs read embeddings stored in 16 bits
        document_vectors = codec.decode(codec.encode(stored))
    return MaxSimMap(query_tokens, document_tokens, query_vectors @ document_vectors.T)


def explain_difference(first: MaxSimMap, second: MaxSimMap) -> pd.DataFrame:
    """A table of what each query token matches in two configurations, and how its contribution changes.

    Args:
        first, second: maps of the same query and document. The document may be truncated to different lengths.

    Returns:
        one row per query token, indexed by ``place`` in the query, largest absolute change first. Columns:
        ``query_token``; ``first_document_token`` and ``second_document_token``, which it matches; ``first`` and
        ``second``, its contributions; ``change``, the second contribution minus the first. The changes sum to the
        difference of the scores.

    Raises:
        InputError: the query tokens differ, because the queries or the tokenizers differ.
    """
    if first.query_tokens != second.query_tokens:
        raise InputError(
            f"The tokens of the queries differ: {' '.join(first.query_tokens)!r} and "
            f"{' '.join(second.query_tokens)!r}; explain the same query with models that tokenize it the same way."
        )
    table = pd.DataFrame(
        {
            "query_token": first.query_tokens,
            "first_document_token": first.taken,
            "second_document_token": second.taken,
            "first": first.contributions,
            "second": second.contributions,
            "change": second.contributions - first.contributions,
        }
    ).rename_axis("place")
    return table.sort_values("change", key=np.abs, ascending=False, kind="stable")


def ranking_difference(first: Ranking, second: Ranking, query_id: str, k: int) -> pd.DataFrame:
    """A table of the documents in either top ``k`` of a query: ranks and scores in both rankings, and ``move``.

    ``move`` is the number of ranks that a document rises from the first to the second ranking. If a ranking does not
    contain a document at any rank, its rank and score there and its move are missing (``<NA>``).

    Raises:
        InputError: a ranking lacks the query, or ``k`` is below 1.

    >>> first, second = Ranking({"q": [("a", 3.0), ("b", 2.0)]}), Ranking({"q": [("b", 2.5), ("a", 2.0)]})
    >>> ranking_difference(first, second, "q", k=1)[["first_rank", "second_rank", "move"]].values.tolist()
    [[1, 2, -1], [2, 1, 1]]
    """
    if k < 1:
        raise InputError(f"k is {k}; expected at least 1.")
    columns, tops = {}, []
    for name, ranking in {"first": first, "second": second}.items():
        if query_id not in ranking:
            raise InputError(f"The {name} ranking has no query {query_id!r}; it has {len(ranking)} others.")
        found = ranking[query_id]
        tops += [document for document, _ in found[:k]]
        ranks = {document: rank for rank, (document, _) in enumerate(found, start=1)}
        columns[f"{name}_rank"] = pd.Series(ranks, dtype="Int64")
        columns[f"{name}_score"] = pd.Series(dict(found), dtype="Float64")
    table = pd.DataFrame(columns).loc[list(dict.fromkeys(tops))].rename_axis("document")
    table["move"] = table["first_rank"] - table["second_rank"]
    return table.sort_values(["first_rank", "second_rank"], kind="stable")


def difference(
    first: Configuration, second: Configuration, query: str, documents: Collection, *, k: int, depth: int
) -> Difference:
    """Which documents two configurations rank differently for ``query``, and which of its tokens are the reason.

    The changes of the query tokens for a document sum to the difference of its scores. If a ranking lacks a document
    with a sufficient score, the engine did not find it or pruned it, and no token explains that.

    Args:
        first, second: configurations with indexes of ``documents``, encoded with the document lengths of their models.
        k: documents in the top ``k`` of either ranking are compared.
        depth: how many ranks of each ranking are searched for these documents.

    Raises:
        InputError: ``k`` is below 1, ``documents`` lacks a document that was found, the models tokenize the query
            differently, or an index has not one vector per token, as after a reduction.
    """
    before, after = (
        Ranking({"query": one.searcher.search(one.model.encode_queries([query]), depth)[0]}) for one in (first, second)
    )
    moved = ranking_difference(before, after, "query", k)
    tokens = {}
    for document, text in zip(moved.index, documents.texts(list(moved.index)), strict=True):
        maps = [explain(one.model, query, text, one.searcher.index.codec) for one in (first, second)]
        for one, explained in zip((first, second), maps, strict=True):
            refuse_other_vectors(one.searcher.index, document, len(explained.document_tokens))
        tokens[document] = explain_difference(*maps)
    return Difference(moved, pd.concat(tokens, names=["document"]))


def refuse_other_vectors(index: Index | ShardedIndex, document: str, num_tokens: int) -> None:
    """Raise InputError if an index does not have one vector for each of the ``num_tokens`` tokens of a document."""
    stored = int(index.lengths[index.doc_ids.index(document)])
    if stored != num_tokens:
        raise InputError(
            f"The index has {stored} vectors for the document {document!r}, whose text has {num_tokens} tokens. Only "
            "an index of single tokens can be explained: set reduction=none, and load the model with the length that "
            "documents were encoded with."
        )
