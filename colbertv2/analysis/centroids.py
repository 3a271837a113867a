"""What centroids stand for: the tokens at each, the centroids of each token, and random vectors beside (App. A).

That a cluster holds few distinct tokens is why a centroid and a few bits are enough (ColBERTv2 §3.3).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.clustering.kmeans import normalised
from colbertv2.compression.residual import ResidualCodec
from colbertv2.errors import InputError
from colbertv2.indexing.index import Index

BLOCK_VECTORS = 2**20  # counted at once
EXAMPLES = 5  # tokens that the row of a centroid shows, and centroids that of a token

Names = Callable[[NDArray[np.int64]], list[str]]


class TokenCounts(NamedTuple):
    """How many vectors of a token lie at a centroid, for the P pairs that occur, by centroid and then by token."""

    centroids: NDArray[np.int64]
    tokens: NDArray[np.int64]
    counts: NDArray[np.int64]


def index_counts(index: Index, tokens: Iterable[NDArray[Any]]) -> TokenCounts:
    """The counts of all vectors of ``index``, of which ``centroid_table`` and ``token_table`` are made.

    Memory is bounded by the pairs of a centroid and a token that occur, and a block of vectors; ``tokens`` is streamed.

    Args:
        tokens: the token id of every vector, an array a document, in corpus order, as ``document_token_ids`` gives it.

    Raises:
        InputError: the codec has no centroids, or documents or their lengths are not those of the index.
    """
    if index.stored_codes is None:
        raise index.no_centroids()
    return count_tokens(
        (index.codes(np.arange(first, first + len(block))), np.concatenate(block))
        for first, block in blocks_of_documents(index, tokens)
    )


def blocks_of_documents(index: Index, tokens: Iterable[NDArray[Any]]) -> Iterator[tuple[int, list[NDArray[Any]]]]:
    """The first document of each block and the tokens of its documents, checked against the index."""
    held: list[NDArray[Any]] = []
    number = size = 0
    where = index.path
    advice = "Take the documents, tokenizer and document length that the index was encoded with."
    for number, ids in enumerate(tokens, start=1):
        if number > index.num_documents:
            break
        if len(ids) != (expected := index.lengths[number - 1]):
            raise InputError(
                f"Document {index.doc_ids[number - 1]!r} has {len(ids)} tokens, but {expected} vectors in {where}. "
                + advice
            )
        held.append(ids)
        size += len(ids)
        if size >= BLOCK_VECTORS:
            yield number - len(held), held
            held, size = [], 0
    if number != index.num_documents:
        found = "more" if number > index.num_documents else number
        raise InputError(f"There are {found} documents, but {index.num_documents} in {where}. {advice}")
    if held:
        yield number - len(held), held


def count_tokens(blocks: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> TokenCounts:
    """The counts of vectors that come in blocks of centroids ``[n]`` and token ids ``[n]``.

    >>> count_tokens([(np.array([1, 0, 1]), np.array([7, 7, 7])), (np.array([1]), np.array([5]))])
    TokenCounts(centroids=array([0, 1, 1]), tokens=array([7, 5, 7]), counts=array([1, 1, 2]))
    """
    pairs, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for codes, ids in blocks:
        found, number = np.unique((codes.astype(np.int64) << 32) | ids.astype(np.int64), return_counts=True)
        pairs, places = np.unique(np.concatenate([pairs, found]), return_inverse=True)
        summed = np.zeros(len(pairs), np.int64)
        np.add.at(summed, places, np.concatenate([counts, number]))
        counts = summed
    return TokenCounts(pairs >> 32, pairs & (2**32 - 1), counts)


def centroid_table(counts: TokenCounts, num_centroids: int, names: Names) -> pd.DataFrame:
    """A row for each centroid.

    Columns: ``size`` (vectors at it), ``distinct_tokens``, ``majority_token`` (the most frequent, of equal ones that
    with the lower id), ``majority_share`` of the vectors, ``examples``: the most frequent tokens, separated by spaces.
    A centroid without vectors has ``""`` for tokens and NaN for the share.

    Args:
        names: ids → tokens.
    """
    size, distinct, examples, most = ranked(counts.centroids, counts.tokens, counts.counts, num_centroids)
    spelled = [names(ids) if len(ids) else [] for ids in examples]
    columns = {
        "size": size,
        "distinct_tokens": distinct,
        "majority_token": [tokens[0] if tokens else "" for tokens in spelled],
        "majority_share": np.divide(most, size, out=np.full(num_centroids, np.nan), where=size > 0),
        "examples": [" ".join(tokens) for tokens in spelled],
    }
    return pd.DataFrame(columns).rename_axis("centroid")


def token_table(counts: TokenCounts, names: Names) -> pd.DataFrame:
    """A row for each token that occurs, by its id: over how many clusters it spreads (Fig. 2b).

    Columns: ``token``, ``vectors`` of it, ``clusters`` with one of these, ``majority_share`` of its vectors that are at
    the centroid which has most of them, ``centroids``: those that have most, separated by spaces.
    """
    ids, places = np.unique(counts.tokens, return_inverse=True)
    vectors, clusters, examples, most = ranked(places, counts.centroids, counts.counts, len(ids))
    columns = {
        "token": names(ids) if len(ids) else [],
        "vectors": vectors,
        "clusters": clusters,
        "majority_share": most / vectors,
        "centroids": [" ".join(map(str, centroids)) for centroids in examples],
    }
    return pd.DataFrame(columns, index=pd.Index(ids, name="token_id"))


class Ranked(NamedTuple):
    """Of each group: how much it holds, its distinct members, the most frequent of these, how much of the first."""

    sizes: NDArray[np.int64]
    distinct: NDArray[np.int64]
    examples: list[NDArray[np.int64]]
    most: NDArray[np.int64]


def ranked(groups: NDArray[np.int64], members: NDArray[np.int64], counts: NDArray[np.int64], number: int) -> Ranked:
    """Pairs of a group (below ``number``) and a member, as often as ``counts`` say; of equal members the lower first.

    >>> ranked(np.array([2, 0, 2]), np.array([7, 8, 9]), np.array([1, 1, 3]), 3).examples
    [array([8]), array([], dtype=int64), array([9, 7])]
    """
    order = np.lexsort((members, -counts, groups))
    sizes = np.bincount(groups, counts, minlength=number).astype(np.int64)
    distinct = np.bincount(groups, minlength=number)
    ends, full = np.cumsum(distinct), distinct > 0
    most = np.zeros(number, np.int64)
    most[full] = counts[order][(ends - distinct)[full]]
    examples = [members[order[end - held : end][:EXAMPLES]] for held, end in zip(distinct, ends, strict=True)]
    return Ranked(sizes, distinct, examples, most)


def cumulative(numbers: NDArray[Any], at_most: Sequence[int] = (1, 2, 4, 8, 16, 32)) -> pd.Series:
    """The share of ``numbers`` that are at most so great, by that bound; those that are 0 do not count.

    Of ``distinct_tokens`` of centroids it is the paper's Fig. 2a, of ``clusters`` of tokens 2b.

    >>> cumulative(np.array([0, 1, 3, 20, 2]), at_most=(1, 2, 4)).tolist()
    [0.25, 0.5, 0.75]
    """
    held = np.asarray(numbers)[np.asarray(numbers) > 0]
    shares = {bound: float((held <= bound).mean()) if len(held) else np.nan for bound in at_most}
    return pd.Series(shares, dtype=float).rename_axis("at_most")


def sampled_documents(lengths: NDArray[Any], max_vectors: int, seed: int) -> NDArray[np.int64]:
    """Ascending positions of documents drawn without replacement, as many as have at most ``max_vectors`` together.

    At least one is drawn.

    >>> sampled_documents(np.array([5, 5, 5]), max_vectors=15, seed=0).tolist()
    [0, 1, 2]
    """
    drawn = np.random.default_rng(seed).permutation(len(lengths))
    number = int(np.searchsorted(np.cumsum(lengths[drawn], dtype=np.int64), max_vectors, side="right"))
    return np.sort(drawn[: max(1, number)])


def random_vectors(number: int, dim: int, seed: int) -> NDArray[np.float32]:
    """``[number, dim]``, uniform on the unit sphere."""
    return normalised(np.random.default_rng(seed).standard_normal((number, dim), dtype=np.float32))


def clustered(
    codec: ResidualCodec,
    clustering: Clustering,
    vectors: NDArray[np.float32],
    *,
    seed: int,
    device: torch.device | str,
) -> tuple[NDArray[np.int32], ResidualCodec]:
    """Cluster ``vectors [n, dim]``: the centroid of each ``[n]``, and a codec like ``codec`` that learned from them.

    Raises:
        InputError: there are fewer vectors than centroids.
    """
    fresh = ResidualCodec(**codec.settings)
    fresh.learn(clustering.fit(vectors, num_documents=1, average_length=len(vectors), seed=seed, device=device))
    return fresh.fitted().nearest(vectors, device), fresh
