"""Stage: one of the indexes that the stage ``streamed`` has written in one pass."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.compression.codec import Codec
from colbertv2.files import write_json
from colbertv2.runtime import Runtime


@stage(version=1, provides=["without_vectors"])
def run(embeddings: Artifact, name: str, codec: Codec, *, out: Path, runtime: Runtime) -> None:
    """Take the index of one codec. Its files are hard links where the file system has them, which need no room.

    Writes what the stage ``index`` writes.

    Args:
        embeddings: artifact of the stage ``streamed``.
        name: the name of the codec there.
        codec: the codec of that name, which tells other stages what they can do with this index.
    """
    from colbertv2.indexing.sharded_index import open_index, statistics_of

    for file in embeddings.record["sha256"]:
        if file.startswith(f"{name}/"):
            target = out / file.removeprefix(f"{name}/")
            target.parent.mkdir(exist_ok=True)
            link(embeddings.file(file, mapped=True), target)
    write_json(out / "statistics.json", statistics_of(open_index(out)))


def link(source: Path, target: Path) -> None:
    """Make ``target`` a hard link of ``source``, or a copy if there can be none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def check(embeddings: Node, name: str, codec: Codec) -> Iterator[str]:
    """Check that the codec is the one with this name."""
    if "indexes" not in embeddings.stage.provides:
        yield f"embeddings is the node {embeddings.key} of the stage {embeddings.stage.name}; expected stage streamed."
        return
    codecs = embeddings.bound["codecs"]
    if name not in codecs:
        yield f"name is {name!r}; expected one of {', '.join(codecs)}, which are encoded."
    elif repr(codecs[name]) != repr(codec):
        yield f"codec is {codec!r}, but {name} is {codecs[name]!r}; both must be the same."
