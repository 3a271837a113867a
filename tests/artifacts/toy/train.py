"""Toy stage: counts epochs, and continues where it was interrupted."""

from pathlib import Path

from toy.components import Corpus
from toy.steer import trace

from colbertv2.artifacts.stage import stage
from colbertv2.runtime import Runtime


@stage(version=1, resumable=True)
def run(corpus: Corpus, *, rate: float, epochs: int, out: Path, runtime: Runtime) -> None:
    state = out / "epochs.txt"
    for epoch in range(len(state.read_text()) if state.exists() else 0, epochs):
        with state.open("a") as file:
            file.write(str(epoch))
        if epoch == 1:
            trace("train", runtime.root)
