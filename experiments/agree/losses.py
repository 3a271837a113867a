"""Losses and gradients of one batch, computed with their model and losses, and with ours."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from colbertv2.interchange.conversion import convert_checkpoint
from colbertv2.modeling.batch import Tuples, excluded_in_batch
from colbertv2.modeling.colbert import ColBERT
from colbertv2.training.objectives import CrossEntropy, InBatchNegatives, KLDivergence, MarginMSE, Objective, Scores
from experiments.agree.environments import Peers
from experiments.agree.report import Row
from experiments.agree.texts import AWKWARD, OFFICIAL, documents, model, queries

QUERIES, N, ALPHA, TEMPERATURE = 4, 4, 0.7, 0.5
PYLATE_LENGTH = 24  # tokens of every document, so that none is masked: PyLate counts masked ones as similarity 0
OFFICIAL_LOSSES: dict[str, Objective] = {
    "distillation": KLDivergence(1.0, temperature=1.0, teacher_scale=ALPHA),
    "cross_entropy": CrossEntropy(1.0, temperature=1.0),
    "in_batch": InBatchNegatives(1.0, temperature=1.0),
}
CONTRASTIVE = InBatchNegatives(1.0, temperature=TEMPERATURE, own_negatives=True)
PYLATE_LOSSES: dict[str, Objective] = {
    "distillation": KLDivergence(1.0, temperature=1.0, teacher_scale=1.0),
    "distillation_minmax": KLDivergence(1.0, temperature=1.0, teacher_scale=1.0, student_normalisation="minmax"),
    "contrastive": CONTRASTIVE,
    "cached": CONTRASTIVE,
}
SENTENCE_TRANSFORMERS_LOSSES: dict[str, Objective] = {
    "distillation": KLDivergence(1.0, temperature=1.0, teacher_scale=1.0),
    "margin_mse": MarginMSE(1.0, teacher_scale=1.0),
    "contrastive": CONTRASTIVE,
    "cached": CONTRASTIVE,
}
# PyLate's cached loss is the mean over the batch, but its gradients are those of the sum.
GRADIENT_FACTORS = {
    ("PyLate 1.6.0", "cached"): (QUERIES, f"PyLate's are of the sum over the batch: divided by its size, {QUERIES}")
}


def run(work: Path, peers: Peers) -> Iterator[Row]:
    """Compare every loss of the three systems."""
    shutil.rmtree(work)
    unmasked = dataclasses.replace(OFFICIAL, document_maxlen=PYLATE_LENGTH, skip_punctuation=False)
    for peer, name, layout, start, losses in (
        (peers.colbert_ai, "colbert-ai 0.2.22", "official", model(), OFFICIAL_LOSSES),
        (peers.pylate, "PyLate 1.6.0", "pylate", model(unmasked), PYLATE_LOSSES),
        (
            peers.sentence_transformers,
            "sentence-transformers 6.2.0",
            "sentence_transformers",
            model(),
            SENTENCE_TRANSFORMERS_LOSSES,
        ),
    ):
        (work / f"{layout}-ours").mkdir(parents=True)
        start.save(work / f"{layout}-ours")
        convert_checkpoint(str(work / f"{layout}-ours"), work / layout, layout)
        batch = example_batch()
        (work / "batch.json").write_text(json.dumps(batch))
        found = work / f"{layout}.safetensors"
        peer.run(f"losses_{peer.name.replace('-', '_')}", work / layout, work / "batch.json", found)
        yield from compared(name, ColBERT.load(work / layout), losses, batch, load_file(found))


def example_batch() -> dict:
    """A batch of long documents, all different, with scores of a teacher."""
    long = [text for text in documents(200)[len(AWKWARD) :] if len(text) > 300][: QUERIES * N]
    scores = np.random.default_rng(0).normal(size=(QUERIES, N)).round(3).tolist()
    asked = queries(len(AWKWARD) + QUERIES)[len(AWKWARD) :]
    return {"queries": asked, "documents": long, "scores": scores, "alpha": ALPHA, "temperature": TEMPERATURE}


def compared(name: str, ours: ColBERT, losses: dict[str, Objective], batch: dict, found: dict) -> Iterator[Row]:
    """The rows of every loss and its gradients."""
    ours.eval()
    ids = [str(place) for place in range(len(batch["documents"]))]
    inputs = ours.collate(Tuples(batch["queries"], batch["documents"]))
    own, everything = ours.batch_scores(inputs, all_pairs=True)
    scores = Scores(own, torch.tensor(batch["scores"]), everything, excluded_in_batch(batch["queries"], ids))
    for key, objective in losses.items():
        ours.zero_grad()
        loss = objective(scores)
        loss.backward(retain_graph=True)
        yield Row("losses", name, f"{key}: loss", abs(loss.item() - found[f"{key}.loss"].item()), 1e-5, repr(objective))
        theirs = {
            encoder_name(parameter.removeprefix(f"{key}.")): gradient
            for parameter, gradient in found.items()
            if parameter.startswith(f"{key}.") and not parameter.endswith(".loss")
        }
        factor, note = GRADIENT_FACTORS.get((name, key), (1, ""))
        largest, compared_count = 0.0, 0
        for parameter, tensor in ours.named_parameters():
            if tensor.grad is not None and parameter in theirs:
                rows = min(len(tensor.grad), len(theirs[parameter]))  # PyLate may add tokens at the end
                largest = max(largest, float((tensor.grad[:rows] - theirs[parameter][:rows] / factor).abs().max()))
                compared_count += 1
        expected = sum(tensor.grad is not None for tensor in ours.parameters())
        if compared_count < expected:
            largest = float("nan")
        yield Row("losses", name, f"{key}: gradient of all {expected} parameters", largest, 1e-4, note)


def encoder_name(name: str) -> str:
    """Translate the name of a peer's parameter into ours: ``transformer.…`` or ``projection.0.linear.weight``."""
    for prefix, ours in (
        ("model.bert.", "transformer."),
        ("model.linear.", "projection.0.linear."),
        ("0.auto_model.", "transformer."),
        ("0.model.", "transformer."),
        ("1.linear.", "projection.0.linear."),
    ):
        if name.startswith(prefix):
            return ours + name.removeprefix(prefix)
    return name
