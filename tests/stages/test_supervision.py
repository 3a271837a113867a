"""The report on a round's supervision."""

import json

import pandas as pd
from support import shrunk, tiny_folder

from colbertv2.configuration.composition import build, compose
from colbertv2.training.examples import Examples


def test_a_round_reports_what_it_was_taught(tmp_path):
    overrides = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "target=round2.supervision"]
    overrides += ["pipeline=no_dev", "collection.dev=null"]  # so the last weights are kept, even if they are not better
    report = build(compose([*overrides, "pipeline.round2.supervision.num_queries=4"]))
    figures = json.loads((report.path / "supervision.json").read_text())
    scored = list(Examples(report.parents["scored"].path / "scored.jsonl"))
    labelled = {one.query_id: one.query_id.replace("q", "d") for one in scored}
    margins = [
        one.scores[one.documents.index(labelled[one.query_id])] - score
        for one in scored
        for document, score in zip(one.documents, one.scores, strict=True)
        if document != labelled[one.query_id]
    ]
    assert figures["unlabelled_candidates"] == len(margins)
    assert figures["share_above_positive"] == sum(margin <= 0 for margin in margins) / len(margins)
    assert figures["share_above_positive_among_kept"] == 0  # the default removes candidates that score above it
    assert figures["filters"]["suspected"] > 0
    agreement = pd.read_csv(report.path / "agreement.csv")
    assert agreement.groupby("student").size().to_dict() == {"before": 4, "after": 4}
    assert figures["agreement_before"] != figures["agreement_after"]
    assert (report.path / "supervision.png").stat().st_size > 10_000
    text = (report.path / "supervision.md").read_text()
    assert f"{len(margins)} candidates without a label" in text and "| suspected |" in text
