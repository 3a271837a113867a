"""A late-interaction checkpoint as its files hold it, and what all layouts of these files share.

Three layouts hold the same things: our own (``own.py``), the official one (``official.py``) and PyLate's
(``pylate.py``). Each is read into a :class:`Checkpoint` and written from one, so a conversion never changes a number.
Reading a checkpoint's tensors, JSON and tokenizer runs no code of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbertv2.checkpoints.pretrained import (
    brief,
    refuse_damaged,
    refuse_longer,
    refuse_misfits,
    understood,
    without_pooler,
)
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.files import read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model",
)  # fmt: skip
CARRIED = "other_layouts.json"


@dataclass(frozen=True)
class Checkpoint:
    """Weights, settings and vocabulary of one model.

    Args:
        layout: where it was read from: ``colbertv2``, ``official`` or ``pylate``.
        config: the encoder's ``config.json``.
        encoder: its tensors by name, without the prefix that some layouts put in front; any type, as stored.
        projection: ``[dim, hidden]``.
        tokenization: how text becomes scored tokens.
        sources: for each field of the tokenization, the file and key that it came from.
        tokenizer: the tokenizer's files by name.
        settings: layout → its further settings, verbatim; conversions keep them in ``other_layouts.json``.
    """

    layout: str
    config: dict[str, Any]
    encoder: dict[str, Tensor]
    projection: Tensor
    tokenization: Tokenization
    sources: dict[str, str]
    tokenizer: dict[str, bytes]
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse tensors that do not form the encoder that ``config`` describes, and lengths beyond its positions.

        Raises:
            InputError: for the first thing that does not fit.
        """
        model = empty_encoder(self.config)
        expected = model.state_dict()
        shared = expected.keys() & self.encoder.keys()
        refuse_misfits(
            "of the encoder",
            model,
            expected.keys() - shared,
            self.encoder.keys() - shared,
            {
                name: (self.encoder[name].shape, expected[name].shape)
                for name in sorted(shared)
                if self.encoder[name].shape != expected[name].shape
            },
        )
        hidden = model.config.hidden_size
        if self.projection.ndim != 2 or self.projection.shape[1] != hidden or not len(self.projection):
            raise InputError(
                f"The projection is {list(self.projection.shape)}; expected [dim, {hidden}], as the encoder's hidden "
                f"size is {hidden}."
            )
        refuse_damaged("in the checkpoint", {**self.encoder, "the projection": self.projection})
        for name in ("query_maxlen", "document_maxlen"):
            length, source = getattr(self.tokenization, name), self.sources.get(name, "default")
            refuse_longer(f"{name} ({source})", length, model.config)

    @property
    def dim(self) -> int:
        """Dimensions of a token vector."""
        return self.projection.shape[0]

    def transformer(self) -> PreTrainedModel:
        """The encoder with its weights, in fp32."""
        model = empty_encoder(self.config, device="cpu").float()
        model.load_state_dict({name: tensor.float() for name, tensor in self.encoder.items()}, strict=False)
        return model.eval()

    def describe(self) -> str:
        """The settings in force and where each came from, one per line."""
        metadata = self.settings["official"].get("meta") if self.layout == "official" else None
        version = f" {metadata.get('version')}" if isinstance(metadata, dict) else ""
        lines = [f"{self.layout} checkpoint{version}, {self.config['model_type']}, {self.dim} dimensions"]
        for field in fields(self.tokenization):
            source = self.sources.get(field.name, "default")
            lines.append(f"  {field.name}: {getattr(self.tokenization, field.name)!r} ({source})")
        return "\n".join(lines)


def encoder_config(config: Mapping[str, Any]) -> PretrainedConfig:
    """The configuration object of a ``config.json``, of an architecture that transformers has.

    Raises:
        InputError: the configuration asks for code of its own, or names an architecture that transformers lacks or
            that is no encoder.
    """
    from transformers import AutoConfig

    if "auto_map" in config:
        raise InputError("config.json names code of its own (auto_map); only architectures of transformers are run.")
    kind = config.get("model_type")
    make = partial(AutoConfig.for_model, **{**config, "model_type": kind})
    return understood(f"config.json (model_type {kind!r})", make)


def empty_encoder(config: Mapping[str, Any], device: str = "meta") -> PreTrainedModel:
    """The encoder that a ``config.json`` describes, without a pooler; on the device ``meta`` it takes no memory.

    Raises:
        InputError: the configuration describes no encoder that can be built.
    """
    import torch
    from transformers import AutoModel

    parsed = encoder_config(config)
    try:
        # Its random weights are not kept: they should not move the caller's generator.
        with torch.device(device), torch.random.fork_rng(devices=[]):
            return AutoModel.from_config(parsed, **without_pooler(parsed))
    except Exception as error:  # sizes that do not fit each other, in dozens of architectures
        raise InputError(f"config.json describes no encoder that can be built ({brief(error)}).") from None


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """All tensors of ``*.safetensors`` (sharded or not), else those of ``pytorch_model.bin``, by name.

    The old names ``LayerNorm.gamma`` and ``LayerNorm.beta``, which transformers 5.3 writes again, become ``weight`` and
    ``bias``.

    Raises:
        InputError: there are no tensors, or a file is damaged or holds more than tensors.
    """
    return {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): tensor
        for name, tensor in stored_tensors(directory).items()
    }


def stored_tensors(directory: Path) -> dict[str, Tensor]:
    """As :func:`read_tensors`, but under the names in the files."""
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
            f"{file} is damaged, or holds more than tensors; nothing in it was run ({brief(error)})."
        ) from None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise InputError(f"{file} holds no dictionary of tensors.")
    return tensors


def safetensors_files(directory: Path) -> list[Path]:
    """``model.safetensors``, or else the shards that its index names; an empty list if there is neither."""
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
    """Name → content of the tokenizer's files in ``directory``.

    Raises:
        InputError: there are none, or they name code of their own.
    """
    files = {name: (directory / name).read_bytes() for name in TOKENIZER_FILES if (directory / name).is_file()}
    if not files:
        raise InputError(f"{directory} has no tokenizer; expected tokenizer.json or vocab.txt.")
    if "tokenizer_config.json" in files and "auto_map" in read_json(directory / "tokenizer_config.json"):
        raise InputError(f"{directory / 'tokenizer_config.json'} names code of its own (auto_map), which is not run.")
    return files


def carried(directory: Path) -> dict[str, Any]:
    """Layout → settings, as an earlier conversion kept them in ``other_layouts.json``; empty without that file."""
    settings = read_json(directory / CARRIED) if (directory / CARRIED).is_file() else {}
    for layout, value in settings.items():
        if not isinstance(value, dict):
            raise InputError(f"{directory / CARRIED}: {layout} is {value!r}; expected a JSON object.")
    return settings


def write_common(checkpoint: Checkpoint, directory: Path, config: dict[str, Any], without: str) -> None:
    """Write configuration, tokenizer, and the settings of all layouts but ``without``.

    The official layout and PyLate's cannot express ``literal_tokens``, so its value is kept among those settings.
    """
    write_json(directory / "config.json", config)
    for name, content in checkpoint.tokenizer.items():
        (directory / name).write_bytes(content)
    own = {"colbertv2": {"literal_tokens": checkpoint.tokenization.literal_tokens}}
    if others := {layout: value for layout, value in {**own, **checkpoint.settings}.items() if layout != without}:
        write_json(directory / CARRIED, others)


def typed(values: Mapping[str, Any], key: str, kind: type, default: Any, file: Path) -> Any:
    """``values[key]`` if its type is ``kind``, ``default`` if it is missing or null.

    Raises:
        InputError: it has another type.
    """
    value = values.get(key)
    if value is None:
        return default
    if type(value) is not kind:
        raise InputError(f"{file}: {key} is {value!r}; expected {kind.__name__}.")
    return value


def contiguous(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Name → copy of the tensor on the CPU, with memory of its own, as safetensors requires."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors}
