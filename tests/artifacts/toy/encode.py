"""Toy stage: one number per word of the corpus."""

from pathlib import Path

from toy.components import Corpus
from toy.steer import trace

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.stage import stage
from colbertv2.runtime import Runtime


@stage(version=1)
def run(checkpoint: Artifact, corpus: Corpus, *, dim: int, out: Path, runtime: Runtime) -> None:
    (out / "lengths.txt").write_text(" ".join(str(len(word)) for word in corpus.path.read_text().split()))
    trace("encode", runtime.root)
