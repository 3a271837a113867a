"""The search stage passes on the device, and records what searched."""

import json

import pytest
import torch
from support import shrunk, tiny_folder

from colbertv2.configuration.composition import build, compose
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.query_vectors import KEPT
from colbertv2.runtime import Runtime
from colbertv2.search.searcher import Searcher


@pytest.mark.parametrize("engine", ["exhaustive", "cascade"])
def test_the_device_is_the_runtimes_and_what_searched_is_recorded(tmp_path, monkeypatch, engine):
    folder, devices = tiny_folder(tmp_path / "folder", splits=("test",)), []

    class Recording(Searcher):
        def __init__(self, index, engine, device):
            devices.append(device)
            super().__init__(index, engine, device)

    monkeypatch.setattr("colbertv2.search.searcher.Searcher", Recording)
    ranking = build(
        compose(
            [
                "pipeline=untrained",
                "codec=residual",
                f"search={engine}",
                "target=ranking",
                *shrunk(folder, tmp_path / "artifacts"),
            ]
        )
    )
    assert devices == [Runtime(root=tmp_path, device="cpu").device_of(0)] * 2 == [torch.device("cpu")] * 2
    timing = json.loads((ranking.path / "timing.json").read_text())
    assert timing["searched_by"] == f"{engine.capitalize()} on the CPU" and timing["ms_per_query"] > 0


def test_queries_are_encoded_once_for_all_indexes_of_one_checkpoint(tmp_path, monkeypatch):
    folder, encoded = tiny_folder(tmp_path / "folder", splits=("test",)), []
    encode = ColBERT.encode_queries
    monkeypatch.setattr(
        ColBERT, "encode_queries", lambda self, *given, **more: encoded.append(1) or encode(self, *given, **more)
    )
    overrides = ["pipeline=untrained", "search=exhaustive", "target=ranking", *shrunk(folder, tmp_path / "artifacts")]
    runs = {
        (build(compose([*overrides, f"codec={codec}"])).path / "run.trec").read_text()
        for codec in ("fp16", "binary", "residual")
    }
    assert len(encoded) == 1 and len(runs) == 3
    KEPT.clear()
    build(compose([*overrides, "codec=residual_1bit"]))
    assert len(encoded) == 2
