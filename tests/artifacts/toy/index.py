"""Toy stage with a check across the graph."""

from collections.abc import Iterator
from pathlib import Path

from toy.components import Codec
from toy.steer import trace

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.runtime import Runtime


def check(embeddings: Node, codec: Codec) -> Iterator[str]:
    if (dim := embeddings.arguments["dim"]) != codec.dim:
        yield f"the codec is for {codec.dim} dims; the embeddings have {dim}."


@stage(version=1)
def run(embeddings: Artifact, codec: Codec, *, out: Path, runtime: Runtime) -> None:
    (out / "shards").mkdir(exist_ok=True)
    (out / "shards" / "0.txt").write_text(f"{codec.bits} bits")
    trace("index", runtime.root)
    (out / "epochs.txt").write_text((embeddings.ancestor("checkpoint").path / "epochs.txt").read_text())
