"""Our layout: the encoder as transformers saves it, plus ``projection.safetensors`` and ``colbert.json``."""

from __future__ import annotations

from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbertv2.checkpoints.checkpoint import (
    CARRIED,
    Checkpoint,
    carried,
    contiguous,
    read_tensors,
    read_tokenizer,
    typed,
    write_common,
)
from colbertv2.checkpoints.projection import Dense, is_plain, named_tensors
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.files import read_json, write_json
from colbertv2.schema import hints_of, misfits

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS, PROJECTION = "colbert.json", "projection.safetensors"
LAYERS = "projection"  # key of colbert.json: activation and residual connection of each layer; absent if plain
LAYER_KEYS = {"activation": str, "add_input": bool}
POOLING = "pooling"  # key of colbert.json: the sizes of a learned pooling; absent without one
POOLING_WEIGHT = "pooling.weight"  # its tensor in projection.safetensors


def read_ours(directory: Path) -> Checkpoint:
    """Read a checkpoint in our layout; all fields of the tokenization come from ``colbert.json``.

    Raises:
        InputError: a file is missing or damaged, or a setting is unknown, missing or of the wrong type.
    """
    file = directory / SETTINGS
    values = read_json(file)
    layers, sizes = values.pop(LAYERS, None), values.pop(POOLING, None)
    known = {field.name: field for field in fields(Tokenization)}
    if unknown := sorted(values.keys() - known.keys()):
        raise InputError(
            f"{file} has the unknown key {unknown[0]!r}; expected the fields of Tokenization: {', '.join(known)}."
        )
    if lacking := [name for name, field in known.items() if field.default is MISSING and name not in values]:
        raise InputError(f"{file} lacks {lacking[0]!r}; expected the fields of Tokenization: {', '.join(known)}.")
    for misfit in misfits(hints_of(Tokenization), values):
        raise InputError(f"{file}: {misfit}")
    tensors = projection_tensors(directory / PROJECTION)
    pooling = read_pooling(directory / PROJECTION, tensors.pop(POOLING_WEIGHT, None), sizes, file)
    return Checkpoint(
        "colbertv2",
        read_json(directory / "config.json"),
        read_tensors(directory),
        read_projection(directory / PROJECTION, tensors, layers, file),
        Tokenization(**values),
        dict.fromkeys(values, SETTINGS),
        read_tokenizer(directory),
        carried(directory),
        pooling,
    )


def projection_tensors(file: Path) -> dict[str, Tensor]:
    """Read all tensors of ``projection.safetensors``; raise InputError if it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is missing or damaged ({error}).") from None


def read_pooling(file: Path, weight: Tensor | None, sizes: Any, settings: Path) -> Tensor | None:
    """Return the weight of a learned pooling after a check of its shape; ``None`` if there is no pooling.

    Args:
        file: the file that ``weight`` comes from, for messages.
        weight: its tensor, if there is one.
        sizes: ``num_vectors`` and ``positions``, as ``settings`` says; ``None`` if it says nothing.
        settings: the file that ``sizes`` come from, for messages.

    Raises:
        InputError: sizes or weight are missing or malformed, or do not fit each other.
    """
    if sizes is None and weight is None:
        return None
    if (
        not isinstance(sizes, dict)
        or sizes.keys() != {"num_vectors", "positions"}
        or not all(type(size) is int and size > 0 for size in sizes.values())
    ):
        raise InputError(
            f"{settings}: {POOLING} is {sizes!r}; expected positive numbers num_vectors and positions, as {file.name} "
            f"has {POOLING_WEIGHT}."
        )
    wanted, found = [sizes["num_vectors"], sizes["positions"]], None if weight is None else list(weight.shape)
    if found != wanted:
        raise InputError(f"{file}: {POOLING_WEIGHT} is {found or 'missing'}; expected {wanted}, as in {settings.name}.")
    return weight


def read_projection(file: Path, tensors: dict[str, Tensor], layers: Any, settings: Path) -> tuple[Dense, ...]:
    """Make the layers of the projection.

    Args:
        file: the file that ``tensors`` come from, for messages.
        tensors: their tensors.
        layers: for each layer its activation and whether it adds its input; ``None`` for one plain layer.
        settings: the file that ``layers`` come from, for messages.

    Raises:
        InputError: a tensor is missing or unknown, or ``layers`` are malformed.
    """
    if layers is None:
        if tensors.keys() != {"linear.weight"}:
            raise InputError(f"{file} contains {sorted(tensors)}; expected only linear.weight.")
        return (Dense(tensors["linear.weight"]),)
    if not isinstance(layers, list) or not all(
        isinstance(layer, dict) and {key: type(value) for key, value in layer.items()} == LAYER_KEYS for layer in layers
    ):
        raise InputError(f"{settings}: {LAYERS} is {layers!r}; expected a list of {{activation, add_input}}.")
    if lacking := [number for number in range(len(layers)) if f"{number}.linear.weight" not in tensors]:
        raise InputError(f"{file} lacks {lacking[0]}.linear.weight; expected {len(layers)} layers as in {settings}.")
    projection = tuple(
        Dense(
            tensors[f"{number}.linear.weight"],
            tensors.get(f"{number}.linear.bias"),
            layer["activation"],
            layer["add_input"],
            tensors.get(f"{number}.residual.weight"),
            tensors.get(f"{number}.gate.weight"),
            tensors.get(f"{number}.gate.bias"),
        )
        for number, layer in enumerate(layers)
    )
    if unknown := sorted(tensors.keys() - dict(named_tensors(projection)).keys()):
        raise InputError(f"{file} contains {unknown[0]}, which belongs to no layer of {settings}.")
    return projection


def write_ours(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a checkpoint in our layout into ``directory``."""
    from safetensors.torch import save_file

    own = checkpoint.settings.get("colbertv2", {})
    literal = typed(own, "literal_tokens", bool, checkpoint.tokenization.literal_tokens, Path(CARRIED))
    write_common(checkpoint, directory, checkpoint.config, without="colbertv2")
    save_file(contiguous(checkpoint.encoder.items()), directory / "model.safetensors", metadata={"format": "pt"})
    tokenization = replace(checkpoint.tokenization, literal_tokens=literal)
    write_settings(directory, tokenization, checkpoint.projection, checkpoint.pooling)


def write_settings(
    directory: Path, tokenization: Tokenization, projection: tuple[Dense, ...], pooling: Tensor | None
) -> None:
    """Write ``colbert.json``, the projection and the learned pooling: all that our layout adds to an encoder."""
    from safetensors.torch import save_file

    values = asdict(tokenization)
    if not is_plain(projection):
        values[LAYERS] = [{"activation": layer.activation, "add_input": layer.add_input} for layer in projection]
    tensors = dict(named_tensors(projection))
    if pooling is not None:
        values[POOLING] = {"num_vectors": pooling.shape[0], "positions": pooling.shape[1]}
        tensors[POOLING_WEIGHT] = pooling
    save_file(contiguous(tensors.items()), directory / PROJECTION)
    write_json(directory / SETTINGS, values)
