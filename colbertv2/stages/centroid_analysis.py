"""Stage: which tokens the clusters of an index contain, compared with random vectors (ColBERTv2 App. A)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.compression.residual import ResidualCodec
from colbertv2.data.collection import Collection
from colbertv2.files import write_json
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt, Seed

if TYPE_CHECKING:
    import pandas as pd

    from colbertv2.analysis.centroids import Residuals, TokenCounts
    from colbertv2.reporting.centroids_figure import ClusterTables

ALL, RANDOM = "all vectors", "random vectors"
PRINTED_BOUND = 16  # the number of distinct tokens that the paper mentions


@stage(version=3)
def run(
    index: Artifact, documents: Collection, *, sample_vectors: PositiveInt, seed: Seed, out: Path, runtime: Runtime
) -> None:
    """Count the tokens of every centroid, and compare with random vectors that are clustered in the same way.

    If the index has more than ``sample_vectors`` vectors, complete documents with at most that many vectors are drawn,
    and their vectors are clustered again. These and the random vectors are clustered with as many vectors per centroid
    as the index has. There are as many random vectors as vectors of the (drawn) documents, and the i-th random vector
    gets the token of the i-th vector.

    Writes:

    - ``centroids.csv`` and ``tokens.csv``: a row for each centroid of the index, and for each token. Read them with
      ``keep_default_na=False``, since ``null`` is a token.
    - ``shares.csv``: for each bound, the share of clusters with at most so many distinct tokens, and the share of
      tokens in at most so many clusters.
    - ``residuals.csv``: a row for each dimension.
    - ``metrics.json``: the figures that the papers print (``key_figures``).
    - ``centroids.md``, and the figures ``centroids`` and ``residuals`` as ``.png`` and ``.svg``.

    Args:
        index: an index with a residual codec.
        documents: the documents of the index.
        sample_vectors: bounds the memory, at ``12 · dim`` bytes per vector, and the time of k-means.
        seed: the seed of the sample, the random vectors and k-means.
    """
    import pandas as pd

    from colbertv2.analysis.centroids import (
        centroid_table,
        clustered,
        count_tokens,
        index_counts,
        random_vectors,
        residuals_of,
        sampled_documents,
        token_table,
    )
    from colbertv2.analysis.explain import document_token_ids, document_tokenizer, token_names
    from colbertv2.indexing.index import Index
    from colbertv2.reporting.analysis_reports import centroids_report
    from colbertv2.reporting.centroids_figure import ClusterTables, draw_centroids, draw_residuals

    opened, encoded = Index.open(index.path), index.ancestor("embeddings")
    codec = opened.codec
    assert isinstance(codec, ResidualCodec)  # ensured by ``check``
    tokenizer = document_tokenizer(encoded)

    def spelled(ids: np.ndarray) -> list[str]:
        return token_names(tokenizer, ids)

    def summed_up(counts: TokenCounts, num_centroids: int, residuals: Residuals | None) -> ClusterTables:
        return ClusterTables(centroid_table(counts, num_centroids, spelled), token_table(counts, spelled), residuals)

    progress = runtime.bar((text for _, text in documents), "count tokens", "documents", len(documents))
    counts = index_counts(opened, document_token_ids(tokenizer, progress))

    chosen = sampled_documents(opened.lengths, sample_vectors, seed)
    texts = documents.texts([opened.doc_ids[position] for position in chosen])
    ids = np.concatenate(list(document_token_ids(tokenizer, texts)))
    vectors = vectors_of(Embeddings.open(encoded.path), chosen)
    number = opened.num_centroids
    clustering = index.parents["centroids"].component("clustering")
    how: dict[str, Any] = {"seed": seed, "device": runtime.torch_device}

    def anew(vectors: np.ndarray) -> ClusterTables:
        fitted = replace(
            clustering, num_centroids=max(1, number * len(vectors) // opened.num_vectors), centroid_factor=1.0
        )
        codes, learnt = clustered(codec, fitted, vectors, **how)
        return summed_up(count_tokens([(codes, ids)]), len(learnt.fitted()), residuals_of(vectors, codes, learnt))

    whole = len(vectors) == opened.num_vectors
    residuals = residuals_of(vectors, opened.codes(chosen), codec) if whole else None
    clusters = {ALL: summed_up(counts, number, residuals)}
    if not whole:
        clusters[f"{len(vectors):,} of them"] = anew(vectors)
    clusters[RANDOM] = anew(random_vectors(len(vectors), opened.dim, seed))
    shares = shares_of(clusters)
    clusters[ALL].centroids.to_csv(out / "centroids.csv", lineterminator="\n")
    clusters[ALL].tokens.to_csv(out / "tokens.csv", lineterminator="\n")
    shares.to_csv(out / "shares.csv", lineterminator="\n")
    by_dimension = {name: one.residuals.dimensions for name, one in clusters.items() if one.residuals is not None}
    pd.concat(by_dimension, names=["vectors"]).to_csv(out / "residuals.csv", lineterminator="\n")
    title = f"{index.address}: {number:,} centroids of {opened.num_vectors:,} vectors"
    draw_centroids(clusters, title, out / "centroids")
    draw_residuals(clusters, f"{title}, {codec.label}", out / "residuals")
    write_json(out / "metrics.json", key_figures(clusters, shares))
    (out / "centroids.md").write_text(centroids_report(title, clusters, shares), encoding="utf-8")


def key_figures(clusters: dict[str, ClusterTables], shares: pd.DataFrame) -> dict[str, float]:
    """The figures for ``metrics.json``.

    They are the share of clusters with at most 16 distinct tokens (Fig. 2a), for all vectors and for random ones, and
    two medians over the clusters that are not empty: the number of distinct tokens, and the share of the most frequent
    token.
    """
    table = clusters[ALL].centroids
    full = table.loc[table["size"] > 0]
    return {
        "at_most_16_tokens": float(shares["clusters", ALL].loc[PRINTED_BOUND]),
        "random_at_most_16_tokens": float(shares["clusters", RANDOM].loc[PRINTED_BOUND]),
        "median_tokens": float(full["distinct_tokens"].median()),
        "median_majority_share": float(full["majority_share"].median()),
    }


def shares_of(clusters: dict[str, ClusterTables]) -> pd.DataFrame:
    """The cumulative shares of clusters by distinct tokens, and of tokens by clusters.

    Returns:
        A row for each bound, with the two-level columns ``of`` (``clusters`` or ``tokens``) and ``vectors``.
    """
    import pandas as pd

    from colbertv2.analysis.centroids import cumulative

    columns = {
        ("clusters", name): cumulative(one.centroids["distinct_tokens"].to_numpy()) for name, one in clusters.items()
    }
    columns |= {("tokens", name): cumulative(one.tokens["clusters"].to_numpy()) for name, one in clusters.items()}
    return pd.DataFrame(columns).rename_axis(columns=["of", "vectors"])


def vectors_of(embeddings: Embeddings, positions: np.ndarray) -> np.ndarray:
    """The concatenated vectors of the documents at ``positions``, float32 ``[n, dim]``."""
    found = [embeddings.vectors(*embeddings.offsets[position : position + 2].tolist()) for position in positions]
    return np.concatenate(found).astype(np.float32)


def check(index: Node, documents: Collection, **_: object) -> Iterator[str]:
    """Check that the index has a residual codec, and that ``documents`` are those of the index."""
    from colbertv2.indexing.sharded_index import analysis_problems
    from colbertv2.modeling.initial import vectors_per_document

    yield from analysis_problems(index)
    if not isinstance(codec := index.bound["codec"], ResidualCodec):
        yield f"{codec!r} is not a residual codec; set codec=residual or another of its kind."
    if "embeddings" in (encoded := index.ancestor("embeddings")).parents:
        yield "the vectors of the index are not those of single tokens; set reduction=none."
    if vectors_per_document(encoded.ancestor("checkpoint")):
        yield "the vectors of a learned pooling are not those of single tokens; set head=linear."
    if encoded.bound["documents"].identity() != documents.identity():
        yield "the documents are not those of the index; both must read the same collection."
