"""Stage: average the weights of several checkpoints of the same architecture."""

from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.files import read_json
from colbertv2.runtime import Runtime

SIZES = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


@stage(version=1)
def run(checkpoint: Artifact, others: dict[str, Artifact], *, out: Path, runtime: Runtime) -> None:
    """Write a checkpoint with the mean of all weights: a "model soup" (Wortsman et al. 2022, arXiv:2203.05482).

    The mean is useful for checkpoints that were trained from the same one: with other seeds or recipes, or one from the
    other.

    Args:
        checkpoint: a checkpoint; the average has its tokenizer and settings.
        others: name → checkpoint, each with the same weight as ``checkpoint``.
    """
    from colbertv2.modeling.averaging import averaged

    averaged([checkpoint.path, *(other.path for other in others.values())]).save(out)


def check(checkpoint: Node, others: dict[str, Node], **_: object) -> Iterator[str]:
    """Check that all checkpoints have one architecture, dimension, head and tokenization, as far as stages say."""
    from colbertv2.modeling.initial import start_of

    if not others:
        yield "average.others is empty; name at least one more checkpoint."
    own = described(start_of(checkpoint))
    for name, other in others.items():
        if other.address == checkpoint.address:
            yield f"average.others.{name} is the checkpoint {checkpoint.address} itself; name another one."
        found = described(start_of(other))
        for key in own.keys() & found.keys():
            if own[key] != found[key]:
                yield (
                    f"average.others.{name} has {key} {found[key]}, but average.checkpoint has {own[key]}; only "
                    "checkpoints of one architecture, dimension, head and tokenization can be averaged."
                )


def described(start: Node) -> dict[str, object]:
    """What must be equal for the weights to have a mean, of a checkpoint that a pipeline starts from."""
    from colbertv2.modeling.initial import tokenization

    backbone, values = start.bound.get("backbone"), start.bound
    if backbone is None:
        return {}
    config = read_json(backbone.directory / "config.json")
    known: dict[str, object] = {key: config[key] for key in SIZES if key in config}
    if "tokenization" in values:
        known["tokenization"] = tokenization(backbone, values["tokenization"])
    return known | {key: values[key] for key in ("dim", "head") if key in values}
