"""The search stage hands the device on and records what searched."""

import json

import pytest
import torch
from support import shrunk, tiny_folder

from colbertv2.configuration import build, compose
from colbertv2.retrieval import Searcher
from colbertv2.runtime import Runtime
from colbertv2.stages import search


@pytest.mark.parametrize("engine", ["exhaustive", "cascade"])
def test_the_device_is_the_runtimes_and_what_searched_is_recorded(tmp_path, monkeypatch, engine):
    folder, devices = tiny_folder(tmp_path / "folder", splits=("test",)), []

    class Recording(Searcher):
        def __init__(self, index, engine, device):
            devices.append(device)
            super().__init__(index, engine, device)

    monkeypatch.setattr(search, "Searcher", Recording)
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
