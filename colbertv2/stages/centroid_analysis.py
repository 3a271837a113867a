"""Stage: which tokens the centroids of an index hold, and how random vectors would do (ColBERTv2 App. A)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from colbertv2.analysis.centroids import (
    centroid_tokens,
    clustered,
    count_tokens,
    random_vectors,
    residual_norms,
    sampled_documents,
    share_of_clusters,
    token_table,
)
from colbertv2.analysis.centroids_figure import Clusters, draw_centroids
from colbertv2.analysis.tokens import document_token_ids, names
from colbertv2.artifacts import Artifact, Cost, Estimates, Node, stage
from colbertv2.compression import ResidualCodec
from colbertv2.data import Collection
from colbertv2.evaluation.table import markdown_rows
from colbertv2.retrieval import Embeddings, Index
from colbertv2.runtime import Runtime
from colbertv2.stages.encode import load_model
from colbertv2.stages.sizes import LOADING, TOKENISED, Model

LISTED = 15  # centroids of a kind in the text
RANDOM = "random vectors"


@stage(version=1)
def run(index: Artifact, documents: Collection, *, sample_vectors: int, seed: int, out: Path, runtime: Runtime) -> None:
    """Count the tokens at every centroid, and compare with as many random vectors, clustered alike.

    Where there are more vectors than ``sample_vectors``, whole documents with so many are drawn; their vectors are
    clustered anew, as the random ones are, with as many vectors a centroid as the index has. The random vectors take
    over the tokens of these documents one by one.

    Writes ``centroids.csv`` (a row for each centroid of the index; read it with ``keep_default_na=False``, ``null`` is
    a token), ``shares.csv`` (of clusters with at most so many distinct tokens), ``centroids.md``, and
    ``centroids.png`` and ``.svg``.

    Args:
        index: with a residual codec. documents: those that it holds.
        sample_vectors: bounds memory, at ``8 · dim`` bytes a vector, and the time of k-means.
    """
    opened, encoded = Index.open(index.path), index.ancestor("embeddings")
    codec = opened.codec
    assert isinstance(codec, ResidualCodec)  # or ``check`` would have refused
    checkpoint = encoded.ancestor("checkpoint").path
    tokenizer = load_model(checkpoint, encoded.arguments["document_maxlen"]).tokenizer

    def spelled(ids: np.ndarray) -> list[str]:
        return names(tokenizer, ids)

    progress = runtime.bar((text for _, text in documents), "count tokens", "documents", len(documents))
    table = centroid_tokens(opened, document_token_ids(tokenizer, progress), spelled)

    chosen = sampled_documents(opened.lengths, sample_vectors, seed)
    texts = documents.texts([opened.doc_ids[position] for position in chosen])
    ids = np.concatenate(list(document_token_ids(tokenizer, texts)))
    vectors = vectors_of(Embeddings.open(encoded.path), chosen)
    num_centroids = max(1, len(table) * len(vectors) // opened.num_vectors)
    how: dict[str, Any] = {"seed": seed, "device": runtime.torch_device}

    def anew(vectors: np.ndarray) -> Clusters:
        codes, centroids = clustered(codec, vectors, num_centroids, **how)
        found = token_table(count_tokens([(codes, ids)]), len(centroids), spelled)
        return Clusters(found, residual_norms(vectors, codes, centroids))

    if len(vectors) == opened.num_vectors:
        clusters = {"all vectors": Clusters(table, residual_norms(vectors, opened.codes(chosen), codec.fitted()))}
    else:
        clusters = {"all vectors": Clusters(table, None), f"{len(vectors):,} of them": anew(vectors)}
    clusters[RANDOM] = anew(random_vectors(len(vectors), opened.dim, seed))
    shares = pd.DataFrame({name: share_of_clusters(one.table) for name, one in clusters.items()})
    table.to_csv(out / "centroids.csv", lineterminator="\n")
    shares.to_csv(out / "shares.csv", lineterminator="\n")
    title = f"Centroids of {index.address}"
    draw_centroids(clusters, f"{title}: {len(table):,}, of {opened.num_vectors:,} vectors", out / "centroids")
    (out / "centroids.md").write_text(to_markdown(title, clusters, shares), encoding="utf-8")


def vectors_of(embeddings: Embeddings, positions: np.ndarray) -> np.ndarray:
    """The vectors of the documents at ``positions``, end to end, float32 ``[n, dim]``."""
    found = [embeddings.vectors(*embeddings.offsets[position : position + 2].tolist()) for position in positions]
    return np.concatenate(found).astype(np.float32)


def to_markdown(title: str, clusters: dict[str, Clusters], shares: pd.DataFrame) -> str:
    """The shares, residual norms, and the largest and the most mixed centroids."""
    table = clusters["all vectors"].table
    full = table.loc[table["size"] > 0]
    lines = [
        f"# {title}",
        "",
        f"{len(table):,} centroids, {len(table) - len(full):,} of them without a vector; {table['size'].sum():,} "
        f"vectors. Of those with vectors, the median holds {np.median(full['distinct_tokens']):g} distinct tokens, and "
        f"its most frequent token is {np.median(full['majority_share']):.0%} of its vectors.",
        "",
        "The share of clusters with at most so many distinct tokens, and the norms of residuals:",
        "",
    ]
    header = ["vectors", "centroids", *(f"≤ {number}" for number in shares.index), "mean norm", "95th percentile"]
    body = []
    for name, one in clusters.items():
        norms = ["–"] * 2 if one.norms is None else [f"{one.norms.mean():.3f}", f"{np.percentile(one.norms, 95):.3f}"]
        body.append([name, f"{len(one.table):,}", *(f"{share:.1%}" for share in shares[name]), *norms])
    lines += [
        *markdown_rows(header, body, left=1),
        "",
        "The paper has about 90 % at 16 for MS MARCO, and less than 50 % for random vectors (App. A, Fig. 2a). Its "
        "clusters hold some 2,300 vectors each (600 million, 2^18 centroids), these "
        f"{table['size'].sum() / len(table):,.0f}; the fewer there are, the fewer distinct tokens there can be, of any "
        "vectors. So compare real with random vectors at a small number of tokens where clusters are small.",
    ]
    kinds = {"largest": "size", "most mixed": "distinct_tokens"}
    for kind, column in kinds.items():
        header = ["centroid", "most frequent tokens", "vectors", "distinct tokens", "share of the first"]
        body = [
            [str(row.Index), f"`` {row.examples} ``", f"{row.size:,}", f"{row.distinct_tokens:,}",
             f"{row.majority_share:.0%}"]
            for row in full.nlargest(LISTED, column).itertuples()
        ]  # fmt: skip
        lines += ["", f"## The {kind} centroids", "", *markdown_rows(header, body)]
    return "\n".join([*lines, "", "![centroids](centroids.png)", ""])


def check(index: Node, documents: Collection, sample_vectors: int, **_: object) -> Iterator[str]:
    """A residual codec, the documents of the index, and vectors to sample."""
    if not isinstance(codec := index.bound["codec"], ResidualCodec):
        yield f"{codec!r} is no residual codec; set codec=residual or another of its kind."
    if index.ancestor("embeddings").bound["documents"].identity() != documents.identity():
        yield "the documents are not those that the index holds; both must read the same collection."
    if sample_vectors < 1:
        yield f"sample_vectors is {sample_vectors}; expected at least 1."


def cost(estimates: Estimates, index: Node, documents: Collection, sample_vectors: int, **_: object) -> Cost:
    """Tokenising all documents, and k-means of the sampled vectors and of as many random ones."""
    embeddings, clustering = index.ancestor("embeddings"), index.bound["codec"].clustering
    model = Model.of(embeddings.ancestor("checkpoint"))
    lengths = model.documents(documents, embeddings.bound["document_maxlen"])
    vectors, dim, number = (estimates.size(index, name) for name in ("vectors", "dim", "centroids"))
    sampled = min(vectors, sample_vectors)
    clusters = number * sampled / vectors
    times = 1 if sampled == vectors else 2
    fitted = min(sampled, clusters * clustering.max_points_per_centroid) * clustering.kmeans_iterations + sampled
    return Cost(
        cpu_flops=times * fitted * clusters * 2 * dim,
        seconds=LOADING + 6 + 2 * lengths.count * lengths.tokens / TOKENISED,
        memory=2 * model.transformer.weights + 12 * dim * sampled + 32 * vectors + 2e8,
        disk=400_000 + number * 90,
    )
