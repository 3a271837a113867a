"""Stage: report on the supervision of a training round."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.files import read_json, write_json
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt, Precision, Seed
from colbertv2.training.examples import SCORED_FILE, Example, read_examples, training_examples

FILTERS = ("outside_window", "labelled", "suspected", "relabelled", "kept")


@stage(version=1)
def run(
    scored: Artifact,
    examples: Artifact,
    before: Artifact,
    after: Artifact,
    documents: Collection,
    queries: Queries,
    *,
    num_queries: PositiveInt,
    precision: Precision,
    seed: Seed,
    out: Path,
    runtime: Runtime,
) -> None:
    """Report how the teacher scored the mined candidates, what denoising kept, and what the student learned.

    Writes ``supervision.md`` and ``supervision.png`` for readers, and ``by_rank.csv``, ``agreement.csv`` (a row per
    query and student) and ``supervision.json`` for computations.

    Args:
        scored: candidates with the teacher's scores.
        examples: the training examples after denoising.
        before: the checkpoint that the round started from.
        after: the checkpoint that the round ended with.
        documents: the collection.
        queries: the training queries.
        num_queries: number of queries whose candidates both checkpoints score.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        seed: the seed of the drawn queries.
    """
    import pandas as pd

    from colbertv2.analysis.supervision import agreement, by_rank, candidate_table, false_negative_bound
    from colbertv2.reporting.analysis_figures import draw_supervision
    from colbertv2.reporting.analysis_reports import supervision_report
    from colbertv2.training.data import sampled

    judged = list(read_examples(scored.file(SCORED_FILE)))
    candidates, positives = candidate_table(judged, queries.qrels.relevant)
    learnt = training_examples(examples)
    kept = {(example.query_id, document) for example in learnt for document in example.documents[1:]}
    pairs = zip(candidates["query_id"], candidates["document"], strict=True)
    candidates["kept"] = [pair in kept for pair in pairs]
    removed = read_json(examples.file("denoising.json"))
    filters = {name.replace("_", " "): removed[name] for name in FILTERS if name in removed}
    some = sampled([one for one in judged if len(one.documents) > 1], num_queries, seed)
    teacher = [np.array(one.scores) for one in some]
    students = {"before": before, "after": after}
    agreements = {
        name: agreement(teacher, student_scores(checkpoint, some, documents, queries, precision, runtime))
        for name, checkpoint in students.items()
    }
    ranks = by_rank(candidates)
    ranks.to_csv(out / "by_rank.csv", lineterminator="\n")
    ids = pd.Index([one.query_id for one in some], name="query_id")
    tables = {name: rows.set_index(ids) for name, rows in agreements.items()}
    pd.concat(tables, names=["student"]).to_csv(out / "agreement.csv", lineterminator="\n")
    figures = {
        "queries": len(judged),
        "unlabelled_candidates": len(candidates),
        "share_above_positive": float((candidates["margin"] <= 0).mean()),
        "share_above_positive_among_kept": float((candidates["margin"][candidates["kept"]] <= 0).mean()),
        "false_negative_bound": false_negative_bound(candidates["score"].to_numpy(), positives),
        "filters": filters,
        **{f"agreement_{name}": rows.mean().to_dict() for name, rows in agreements.items()},
    }
    write_json(out / "supervision.json", figures)
    title = f"Supervision of {after.address}"
    draw_supervision(ranks, candidates, filters, agreements, title, out / "supervision.png")
    (out / "supervision.md").write_text(supervision_report(title, figures, ranks, len(some)), encoding="utf-8")


def student_scores(
    checkpoint: Artifact,
    examples: list[Example],
    documents: Collection,
    queries: Queries,
    precision: str,
    runtime: Runtime,
) -> list[np.ndarray]:
    """The MaxSim scores of each example's candidates, float32 ``[n]`` per example; each document is encoded once."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from colbertv2.modeling.attention import with_attention
    from colbertv2.modeling.colbert import ColBERT
    from colbertv2.modeling.maxsim import maxsim_all_pairs

    loaded = ColBERT.load(
        checkpoint.path,
        documents.maxlen,
        query_prompt=queries.prompt,
        document_prompt=documents.prompt,
        query_maxlen=queries.maxlen,
    )
    model = with_attention(loaded, runtime.attention).to(runtime.torch_device)
    ids = list(dict.fromkeys(document for example in examples for document in example.documents))
    encoded = model.encode_documents(documents.texts(ids), runtime.batch_tokens, precision=precision)
    vectors = {document: torch.from_numpy(one) for document, one in zip(ids, encoded, strict=True)}
    asked = model.encode_queries(queries.texts([example.query_id for example in examples]), runtime.batch_tokens)
    scores: list[np.ndarray] = []
    for query, example in zip(map(torch.from_numpy, asked), examples, strict=True):
        candidates = [vectors[document] for document in example.documents]
        padded = pad_sequence(candidates, batch_first=True)
        lengths = torch.tensor([len(one) for one in candidates])
        document_mask = torch.arange(padded.shape[1]) < lengths[:, None]
        query_mask = torch.ones(1, len(query), dtype=torch.bool)
        scores.append(maxsim_all_pairs(query[None], padded, query_mask, document_mask)[0].numpy())
    return scores
