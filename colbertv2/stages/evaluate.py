"""Stage: evaluate the effectiveness of a ranking."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.evaluation.measurement import depth_of, write_values
from colbertv2.evaluation.ranking import stored_ranking
from colbertv2.runtime import Runtime


def measures(arguments: Mapping[str, Any]) -> list[str]:
    """The measures in ``per_query.csv``."""
    return list(arguments["measures"])


def check(ranking: Node | None, queries: Queries, measures: list[str]) -> list[str]:
    """Check the measures, the judgements of the queries, and that the judgements are for the ranked documents.

    The ranking must be deep enough for at least one measure; the others are then reported as not known.
    """
    from colbertv2.evaluation.measures import parse, unknown
    from colbertv2.evaluation.protocols import most_removed, undefined, unjudgeable

    parse(measures)
    reasons = list(unjudgeable(queries))
    if lacking := undefined(queries.protocol, measures):
        reasons.append(
            f"the protocol {queries.protocol} does not define {', '.join(lacking)}, since nobody knows which other "
            "documents contain answers; leave them out of measures, as in measures=[Success@5,Success@20]."
        )
    depth = None if ranking is None else counted_depth(depth_of(ranking), most_removed(queries))
    if len(unknown(measures, depth)) == len(measures):
        reasons.append(
            f"the ranking keeps {depth} documents per query, fewer than the cut-offs of all measures "
            f"({', '.join(measures)}); raise depth, or choose measures with smaller cut-offs."
        )
    documents = ranked_documents(ranking)
    return reasons if reasons or queries.by_answers or documents is None else queries.qrels.mismatch(documents)


def counted_depth(depth: int | None, removed: int) -> int | None:
    """The depth of a ranking of ``depth`` documents from which up to ``removed`` are removed, at least 0."""
    return None if depth is None else max(depth - removed, 0)


def ranked_documents(ranking: Node | None) -> Collection | None:
    """The collection that a ranking is from: its stage's own documents, or those of the embeddings it searched."""
    if ranking is None:
        return None
    of = ranking if "documents" in ranking.bound else ranking.ancestor("embeddings")
    return of.bound["documents"]


@stage(version=2)
def run(ranking: Artifact, queries: Queries, *, measures: list[str], out: Path, runtime: Runtime) -> None:
    """Evaluate ``run.trec`` of ``ranking``.

    Writes ``per_query.csv`` (``query_id`` and one column per measure) and ``metrics.json`` (the means, and ``queries``,
    the number of queries). A measure whose cut-off exceeds the ranking's depth is not known: its cells are empty, its
    mean is null, and ``unknown`` says why. A measure without a cut-off is treated as cut off at that depth. ``notes``
    says for how many queries ties cross a cut-off. The protocol of ``queries`` decides which queries and documents
    count (:mod:`colbertv2.evaluation.protocols`); by that of TREC, judged queries without results count as zero.

    Args:
        ranking: an artifact with a ``run.trec``.
        queries: queries with relevance judgements.
        measures: in the notation of ir_measures; ``RR(ties='expected')@10`` is the mean over all orders of tied
            documents.
    """
    from colbertv2.evaluation.measures import evaluate, length_note, tie_note, unknown
    from colbertv2.evaluation.protocols import judged, most_removed

    ranked, qrels = judged(stored_ranking(ranking), queries)
    depth = counted_depth(depth_of(ranking), most_removed(queries))
    values = evaluate(ranked, qrels, measures, depth)
    notes = [tie_note(ranked, qrels, measures)]
    if "imported_ranking" in ranking.provides:  # the depth of its system is not known
        notes.append(length_note(ranked, measures))
    write_values(values, out, unknown(measures, depth, ranked, qrels), [note for note in notes if note])
