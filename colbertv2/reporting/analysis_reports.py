"""The Markdown reports of the analyses: of a decomposition, of centroids, and of the supervision of a round."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from colbertv2.analysis.decomposition import STEPS, most_moved
from colbertv2.evaluation.measures import fraction, signed
from colbertv2.reporting.centroids_figure import ClusterTables
from colbertv2.reporting.rendering import markdown_rows

LISTED_QUERIES = 5  # so many queries that lose most by a step are listed, and as many that gain most
LISTED_ROWS = 15  # rows in each table of centroids or tokens


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
        f"{len(table) - len(full):,} centroids are without a vector. Of the others the median holds "
        f"{np.median(full['distinct_tokens']):g} distinct tokens, and its most frequent token is "
        f"{np.median(full['majority_share']):.0%} of its vectors; the median token lies in "
        f"{np.median(tokens['clusters']):g} of them.",
    ]
    texts = {
        "clusters": "The share of clusters with at most so many distinct tokens (the paper's Fig. 2a):",
        "tokens": "The share of tokens that lie in at most so many clusters (Fig. 2b):",
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
        "The paper has about 90 % of clusters at 16 for MS MARCO, and less than 50 % for random vectors. Its clusters "
        "hold some 2,300 vectors each (600 million, 2^18 centroids), these "
        f"{table['size'].sum() / len(table):,.0f}; the fewer there are, the fewer distinct tokens there can be, of any "
        "vectors. So compare real with random vectors at a small number of tokens where clusters are small.",
        "",
        "Residuals. Bits used is the entropy of a dimension's buckets, which are the same for all dimensions: the less "
        "alike dimensions are, the further it is below the codec's bits.",
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
        f"puts {figures['share_above_positive']:.1%} of these level with the best labelled document or above it; among "
        f"those kept as negatives {figures['share_above_positive_among_kept']:.1%}."
        + ("" if isnan(bound) else f" If unlabelled positives score like labelled ones, at most {bound:.1%} are some."),
        "",
        "| what became of the candidates | |",
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
