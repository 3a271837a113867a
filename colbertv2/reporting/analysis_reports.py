"""The Markdown reports of the analyses: of a decomposition, of centroids, and of the supervision of a round."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from colbertv2.analysis.decomposition import STEPS, most_moved
from colbertv2.analysis.geometry import Geometry
from colbertv2.evaluation.measures import fraction, signed
from colbertv2.reporting.centroids_figure import ClusterTables
from colbertv2.reporting.rendering import markdown_rows

LISTED_QUERIES = 5  # so many queries that lose most by a step are listed, and as many that gain most
LISTED_ROWS = 15  # rows in each table of centroids or tokens


def geometry_report(found: Geometry, num_vectors: int, dim: int) -> str:
    """The figures as a Markdown table, of ``num_vectors`` vectors of ``dim`` dimensions."""
    body = [
        ["mean cosine of two vectors", f"{found.mean_cosine:.3f}"],
        ["norm of the mean vector", f"{found.mean_norm:.3f}"],
        ["effective rank", f"{found.effective_rank:.3f}"],
        ["variance along the first axis", f"{found.largest_share:.3f}"],
    ]
    return "\n".join(markdown_rows([f"{num_vectors:,} vectors of {dim} dimensions", ""], body, left=1)) + "\n"


def decomposition_report(
    values: pd.DataFrame, table: pd.DataFrame, measure: str, codec: str, engine: str, texts: Mapping[str, str]
) -> str:
    """The report as Markdown: the table, and the queries that each step changes most.

    Args:
        values: ``[queries, steps]``, the measure per query.
        table: as from :func:`~colbertv2.analysis.decomposition.changes`.
        measure: the name of the measure.
        codec: the label of the codec.
        engine: the engine, as text.
        texts: query id → query.
    """
    body = [
        [
            STEPS[str(step)],
            fraction(row["mean"]),
            *(
                ["–"] * 4
                if pd.isna(row["change"])
                else [
                    f"{signed(row['change'])} [{signed(row['low'])}, {signed(row['high'])}]",
                    fraction(row["p"]),
                    f"{row['worse']:.0f}",
                    f"{row['better']:.0f}",
                ]
            ),
        ]
        for step, row in table.to_dict("index").items()
    ]
    lines = [
        f"# Where {measure} is lost: {codec}, {engine}",
        "",
        *markdown_rows(["Step", measure, "change", "p", "worse", "better"], body, left=1),
        "",
        f"Means over {len(values)} queries. Changes are to the step above, with 95 % bootstrap intervals over queries; "
        "p of paired randomisation tests, Holm-adjusted over the steps; how many queries get worse and better.",
    ]
    for step, moved in most_moved(values, LISTED_QUERIES).items():
        if moved.lose or moved.gain:
            lines += ["", f"## {STEPS[step]}"]
        for verb, changes_of in moved._asdict().items():
            if changes_of:
                lines += ["", f"Queries that {verb} most:", ""]
                lines += [
                    f"- {signed(change)} `{key}`: {' '.join(texts[key].split())}" for key, change in changes_of.items()
                ]
    return "\n".join(lines) + "\n"


def centroids_report(title: str, clusters: Mapping[str, ClusterTables], shares: pd.DataFrame) -> str:
    """The report as Markdown: shares, residuals, the largest and most mixed centroids, the tokens in most clusters.

    Args:
        title: the heading.
        clusters: what the clusters of some vectors hold, by the name of the vectors; first, of all vectors of an index.
        shares: the content of ``shares.csv``.
    """
    table, tokens, _ = next(iter(clusters.values()))
    full = table.loc[table["size"] > 0]
    lines = [
        f"# {title}",
        "",
        f"{len(table) - len(full):,} centroids have no vector. For the others: a cluster has a median of "
        f"{np.median(full['distinct_tokens']):g} distinct tokens, and its most frequent token makes up a median of "
        f"{np.median(full['majority_share']):.0%} of its vectors. A token is in a median of "
        f"{np.median(tokens['clusters']):g} clusters.",
    ]
    texts = {
        "clusters": "Share of clusters with at most this many distinct tokens (the paper's Fig. 2a):",
        "tokens": "Share of tokens that are in at most this many clusters (Fig. 2b):",
    }
    for of, text in texts.items():
        header = ["vectors", of, *(f"≤ {number}" for number in shares.index)]
        body = [
            [name, f"{len(one.centroids if of == 'clusters' else one.tokens):,}",
             *(f"{share:.1%}" for share in shares[of, name])]
            for name, one in clusters.items()
        ]  # fmt: skip
        lines += ["", text, "", *markdown_rows(header, body, left=1)]
    lines += [
        "",
        "In the paper, about 90 % of the clusters have at most 16 distinct tokens on MS MARCO, and less than 50 % with "
        "random vectors. Its clusters have about 2,300 vectors each (600 million vectors, 2^18 centroids); these have "
        f"{table['size'].sum() / len(table):,.0f}. Small clusters have few distinct tokens, whatever the vectors. So "
        "if clusters are small, compare real and random vectors at a small number of tokens.",
        "",
        "Residuals: *bits used* is the entropy of a dimension's buckets. All dimensions share the same buckets, so the "
        "more the dimensions differ, the more the entropy falls below the codec's bits.",
        "",
    ]
    header = ["vectors", "mean norm", "95th percentile", "deviation, least", "deviation, most", "bits used", "of"]
    body = [
        [
            name,
            f"{one.norms.mean():.3f}",
            f"{np.percentile(one.norms, 95):.3f}",
            f"{one.dimensions['deviation'].min():.4f}",
            f"{one.dimensions['deviation'].max():.4f}",
            f"{one.bits_used.mean():.2f}",
            f"{np.log2(len(one.cutoffs) + 1):.0f}",
        ]
        for name, (*_, one) in clusters.items()
        if one is not None
    ]
    lines += markdown_rows(header, body, left=1)
    kinds = {"largest": "size", "most mixed": "distinct_tokens"}
    for kind, column in kinds.items():
        header = ["centroid", "most frequent tokens", "vectors", "distinct tokens", "share of the first"]
        body = [
            [str(row.Index), f"`` {row.examples} ``", f"{row.size:,}", f"{row.distinct_tokens:,}",
             f"{row.majority_share:.0%}"]
            for row in full.nlargest(LISTED_ROWS, column).itertuples()
        ]  # fmt: skip
        lines += ["", f"## The {kind} centroids", "", *markdown_rows(header, body)]
    body = [
        [
            f"`` {row['token']} ``",
            f"{row['vectors']:,}",
            f"{row['clusters']:,}",
            f"{row['majority_share']:.0%}",
            row["centroids"],
        ]
        for row in tokens.nlargest(LISTED_ROWS, "clusters").to_dict("records")
    ]
    header = ["token", "vectors", "clusters", "share of the first", "centroids"]
    lines += ["", "## The tokens in most clusters", "", *markdown_rows(header, body, left=1)]
    return "\n".join([*lines, "", "![centroids](centroids.png)", "", "![residuals](residuals.png)", ""])


def supervision_report(title: str, figures: Mapping[str, Any], ranks: pd.DataFrame, asked: int) -> str:
    """The report as Markdown: false negatives, filters, agreement, and ranks 1 to 10, then every tenth.

    Args:
        title: the heading.
        figures: the content of ``supervision.json``.
        ranks: the content of ``by_rank.csv``.
        asked: number of queries that the agreement is measured on.
    """
    lines, bound = [f"# {title}", ""], figures["false_negative_bound"]
    lines += [
        f"{figures['queries']:,} queries, {figures['unlabelled_candidates']:,} candidates without a label. The teacher "
        f"scores {figures['share_above_positive']:.1%} of these at least as high as the best labelled document; of "
        f"those kept as negatives, {figures['share_above_positive_among_kept']:.1%}."
        + (
            ""
            if isnan(bound)
            else f" If unlabelled positives score like labelled ones, at most {bound:.1%} are positive."
        ),
        "",
        "| candidates | number |",
        "|---|---:|",
        *(f"| {name} | {count:,} |" for name, count in figures["filters"].items()),
        "",
        f"| student ({asked} queries) | Kendall's τ with the teacher | KL from it, nats | same first document |",
        "|---|---:|---:|---:|",
    ]
    for name in ("before", "after"):
        found = figures[f"agreement_{name}"]
        lines.append(f"| {name} | {found['tau']:.3f} | {found['kl']:.3f} | {found['top1']:.1%} |")
    lines += ["", "| rank | unlabelled candidates | median margin | above the positive |", "|---:|---:|---:|---:|"]
    for rank, row in ranks.iterrows():
        if int(str(rank)) <= 10 or int(str(rank)) % 10 == 0:
            share = f"{row['share_above_positive']:.1%}"
            lines.append(f"| {rank} | {row['unlabelled']:,.0f} | {row['median_margin']:.2f} | {share} |")
    return "\n".join([*lines, "", "![supervision](supervision.png)", ""])
