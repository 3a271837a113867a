"""The files that all layouts of a checkpoint share: tensors, JSON, the tokenizer's. Reading them runs no code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbertv2.checkpoints.checkpoint import Checkpoint
from colbertv2.errors import InputError
from colbertv2.files import read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model",
)  # fmt: skip
CARRIED = "other_layouts.json"


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """All tensors of ``*.safetensors`` (shards too), else of ``pytorch_model.bin``, of which only tensors are read.

    Names of TensorFlow's time (``LayerNorm.gamma``, ``beta``), which transformers 5.3 writes again, become today's.

    Raises:
        InputError: there are none, or a file is damaged or holds more than tensors.
    """
    return {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): tensor
        for name, tensor in stored_tensors(directory).items()
    }


def stored_tensors(directory: Path) -> dict[str, Tensor]:
    """As :func:`read_tensors`, under the names in the files."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torch import Tensor

    tensors: dict[str, Tensor] = {}
    for file in safetensors_files(directory):
        try:
            tensors.update(load_file(file))
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{file} is missing, damaged or cut short ({error}); copy it again.") from None
    if tensors:
        return tensors
    file = directory / "pytorch_model.bin"
    if not file.is_file():
        raise InputError(f"{directory} has neither *.safetensors nor pytorch_model.bin; expected a model's weights.")
    try:
        tensors = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # unpickling what is no checkpoint can raise anything
        raise InputError(
            f"{file} is damaged, or holds more than tensors; nothing in it was run ({str(error)[:200]})."
        ) from None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise InputError(f"{file} holds no dictionary of tensors.")
    return tensors


def safetensors_files(directory: Path) -> list[Path]:
    """``model.safetensors``, or the shards that its index names; none if there is neither."""
    if (directory / "model.safetensors").is_file():
        return [directory / "model.safetensors"]
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        return []
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(
        isinstance(one, str) and Path(one).name == one for one in shards.values()
    ):
        raise InputError(f"{index} is damaged; expected a weight_map from tensors to files beside it.")
    return [directory / shard for shard in sorted(set(shards.values()))]


def read_tokenizer(directory: Path) -> dict[str, bytes]:
    """The tokenizer's files in ``directory`` by name."""
    files = {name: (directory / name).read_bytes() for name in TOKENIZER_FILES if (directory / name).is_file()}
    if not files:
        raise InputError(f"{directory} has no tokenizer; expected tokenizer.json or vocab.txt.")
    if "tokenizer_config.json" in files and "auto_map" in read_json(directory / "tokenizer_config.json"):
        raise InputError(f"{directory / 'tokenizer_config.json'} names code of its own (auto_map), which is not run.")
    return files


def carried(directory: Path) -> dict[str, Any]:
    """Settings of other layouts that travelled along."""
    settings = read_json(directory / CARRIED) if (directory / CARRIED).is_file() else {}
    for layout, value in settings.items():
        if not isinstance(value, dict):
            raise InputError(f"{directory / CARRIED}: {layout} is {value!r}; expected a JSON object.")
    return settings


def write_common(checkpoint: Checkpoint, directory: Path, config: dict[str, Any], without: str) -> None:
    """Configuration, tokenizer, and the settings of layouts other than ``without``.

    ``literal_tokens`` is fixed in the official layout and in PyLate's: what ours had said is among those settings.
    """
    write_json(directory / "config.json", config)
    for name, content in checkpoint.tokenizer.items():
        (directory / name).write_bytes(content)
    own = {"colbertv2": {"literal_tokens": checkpoint.tokenization.literal_tokens}}
    if others := {layout: value for layout, value in {**own, **checkpoint.settings}.items() if layout != without}:
        write_json(directory / CARRIED, others)


def typed(values: Mapping[str, Any], key: str, kind: type, default: Any, file: Path) -> Any:
    """``values[key]`` if it is of that type, ``default`` if it is missing or null.

    Raises:
        InputError: it is of another type.
    """
    value = values.get(key)
    if value is None:
        return default
    if type(value) is not kind:
        raise InputError(f"{file}: {key} is {value!r}; expected {kind.__name__}.")
    return value


def contiguous(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """As safetensors wants them: each with memory of its own."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors}
