"""Stage: score retrieved candidates with the teacher."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.division import part_size
from colbertv2.evaluation.ranking import stored_ranking
from colbertv2.files import read_array
from colbertv2.parts import WorkPart
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt, Precision, Seed, Weight
from colbertv2.training.scored import retrieval_scores, write_scored

PART_QUERIES = 64  # whose pairs are enough for full batches of similar length


@stage(version=1, divided=True, provides=["teacher_scores"])
def run(
    candidates: Artifact,
    teacher: Artifact,
    documents: Collection,
    queries: Queries,
    *,
    num_queries: PositiveInt | None,
    depth: PositiveInt,
    add_labelled: bool,
    retriever_weight: Weight,
    precision: Precision,
    seed: Seed,
    out: Path,
    runtime: Runtime,
) -> None:
    """Score the best ``depth`` candidates of each query.

    Writes ``scored.jsonl`` (candidates in retrieval order, with the teacher's scores) and ``run.trec`` (the candidates
    re-ranked by the teacher, followed by those it did not score, so that the teacher can be evaluated like any system).

    Args:
        candidates: a ranking.
        teacher: the cross-encoder.
        documents: the collection.
        queries: the queries of the ranking.
        num_queries: score only the candidates of so many queries, drawn with ``seed``; ``None`` scores those of all.
        depth: number of candidates to score per query.
        add_labelled: also score labelled documents that are not among the candidates, and append them; for training
            data.
        retriever_weight: weight of the retriever's own score, which is added to the teacher's. 0 is the paper's
            teacher. A weak teacher and its retriever together may be better than either. A document that was not
            retrieved gets the query's lowest retrieval score.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        seed: the seed of the drawn queries.
    """
    from colbertv2.training.data import sampled

    ranking = stored_ranking(candidates)
    chosen = sampled([query_id for query_id, _ in queries], num_queries, seed)
    retrieved = {query_id: [document for document, _ in ranking.get(query_id, [])] for query_id in chosen}
    ids = {query_id: found[:depth] for query_id, found in retrieved.items()}
    if add_labelled:
        for query_id, found in ids.items():
            found += [document for document in queries.qrels.relevant(query_id) if document not in found]
    size = part_size(len(ids), PART_QUERIES)
    parts = runtime.divide(
        -(-len(ids) // size), score_queries, teacher.path, documents, queries, ids, size, precision, runtime, out=out
    )
    scores = np.concatenate([np.zeros(0, np.float32), *(read_array(part.directory / "scores.npy") for part in parts)])
    if retriever_weight:
        retrieved_scores = [retrieval_scores(dict(ranking.get(query_id, [])), found) for query_id, found in ids.items()]
        scores += retriever_weight * np.array([score for found in retrieved_scores for score in found], np.float32)
    remaining = iter(scores.tolist())
    scored = {query_id: {document: next(remaining) for document in found} for query_id, found in ids.items() if found}
    write_scored(out, scored, {query_id: retrieved[query_id][depth:] for query_id in scored}, teacher.path.name)


def score_queries(
    parts: Iterable[WorkPart],
    device: Any,
    teacher: Path,
    documents: Collection,
    queries: Queries,
    ids: Mapping[str, Sequence[str]],
    size: int,
    precision: Precision,
    runtime: Runtime,
) -> None:
    """Score the candidates of some queries; batches never mix parts, so scores do not depend on who does which part.

    Args:
        parts: parts of the queries, for each of which ``scores.npy`` is written: float32, in the order of ``ids``.
        device: the device to score on.
        teacher: directory of the cross-encoder.
        documents: see :func:`run`.
        queries: see :func:`run`.
        ids: query → its candidates.
        size: queries per part.
        precision: see :func:`run`.
        runtime: batch size.
    """
    from colbertv2.modeling.attention import with_attention
    from colbertv2.modeling.cross_encoder import CrossEncoder

    model = with_attention(CrossEncoder.load(teacher), runtime.attention).to(device)
    listed = list(ids.items())
    for part in runtime.bar(parts, "teacher scores", f"× {size} queries"):
        own = listed[part.number * size : (part.number + 1) * size]
        pairs = [(query_id, document) for query_id, found in own for document in found]
        texts = queries.texts([query_id for query_id, _ in pairs]), documents.texts([document for _, document in pairs])
        scores = model.predict(*texts, runtime.batch_tokens, precision=precision) if pairs else np.zeros(0, np.float32)
        np.save(part.directory / "scores.npy", scores)
