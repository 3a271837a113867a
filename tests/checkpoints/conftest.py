"""Fixtures: one tiny checkpoint in every layout."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from checkpoints.layouts import LAYOUTS, TOKENIZATION, edit
from support import tiny_bert

from colbertv2.checkpoints.layouts import read_checkpoint, write_checkpoint
from colbertv2.checkpoints.projection import Dense
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone


@pytest.fixture
def saved(tmp_path, templates) -> dict[str, Path]:
    """A copy of :func:`templates` that a test may damage."""
    return {layout: Path(shutil.copytree(path, tmp_path / layout)) for layout, path in templates.items()}


@pytest.fixture(scope="module")
def templates(tmp_path_factory) -> dict[str, Path]:
    """The same tiny checkpoint in each layout, with fp16 weights, a pooler, and settings that we do not know."""
    tmp_path = tmp_path_factory.mktemp("layouts")
    model = initial.colbert(Backbone(str(tiny_bert()), None), TOKENIZATION, 8, "orthogonal", [], 0)
    (tmp_path / "made").mkdir()
    model.save(tmp_path / "made")
    checkpoint = read_checkpoint(tmp_path / "made")
    checkpoint = dataclasses.replace(
        checkpoint,
        projection=(Dense(checkpoint.projection[0].weight.half()),),
        encoder={
            **checkpoint.encoder,
            "pooler.dense.weight": torch.randn(32, 32),
            "pooler.dense.bias": torch.zeros(32),
        },
    )
    paths = {}
    for layout in LAYOUTS:
        paths[layout] = tmp_path / layout
        write_checkpoint(checkpoint, paths[layout], layout)
    for layout in LAYOUTS[1:]:
        (paths[layout] / "other_layouts.json").unlink()  # as if the other systems had saved them
    edit(paths["official"] / "artifact.metadata", lr=1e-5, kmeans_niters=20, nway=64, checkpoint="somewhere")
    edit(paths["pylate"] / "config_sentence_transformers.json", prompts={"a": "b"}, __version__={"pylate": "1.6.0"})
    edit(
        paths["sentence_transformers"] / "config_sentence_transformers.json",
        __version__={"sentence_transformers": "6.2.0"},
        similarity_fn_name=None,
    )
    return paths
