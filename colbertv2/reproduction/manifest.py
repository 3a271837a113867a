"""What a measured value came from: command, versions, seeds, inputs by hash, engine, lengths, truncation."""

import shlex
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from colbertv2.artifacts import Artifact, Node
from colbertv2.errors import InputError
from colbertv2.modeling.sizes import sampled
from colbertv2.modeling.tokenizer import Tokenizer
from colbertv2.stages.sizes import Model

SETTINGS = ("seed", "kmeans_seed", "search", "codec", "bm25", "model", "document_maxlen", "precision", "depth")
RECORDED = ("address", "commit", "dirty", "versions", "created", "seconds")


def describe(config: DictConfig, words: Sequence[str], node: Node, artifact: Artifact) -> dict[str, Any]:
    """The manifest of one row.

    Args:
        words: the command line of ``python -m colbertv2`` that builds it.
    """
    inputs = {
        leaf["_target_"].rpartition(".")[2]: leaf["identity"]
        for one in node.lineage()
        for leaf in identified(one.identity["arguments"])
    }
    return {
        "command": shlex.join(["python", "-m", "colbertv2", *(w for w in words if not w.startswith("runtime."))]),
        "settings": {
            name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for name in SETTINGS
            if (value := config.get(name)) is not None
        },
        "inputs": inputs,
        "truncated": {one.address: share for one in node.lineage() for share in truncated(one)},
        "artifacts": [{name: one.record.get(name) for name in RECORDED} for one in artifact.lineage()],
    }


def identified(arguments: Any) -> list[dict[str, Any]]:
    """The inputs from outside among a stage's arguments: what has an identity of its own."""
    if isinstance(arguments, dict):
        own = [arguments] if "identity" in arguments and "_target_" in arguments else []
        return own + [found for value in arguments.values() for found in identified(value)]
    return [found for value in arguments for found in identified(value)] if isinstance(arguments, list) else []


def truncated(node: Node) -> list[dict[str, float]]:
    """The share of texts that a stage cuts, of some hundred; empty for stages that encode none."""
    try:
        tokenizer = Model.of(node.ancestor("checkpoint")).tokenizer
    except InputError:
        return []
    conventions, bound = tokenizer.conventions, node.bound
    if node.stage.name == "encode":
        maxlen = bound["document_maxlen"] or conventions.document_maxlen
        return [{"documents": share_cut(tokenizer, bound["documents"], maxlen, conventions.document_marker)}]
    if node.stage.name in ("search", "pools", "rerank"):
        return [{"queries": share_cut(tokenizer, bound["queries"], conventions.query_maxlen, conventions.query_marker)}]
    return []


def share_cut(tokenizer: Tokenizer, texts: Any, maxlen: int, marker: str | None) -> float:
    """Of a sample of ``texts``, how many have more tokens than fit beside the marker."""
    rows = tokenizer.tokenizer([text for _, text in sampled(texts)])["input_ids"]
    return round(sum(len(row) > maxlen - (marker is not None) for row in rows) / max(1, len(rows)), 4)
