"""Checkpoints: loading and saving with the other systems keeps every tensor and every setting."""

import json
import shutil
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import torch

from colbertv2.checkpoints.checkpoint import Checkpoint
from colbertv2.checkpoints.layouts import read_checkpoint
from colbertv2.interchange.conversion import convert_checkpoint
from experiments.agree.environments import Peers
from experiments.agree.report import Row
from experiments.agree.texts import model

LAYOUTS = ("colbertv2", "official", "pylate", "sentence_transformers")
COLBERT_AI, PYLATE, SENTENCE_TRANSFORMERS = "colbert-ai 0.2.22", "PyLate 1.6.0", "sentence-transformers 6.2.0"


def run(work: Path, peers: Peers) -> Iterator[Row]:
    """Load and save each layout with its own system, and compare; then convert between all layouts and back."""
    shutil.rmtree(work)
    (work / "colbertv2").mkdir(parents=True)
    model().save(work / "colbertv2")
    for layout in LAYOUTS[1:]:
        convert_checkpoint(str(work / "colbertv2"), work / layout, layout)
    peers.colbert_ai.run("checkpoint_colbert_ai", work / "official", work / "official-saved")
    peers.pylate.run("checkpoint_pylate", work / "pylate", work / "pylate-saved")
    peers.pylate.run("checkpoint_pylate", work / "official", work / "official-in-pylate")
    theirs = peers.sentence_transformers
    theirs.run("checkpoint_sentence_transformers", work / "sentence_transformers", work / "sentence_transformers-saved")
    theirs.run("checkpoint_sentence_transformers", work / "pylate", work / "pylate-in-st")
    theirs.run("checkpoint_sentence_transformers", work / "official", work / "official-in-st")
    ours = read_checkpoint(work / "colbertv2")
    for name, written, directory, note in (
        (COLBERT_AI, "official", "official-saved", "loaded and saved by colbert-ai; it adds a pooler of its own"),
        (PYLATE, "pylate", "pylate-saved", "loaded and saved by PyLate"),
        (PYLATE, "pylate", "official-in-pylate", "PyLate's conversion of our official layout, compared with ours"),
        (
            SENTENCE_TRANSFORMERS,
            "sentence_transformers",
            "sentence_transformers-saved",
            "loaded and saved by sentence-transformers",
        ),
        (
            SENTENCE_TRANSFORMERS,
            "sentence_transformers",
            "pylate-in-st",
            "its conversion of our PyLate layout, compared with ours",
        ),
        (
            SENTENCE_TRANSFORMERS,
            "sentence_transformers",
            "official-in-st",
            "its conversion of our official layout, compared with ours",
        ),
    ):
        expected, found = read_checkpoint(work / written), read_checkpoint(work / directory)
        yield Row("checkpoints", name, "tensors that differ", float(len(differing_tensors(ours, found))), 0, note)
        before, after = settings_of(expected), settings_of(found)
        wrong = [key for key, value in before.items() if key not in after or after[key] != value]
        yield Row("checkpoints", name, f"settings that differ, of {len(before)}", len(wrong), 0, note)
    originals = {"colbertv2": "colbertv2", **{layout: f"{layout}-saved" for layout in LAYOUTS[1:]}}
    lost = 0
    for first, second in permutations(LAYOUTS, 2):
        start, between, end = work / originals[first], work / f"{first}-{second}", work / f"{first}-{second}-{first}"
        convert_checkpoint(str(start), between, second)
        convert_checkpoint(str(between), end, first)
        before, after = read_checkpoint(start), read_checkpoint(end)
        lost += len(differing_tensors(before, after)) + len(differing_settings(before, after))
    yield Row(
        "checkpoints",
        f"{COLBERT_AI}, {PYLATE}, {SENTENCE_TRANSFORMERS}",
        "tensors and settings lost in 12 round trips from files that they saved",
        lost,
        0,
    )


def differing_tensors(first: Checkpoint, second: Checkpoint) -> list[str]:
    """Names of the tensors of ``first`` that ``second`` lacks, or has with another type or other bits."""
    found = second.tensors()
    return [
        name
        for name, tensor in first.tensors().items()
        if name not in found or found[name].dtype != tensor.dtype or not torch.equal(found[name], tensor)
    ]


def settings_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The tokenization, and the layout's settings without those about where and by which version they were written.

    The similarity is always MaxSim; files also leave it open or name it in other words.
    """
    own = checkpoint.settings[checkpoint.layout]
    return {
        **vars(checkpoint.tokenization),
        **{
            f"file: {key}": value
            for key, value in own.get("settings", own).items()
            if key not in ("meta", "checkpoint", "__version__", "prompts", "model_type", "similarity_fn_name")
        },
    }


def differing_settings(first: Checkpoint, second: Checkpoint) -> list[str]:
    """Settings that differ between the two: the layout's own settings and the tokenization."""

    def everything(checkpoint: Checkpoint) -> dict[str, Any]:
        own = checkpoint.settings.get(checkpoint.layout, {})
        return {**vars(checkpoint.tokenization), **checkpoint.config, "own": json.dumps(own, sort_keys=True)}

    before, after = everything(first), everything(second)
    return [key for key, value in before.items() if after.get(key) != value]
