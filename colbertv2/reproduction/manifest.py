"""What a measured value came from: command, code, machine, all stages with arguments and inputs by hash, truncation."""

import shlex
from collections.abc import Sequence
from typing import Any

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.process import device_name
from colbertv2.data.collection import sampled
from colbertv2.errors import InputError
from colbertv2.modeling.initial import tokenizer_of
from colbertv2.modeling.tokenizer import Tokenizer
from colbertv2.runtime import Runtime

RECORDED = ("address", "commit", "dirty", "versions", "device", "created", "seconds")
OF_THIS_MACHINE = ("runtime.root", "runtime.progress", "runtime.wandb")  # and no matter to what comes out


def describe(words: Sequence[str], node: Node, artifact: Artifact, runtime: Runtime) -> dict[str, Any]:
    """The manifest of one row: engine, codec, lengths and seeds stand in the arguments of the stages that read them.

    Args:
        words: the command line of ``python -m colbertv2`` that builds it.
    """
    return {
        "command": shlex.join(["python", "-m", "colbertv2", *portable(words)]),
        "machine": device_name(runtime),
        "stages": {one.address: one.identity["arguments"] for one in node.lineage()},
        "truncated": {one.address: share for one in node.lineage() for share in truncated(one)},
        "artifacts": [{name: one.record.get(name) for name in RECORDED} for one in artifact.lineage()],
    }


def portable(words: Sequence[str]) -> list[str]:
    """Of a command line what another machine needs."""
    return [word for word in words if not word.startswith(OF_THIS_MACHINE)]


def truncated(node: Node) -> list[dict[str, float]]:
    """The share of texts that a stage cuts, of some hundred; empty for stages that encode none."""
    try:
        untrained = node.ancestor("checkpoint")
        while "checkpoint" in untrained.parents:
            untrained = untrained.parents["checkpoint"]
        tokenizer = tokenizer_of(untrained.bound["backbone"], untrained.bound["tokenization"])
    except InputError:
        return []
    tokenization, bound = tokenizer.tokenization, node.bound
    if node.stage.name == "encode":
        maxlen = bound["document_maxlen"] or tokenization.document_maxlen
        return [{"documents": share_cut(tokenizer, bound["documents"], maxlen, tokenization.document_marker)}]
    if node.stage.name in ("search", "pools", "rerank"):
        return [
            {"queries": share_cut(tokenizer, bound["queries"], tokenization.query_maxlen, tokenization.query_marker)}
        ]
    return []


def share_cut(tokenizer: Tokenizer, texts: Any, maxlen: int, marker: str | None) -> float:
    """Of a sample of ``texts``, how many have more tokens than fit beside the marker."""
    rows = tokenizer.tokenizer([text for _, text in sampled(texts, texts)])["input_ids"]
    return round(sum(len(row) > maxlen - (marker is not None) for row in rows) / max(1, len(rows)), 4)
