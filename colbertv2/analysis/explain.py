"""Why a document has its score: which of its tokens each query token takes (MaxSim, ColBERTv2 §3.1)."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from colbertv2.analysis.maxsim_map import MaxSimMap
from colbertv2.analysis.tokens import names, scored_ids
from colbertv2.compression.codec import Codec
from colbertv2.data.collection import Collection
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.modeling.colbert import ColBERT
from colbertv2.search.searcher import Searcher


class Configuration(NamedTuple):
    """A way to answer queries: a model and what searches the documents that it has encoded."""

    model: ColBERT
    searcher: Searcher


class Difference(NamedTuple):
    """How two configurations answer a query.

    Args:
        documents: as of ``ranking_difference``.
        tokens: as of ``explain_difference``, for each of these documents; index ``document`` and ``place``.
    """

    documents: pd.DataFrame
    tokens: pd.DataFrame


def explain(model: ColBERT, query: str, document: str, codec: Codec | None = None) -> MaxSimMap:
    """The MaxSim of ``query`` and ``document``, token by token, as searching an index scores it.

    Punctuation that is not scored does not appear; ``[MASK]`` of an augmented query does.

    Args:
        model: with the document length that the index was encoded with.
        codec: of the index; the document's vectors are encoded and decoded by it. None leaves them as they are.

    Raises:
        InputError: no token of the document is scored.
    """
    encodings = model.tokenizer.queries([query]), model.tokenizer.documents([document])
    query_tokens, document_tokens = (names(model.tokenizer, scored_ids(encoding)[0]) for encoding in encodings)
    (query_vectors,), (document_vectors,) = model.encode_queries([query]), model.encode_documents([document])
    if codec is not None:
        stored = document_vectors.astype(np.float16).astype(np.float32)  # as codecs get them: embeddings are 16-bit
        document_vectors = codec.decode(codec.encode(stored))
    return MaxSimMap(query_tokens, document_tokens, query_vectors @ document_vectors.T)


def explain_difference(first: MaxSimMap, second: MaxSimMap) -> pd.DataFrame:
    """What each query token takes under two configurations and how its contribution changes, greatest changes first.

    ``change`` is the second's contribution less the first's, and sums to the difference of the scores.

    Args:
        first, second: of the same query and document. The document may be cut to different lengths.

    Raises:
        InputError: the query's tokens differ, as those of different queries or tokenization do.
    """
    if first.query_tokens != second.query_tokens:
        raise InputError(
            f"The tokens of the queries differ: {' '.join(first.query_tokens)!r} and "
            f"{' '.join(second.query_tokens)!r}; explain the same query by models of the same tokenization."
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
    """The documents of either top ``k`` for a query: ranks and scores in both rankings, and how many ranks each rises.

    A document that a ranking has not, at any rank, is missing (``<NA>``) there, and so is its move.

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
    """What two configurations rank differently for ``query``, and which of its tokens make it so.

    A document's changes by token sum to the difference of its scores. Where a ranking lacks a document whose score
    would have put it in, the engine has not found or has pruned it, and no token explains that.

    Args:
        first, second: with indexes of ``documents``, encoded as their models cut documents.
        k: whose documents are looked at, in either ranking. depth: ranks at which they are looked for.

    Raises:
        InputError: ``k`` is below 1, ``documents`` lacks what was found, or the models tokenise the query differently.
    """
    before, after = (
        Ranking({"query": one.searcher.search(one.model.encode_queries([query]), depth)[0]}) for one in (first, second)
    )
    moved = ranking_difference(before, after, "query", k)
    tokens = {}
    for document, text in zip(moved.index, documents.texts(list(moved.index)), strict=True):
        maps = [explain(one.model, query, text, one.searcher.index.codec) for one in (first, second)]
        tokens[document] = explain_difference(*maps)
    return Difference(moved, pd.concat(tokens, names=["document"]))
