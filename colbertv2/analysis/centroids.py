"""What centroids represent (ColBERTv2 App. A): the tokens at each centroid, the centroids of each token, the residuals.

A cluster contains few distinct tokens, and therefore a centroid and a few bits are enough (ColBERTv2 §3.3). Random
vectors serve as a comparison. ``residuals_of`` compares the residuals with the buckets that encode them. All dimensions
share one set of buckets, so the buckets are equally full over all dimensions together, but not in each dimension.
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

BLOCK_VECTORS = 2**20  # vectors counted at once
EXAMPLES = 5  # tokens shown per centroid, and centroids shown per token

Names = Callable[[NDArray[np.int64]], list[str]]
PERCENTILES = (5, 25, 50, 75, 95)
EDGES = np.linspace(-1, 1, 401)  # of histograms; residuals of unit vectors have hardly any value outside


class TokenCounts(NamedTuple):
    """The number of vectors for each of the P pairs of a centroid and a token that occur.

    All three arrays are int64 ``[P]``, sorted by centroid, then by token.
    """

    centroids: NDArray[np.int64]
    tokens: NDArray[np.int64]
    counts: NDArray[np.int64]


def index_counts(index: Index, tokens: Iterable[NDArray[Any]]) -> TokenCounts:
    """Count the vectors of ``index`` by centroid and token, for ``centroid_table`` and ``token_table``.

    Memory holds the pairs of a centroid and a token that occur, and one block of vectors; ``tokens`` is streamed.

    Args:
        tokens: the token id of every vector, one array per document, in corpus order (see
            ``analysis.explain.document_token_ids``).

    Raises:
        InputError: the codec has no centroids, or the documents or their lengths do not match the index.
    """
    if index.stored_codes is None:
        raise index.no_centroids()
    return count_tokens(
        (index.codes(np.arange(first, first + len(block))), np.concatenate(block))
        for first, block in blocks_of_documents(index, tokens)
    )


def blocks_of_documents(index: Index, tokens: Iterable[NDArray[Any]]) -> Iterator[tuple[int, list[NDArray[Any]]]]:
    """Yield blocks of documents: the position of the first, and the token ids of all, checked against the index.

    Raises:
        InputError: the documents or their lengths do not match the index.
    """
    held: list[NDArray[Any]] = []
    number = size = 0
    where = index.path
    advice = "Use the documents, tokenizer and document length that the index was encoded with."
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
        raise InputError(f"Expected {index.num_documents} documents as in {where}, found {found}. {advice}")
    if held:
        yield number - len(held), held


def count_tokens(blocks: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> TokenCounts:
    """Count vectors by centroid and token, from blocks of centroids ``[n]`` and token ids ``[n]``.

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
    """A table with one row per centroid.

    Columns: ``size`` (number of vectors), ``distinct_tokens``, ``majority_token`` (the most frequent token; of equally
    frequent ones the lowest id), ``majority_share`` (its share of the vectors), and ``examples`` (the most frequent
    tokens, separated by spaces). A centroid without vectors has ``""`` for tokens and NaN for the share.

    Args:
        names: converts token ids to tokens.
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
    """A table with one row per token that occurs, indexed by ``token_id`` (ColBERTv2 Fig. 2b).

    Columns: ``token``, ``vectors`` (number of its vectors), ``clusters`` (number of clusters that contain any of these
    vectors), ``majority_share`` (the share of these vectors at the centroid with most of them), and ``centroids`` (the
    centroids with most of them, separated by spaces).

    Args:
        names: converts token ids to tokens.
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
    """For each group: its size, its number of distinct members, the most frequent members, the count of the first."""

    sizes: NDArray[np.int64]
    distinct: NDArray[np.int64]
    examples: list[NDArray[np.int64]]
    most: NDArray[np.int64]


def ranked(groups: NDArray[np.int64], members: NDArray[np.int64], counts: NDArray[np.int64], number: int) -> Ranked:
    """Summarise P pairs of a group (below ``number``) and a member, with a count per pair.

    Of equally frequent members, the lower comes first.

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
    """For each bound, the share of the positive ``numbers`` that are at most the bound.

    For the column ``distinct_tokens`` this is Fig. 2a of the ColBERTv2 paper, for ``clusters`` Fig. 2b.

    >>> cumulative(np.array([0, 1, 3, 20, 2]), at_most=(1, 2, 4)).tolist()
    [0.25, 0.5, 0.75]
    """
    held = np.asarray(numbers)[np.asarray(numbers) > 0]
    shares = {bound: float((held <= bound).mean()) if len(held) else np.nan for bound in at_most}
    return pd.Series(shares, dtype=float).rename_axis("at_most")


def sampled_documents(lengths: NDArray[Any], max_vectors: int, seed: int) -> NDArray[np.int64]:
    """Ascending positions of documents drawn without replacement, with at most ``max_vectors`` vectors in all.

    At least one document is drawn.

    >>> sampled_documents(np.array([5, 5, 5]), max_vectors=15, seed=0).tolist()
    [0, 1, 2]
    """
    drawn = np.random.default_rng(seed).permutation(len(lengths))
    number = int(np.searchsorted(np.cumsum(lengths[drawn], dtype=np.int64), max_vectors, side="right"))
    return np.sort(drawn[: max(1, number)])


def random_vectors(number: int, dim: int, seed: int) -> NDArray[np.float32]:
    """float32 ``[number, dim]``: vectors drawn uniformly from the unit sphere."""
    return normalised(np.random.default_rng(seed).standard_normal((number, dim), dtype=np.float32))


def clustered(
    codec: ResidualCodec,
    clustering: Clustering,
    vectors: NDArray[np.float32],
    *,
    seed: int,
    device: torch.device | str,
) -> tuple[NDArray[np.int32], ResidualCodec]:
    """Cluster ``vectors [n, dim]``, and fit a new codec with the settings of ``codec`` on them.

    Returns:
        the centroid of each vector, int32 ``[n]``, and the new codec.

    Raises:
        InputError: there are fewer vectors than centroids.
    """
    fresh = ResidualCodec(**codec.settings)
    fresh.learn(clustering.fit(vectors, num_documents=1, average_length=len(vectors), seed=seed, device=device))
    return fresh.fitted().nearest(vectors, device), fresh


class Residuals(NamedTuple):
    """Summaries of the residuals of n vectors.

    Args:
        norms: ``[n]``, the distance of each vector from its centroid; at most 2 if both are unit vectors.
        dimensions: one row per dimension. Columns: ``mean`` and standard ``deviation`` of its values, percentiles
            ``p5`` to ``p95``, and ``bucket_0`` to ``bucket_{2^bits - 1}``, the share of its values in each bucket.
        histogram: ``[400]``, the share of all values between neighbouring ``EDGES``.
        cutoffs: ``[2^bits - 1]``, the bounds between buckets.
    """

    norms: NDArray[np.float32]
    dimensions: pd.DataFrame
    histogram: NDArray[np.float64]
    cutoffs: NDArray[np.float32]

    @property
    def bits_used(self) -> NDArray[np.float64]:
        """``[dim]``: the entropy of the bucket shares of each dimension, in bits; ``nbits`` if all are equally full."""
        shares = self.dimensions.filter(regex="^bucket_").to_numpy()
        return (shares * -np.log2(shares, out=np.zeros_like(shares), where=shares > 0)).sum(axis=1) + 0.0  # −0 → 0


def residuals_of(vectors: NDArray[np.float32], codes: NDArray[Any], codec: ResidualCodec) -> Residuals:
    """Summarise the residuals of ``vectors [n, dim]``: each vector minus its centroid of ``codec``.

    ``codes [n]`` are the numbers of the centroids. Only one dimension of the residuals is in memory at a time.

    >>> codec = ResidualCodec.from_tables(1, np.zeros((1, 8)), cutoffs=np.zeros(1), weights=np.array([-0.5, 0.5]))
    >>> vectors = np.zeros((2, 8), np.float32)
    >>> vectors[:, 0] = 0.5, -0.5
    >>> found = residuals_of(vectors, np.zeros(2, int), codec)
    >>> found.norms.tolist(), found.bits_used.tolist()  # all values but two are in the lower bucket
    ([0.5, 0.5], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    """
    centroids, (number, dim) = codec.fitted().vectors, vectors.shape
    squares, histogram, rows = np.zeros(number), np.zeros(len(EDGES) - 1), []
    for dimension in range(dim):
        values = vectors[:, dimension] - centroids[codes, dimension]
        squares += values.astype(np.float64) ** 2
        histogram += np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)[0]
        filled = np.bincount(np.searchsorted(codec.cutoffs, values), minlength=len(codec.cutoffs) + 1) / number
        rows.append(
            {
                "mean": values.mean(),
                "deviation": values.std(),
                **{f"p{at}": value for at, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)},
                **{f"bucket_{bucket}": share for bucket, share in enumerate(filled)},
            }
        )
    dimensions = pd.DataFrame(rows).rename_axis("dimension")
    return Residuals(np.sqrt(squares).astype(np.float32), dimensions, histogram / (number * dim), codec.cutoffs)
