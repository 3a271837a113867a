"""A late-interaction checkpoint in memory, and the code that all layouts on disk share.

Four layouts have the same content: our own (``own.py``), the official one (``official.py``), PyLate's (``pylate.py``)
and that of sentence-transformers 6 (``sentence_transformers.py``). Each is read into a :class:`Checkpoint` and written
from one, so a conversion never changes a number.
Reading a checkpoint's tensors, JSON files and tokenizer never runs code from the checkpoint.
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
from colbertv2.checkpoints.projection import Dense, check_chain, is_plain, named_tensors
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
    """Weights, settings and vocabulary of one late-interaction model.

    Args:
        layout: the layout it was read from: ``colbertv2``, ``official``, ``pylate`` or ``sentence_transformers``.
        config: the content of the encoder's ``config.json``.
        encoder: the encoder's tensors by name, without the prefix that some layouts add, in the stored dtype.
        projection: the layers after the encoder; only one plain layer in ColBERT.
        tokenization: how text becomes scored tokens.
        sources: for each field of the tokenization, the file and key that it came from; ``describe`` shows them.
        tokenizer: the content of the tokenizer's files, by file name.
        settings: layout → its other settings, verbatim; conversions keep them in ``other_layouts.json``.
        pooling: the weight ``[C, L]`` of a learned pooling, which makes C vectors of a document of at most L tokens;
            ``None`` for one vector per token. Only our own layout has it.

    Raises:
        InputError: the tensors do not form the encoder that ``config`` describes, the projection does not fit it, a
            value is NaN or infinite, or a maximum length exceeds the encoder's positions.
    """

    layout: str
    config: dict[str, Any]
    encoder: dict[str, Tensor]
    projection: tuple[Dense, ...]
    tokenization: Tokenization
    sources: dict[str, str]
    tokenizer: dict[str, bytes]
    settings: dict[str, Any]
    pooling: Tensor | None = None

    def __post_init__(self) -> None:
        """Check that tensors, configuration and lengths fit each other.

        Raises:
            InputError: with the first problem that is found.
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
        check_chain(self.projection, model.config.hidden_size)
        if self.pooling is not None and self.pooling.shape[1] < self.tokenization.document_maxlen:
            raise InputError(
                f"document_maxlen is {self.tokenization.document_maxlen}, but the learned pooling has weights for "
                f"{self.pooling.shape[1]} positions; expected at least document_maxlen."
            )
        refuse_damaged("in the checkpoint", self.tensors())
        for name, length in self.tokenization.longest.items():
            source = self.sources.get(name.partition(" ")[0], "default")
            refuse_longer(f"{name} ({source})", length, model.config)

    @property
    def dim(self) -> int:
        """Number of dimensions of a token vector."""
        return self.projection[-1].outputs

    @property
    def vectors_per_document(self) -> int | None:
        """The fixed number of vectors per document; ``None`` without a learned pooling."""
        return None if self.pooling is None else self.pooling.shape[0]

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name; those of the projection begin with ``projection.``."""
        projection = {f"projection.{name}": tensor for name, tensor in named_tensors(self.projection)}
        return self.encoder | projection | ({} if self.pooling is None else {"pooling.weight": self.pooling})

    def transformer(self) -> PreTrainedModel:
        """Return a new encoder with these weights, in fp32 on the CPU, in evaluation mode."""
        model = empty_encoder(self.config, device="cpu").float()
        model.load_state_dict({name: tensor.float() for name, tensor in self.encoder.items()}, strict=False)
        return model.eval()

    def describe(self) -> str:
        """Return a text with the settings in use and where each came from, one per line."""
        metadata = self.settings["official"].get("meta") if self.layout == "official" else None
        version = f" {metadata.get('version')}" if isinstance(metadata, dict) else ""
        lines = [f"{self.layout} checkpoint{version}, {self.config['model_type']}, {self.dim} dimensions"]
        if not is_plain(self.projection):
            lines.append(f"  projection: {' → '.join(map(str, self.projection))}")
        if self.pooling is not None:
            lines.append(f"  learned pooling: {self.pooling.shape[1]} positions to {self.pooling.shape[0]} vectors")
        for field in fields(self.tokenization):
            source = self.sources.get(field.name, "default")
            lines.append(f"  {field.name}: {getattr(self.tokenization, field.name)!r} ({source})")
        return "\n".join(lines)


def encoder_config(config: Mapping[str, Any]) -> PretrainedConfig:
    """Turn the content of a ``config.json`` into a configuration object of transformers.

    Raises:
        InputError: the configuration requires its own code, or names an architecture that transformers lacks or that is
            not an encoder.
    """
    from transformers import AutoConfig

    if "auto_map" in config:
        raise InputError("config.json requires its own code (auto_map); use an architecture of transformers instead.")
    kind = config.get("model_type")
    make = partial(AutoConfig.for_model, **{**config, "model_type": kind})
    return understood(f"config.json (model_type {kind!r})", make)


def empty_encoder(config: Mapping[str, Any], device: str = "meta") -> PreTrainedModel:
    """Build the encoder that a ``config.json`` describes, with random weights and without a pooler.

    On the device ``meta`` it takes no memory.

    Raises:
        InputError: no encoder can be built from the configuration.
    """
    import torch
    from transformers import AutoModel

    parsed = encoder_config(config)
    try:
        # The random weights are thrown away, so drawing them must not change the caller's generator.
        with torch.device(device), torch.random.fork_rng(devices=[]):
            return AutoModel.from_config(parsed, **without_pooler(parsed))
    except Exception as error:  # each architecture reports contradictory sizes in its own way
        raise InputError(f"No encoder can be built from config.json ({brief(error)}).") from None


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """Read all tensors of ``*.safetensors`` (sharded or not), else those of ``pytorch_model.bin``, by name.

    The old names ``LayerNorm.gamma`` and ``LayerNorm.beta``, which transformers 5.3 writes again, become
    ``LayerNorm.weight`` and ``LayerNorm.bias``.

    Raises:
        InputError: there are no tensors, or a file is damaged or contains more than tensors.
    """
    return {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): tensor
        for name, tensor in stored_tensors(directory).items()
    }


def stored_tensors(directory: Path) -> dict[str, Tensor]:
    """Read tensors like :func:`read_tensors`, but keep the names in the files."""
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
    except Exception as error:  # unpickling an arbitrary file can raise any error
        raise InputError(
            f"{file} is damaged, or contains more than tensors; nothing in it was run ({brief(error)})."
        ) from None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise InputError(f"{file} does not contain a dictionary of tensors; use the weights of a model.")
    return tensors


def safetensors_files(directory: Path) -> list[Path]:
    """Return the path of ``model.safetensors``, else those of the shards in its index; ``[]`` if there is neither."""
    if (directory / "model.safetensors").is_file():
        return [directory / "model.safetensors"]
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        return []
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(
        isinstance(one, str) and Path(one).name == one for one in shards.values()
    ):
        raise InputError(f"{index} is damaged; expected a weight_map from tensor names to files in the same directory.")
    return [directory / shard for shard in sorted(set(shards.values()))]


def read_tokenizer(directory: Path) -> dict[str, bytes]:
    """Read the tokenizer's files in ``directory``: file name → content.

    Raises:
        InputError: there are none, or they require their own code.
    """
    files = {name: (directory / name).read_bytes() for name in TOKENIZER_FILES if (directory / name).is_file()}
    if not files:
        raise InputError(f"{directory} has no tokenizer; expected tokenizer.json or vocab.txt.")
    if "tokenizer_config.json" in files and "auto_map" in read_json(directory / "tokenizer_config.json"):
        raise InputError(f"{directory / 'tokenizer_config.json'} requires its own code (auto_map), which is never run.")
    return files


def carried(directory: Path) -> dict[str, Any]:
    """Read layout → settings that an earlier conversion kept in ``other_layouts.json``; empty without that file."""
    settings = read_json(directory / CARRIED) if (directory / CARRIED).is_file() else {}
    for layout, value in settings.items():
        if not isinstance(value, dict):
            raise InputError(f"{directory / CARRIED}: {layout} is {value!r}; expected a JSON object.")
    return settings


def refuse_dynamic(tokenization: Tokenization, system: str) -> None:
    """Raise InputError if queries are padded to different lengths, which another system's layout can't express."""
    if tokenization.is_dynamic:
        raise InputError(
            f"{system} pads every query to the same length, but this checkpoint has query_length_multiple="
            f"{tokenization.query_length_multiple} and minimum_mask_tokens={tokenization.minimum_mask_tokens}. Keep "
            "the layout colbertv2, or set these to null and 0 in colbert.json of a copy and convert that."
        )


def refuse_pooling(checkpoint: Checkpoint, system: str) -> None:
    """Raise InputError if there is a learned pooling, which another system's layout can't express."""
    if checkpoint.pooling is not None:
        raise InputError(
            f"{system} has one vector per token, but this checkpoint has a learned pooling to "
            f"{checkpoint.vectors_per_document} vectors per document. Keep the layout colbertv2."
        )


def write_common(checkpoint: Checkpoint, directory: Path, config: dict[str, Any], without: str) -> None:
    """Write the configuration, the tokenizer, and the settings of all layouts except ``without`` to ``directory``.

    Only our own layout can express ``literal_tokens``, so its value is kept with those settings.
    """
    write_json(directory / "config.json", config)
    for name, content in checkpoint.tokenizer.items():
        (directory / name).write_bytes(content)
    own = {"colbertv2": {"literal_tokens": checkpoint.tokenization.literal_tokens}}
    if others := {layout: value for layout, value in {**own, **checkpoint.settings}.items() if layout != without}:
        write_json(directory / CARRIED, others)


def typed(values: Mapping[str, Any], key: str, kind: type, default: Any, file: Path) -> Any:
    """Return ``values[key]``, or ``default`` if it is missing or null; ``file`` is for the message.

    Raises:
        InputError: the type of the value is not exactly ``kind``.
    """
    value = values.get(key)
    if value is None:
        return default
    if type(value) is not kind:
        raise InputError(f"{file}: {key} is {value!r}; expected {kind.__name__}.")
    return value


def contiguous(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Copy tensors to contiguous memory on the CPU that none of them share, as safetensors requires."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors}
