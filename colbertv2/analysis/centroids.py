"""What centroids stand for: the tokens at each, and how near its vectors are, against random vectors (App. A, Fig. 2).

That a cluster holds few distinct tokens, and residuals are short, is why a centroid and a few bits are enough
(ColBERTv2 §3.3).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from colbertv2.compression import ResidualCodec
from colbertv2.compression.kmeans import normalised
from colbertv2.errors import InputError
from colbertv2.retrieval import Index

BLOCK_VECTORS = 2**20  # counted at once
NORM_VECTORS = 2**16  # subtracted from their centroids at once
EXAMPLES = 5  # tokens of each centroid that its row shows

Names = Callable[[NDArray[np.int64]], list[str]]


class TokenCounts(NamedTuple):
    """How many vectors of a token lie at a centroid, for the P pairs that occur, by centroid and then by token."""

    centroids: NDArray[np.int64]
    tokens: NDArray[np.int64]
    counts: NDArray[np.int64]


def centroid_tokens(index: Index, tokens: Iterable[NDArray[Any]], names: Names) -> pd.DataFrame:
    """The table of ``token_table`` for all vectors of ``index``.

    Memory is bounded by the pairs of a centroid and a token that occur, and a block of vectors; ``tokens`` is streamed.

    Args:
        tokens: the token id of every vector, an array a document, in corpus order, as ``document_token_ids`` gives it.
        names: ids → tokens.

    Raises:
        InputError: the codec has no centroids, or documents or their lengths are not those of the index.
    """
    if index.stored_codes is None:
        raise index.no_centroids()
    counts = count_tokens(
        (index.codes(np.arange(first, first + len(block))), np.concatenate(block))
        for first, block in blocks_of_documents(index, tokens)
    )
    return token_table(counts, len(index.additive.centroids), names)


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


def token_table(counts: TokenCounts, num_centroids: int, names: Names) -> pd.DataFrame:
    """A row for each centroid.

    Columns: ``size`` (vectors at it), ``distinct_tokens``, ``majority_token`` (the most frequent, of equal ones that
    with the lower id), ``majority_share`` of the vectors, ``examples``: the most frequent tokens, separated by spaces.
    A centroid without vectors has ``""`` for tokens and NaN for the share.
    """
    order = np.lexsort((counts.tokens, -counts.counts, counts.centroids))
    size = np.bincount(counts.centroids, counts.counts, minlength=num_centroids).astype(np.int64)
    distinct = np.bincount(counts.centroids, minlength=num_centroids)
    ends = np.cumsum(distinct)
    full = np.flatnonzero(distinct)
    share = np.full(num_centroids, np.nan)
    share[full] = counts.counts[order][(ends - distinct)[full]] / size[full]
    shown = [counts.tokens[order[end - number : end][:EXAMPLES]] for number, end in zip(distinct, ends, strict=True)]
    examples = [names(ids) if len(ids) else [] for ids in shown]
    columns = {
        "size": size,
        "distinct_tokens": distinct,
        "majority_token": [tokens[0] if tokens else "" for tokens in examples],
        "majority_share": share,
        "examples": [" ".join(tokens) for tokens in examples],
    }
    return pd.DataFrame(columns).rename_axis("centroid")


def share_of_clusters(table: pd.DataFrame, at_most: Sequence[int] = (1, 2, 4, 8, 16, 32)) -> pd.Series:
    """The share of the centroids with vectors that hold at most so many distinct tokens, by that number.

    >>> share_of_clusters(pd.DataFrame({"distinct_tokens": [0, 1, 3, 20, 2]}), at_most=(1, 2, 4)).tolist()
    [0.25, 0.5, 0.75]
    """
    distinct = table["distinct_tokens"].to_numpy()
    distinct = distinct[distinct > 0]
    shares = {number: float((distinct <= number).mean()) if len(distinct) else np.nan for number in at_most}
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
    vectors: NDArray[np.float32],
    num_centroids: int,
    *,
    seed: int,
    device: torch.device | str,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Cluster ``vectors [n, dim]`` by the settings of ``codec``: the centroid of each ``[n]``, and all centroids.

    Raises:
        InputError: there are fewer vectors than centroids.
    """
    fresh = ResidualCodec(
        **{**codec.settings, **vars(replace(codec.clustering, num_centroids=num_centroids, centroid_factor=1.0))}
    )
    clusters = fresh.cluster(vectors, num_documents=1, average_length=float(len(vectors)), seed=seed, device=device)
    fresh.learn(clusters, seed=seed, device=device)
    return fresh.nearest(vectors), fresh.fitted()


def residual_norms(
    vectors: NDArray[np.float32], codes: NDArray[Any], centroids: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``[n]``: how far ``vectors [n, dim]`` are from their centroids; 2 at most, between unit vectors."""
    norms = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), NORM_VECTORS):
        block = slice(start, start + NORM_VECTORS)
        norms[block] = np.linalg.norm(vectors[block] - centroids[codes[block]], axis=1)
    return norms
