"""A late-interaction checkpoint as files have it, and our own layout of it.

Three layouts hold the same things: ours, the official one (``official_checkpoint``) and PyLate's
(``pylate_checkpoint``). Each is read into and written from a :class:`Checkpoint`, so converting never touches a number.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from colbertv2.errors import InputError
from colbertv2.modeling.tokenizer import Conventions

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model",
)  # fmt: skip
UNUSED = ("pooler.", "embeddings.position_ids", "embeddings.token_type_ids")  # may be missing, may be there
CARRIED = "other_layouts.json"


@dataclass(frozen=True)
class Checkpoint:
    """Weights, settings and vocabulary of one model.

    Args:
        layout: where it was read from: ``colbertv2``, ``official`` or ``pylate``.
        config: the encoder's ``config.json``.
        encoder: its tensors by name, without the prefix that some layouts put in front; any type, as stored.
        projection: ``[dim, hidden]``.
        conventions: how text becomes scored tokens.
        sources: for each field of the conventions, the file and key that it came from.
        tokenizer: the tokenizer's files by name.
        settings: what a foreign layout says besides, verbatim, by layout; travels along in ``other_layouts.json``.
    """

    layout: str
    config: dict[str, Any]
    encoder: dict[str, Tensor]
    projection: Tensor
    conventions: Conventions
    sources: dict[str, str]
    tokenizer: dict[str, bytes]
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse tensors that do not make the encoder which ``config`` describes."""
        expected = empty_encoder(self.config).state_dict()
        needed = {name: tensor for name, tensor in expected.items() if not name.startswith(UNUSED)}
        if missing := sorted(needed.keys() - self.encoder.keys()):
            raise InputError(
                f"The weights lack {len(missing)} tensors of a {self.config['model_type']} encoder (such as "
                f"{missing[0]}); expected a ColBERT checkpoint of the architecture that its config.json names."
            )
        for name, tensor in needed.items():
            if self.encoder[name].shape != tensor.shape:
                raise InputError(
                    f"{name} is {list(self.encoder[name].shape)}, expected {list(tensor.shape)} by config.json."
                )
        if strange := sorted(name for name in self.encoder.keys() - expected.keys() if not name.startswith(UNUSED)):
            raise InputError(f"The weights hold {strange[0]}, which no {self.config['model_type']} encoder has.")
        hidden = encoder_config(self.config).hidden_size
        if self.projection.ndim != 2 or self.projection.shape[1] != hidden:
            raise InputError(
                f"The projection is {list(self.projection.shape)}; expected [dim, {hidden}], as the encoder's hidden "
                f"size is {hidden}."
            )

    @property
    def dim(self) -> int:
        return self.projection.shape[0]

    def transformer(self) -> PreTrainedModel:
        """The encoder with its weights, in fp32."""
        model = empty_encoder(self.config, device="cpu").float()
        model.load_state_dict({name: tensor.float() for name, tensor in self.encoder.items()}, strict=False)
        return model.eval()

    def describe(self) -> str:
        """The settings in force and where each came from, a line each."""
        lines = [f"{self.layout} checkpoint, {self.config['model_type']}, {self.dim} dimensions"]
        for field in fields(self.conventions):
            source = self.sources.get(field.name, "default")
            lines.append(f"  {field.name}: {getattr(self.conventions, field.name)!r} ({source})")
        return "\n".join(lines)


def encoder_config(config: Mapping[str, Any]) -> PretrainedConfig:
    """The configuration object of a ``config.json``; its code comes from transformers only.

    Raises:
        InputError: the configuration asks for code of its own, or names an architecture that transformers lacks.
    """
    if "auto_map" in config:
        raise InputError("config.json names code of its own (auto_map); only architectures of transformers are run.")
    kind = config.get("model_type")
    try:
        return AutoConfig.for_model(**{**config, "model_type": kind})
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"config.json has model_type {kind!r}; expected one of transformers ({error}).") from None


def empty_encoder(config: Mapping[str, Any], device: str = "meta") -> PreTrainedModel:
    """The encoder that a ``config.json`` describes, without a pooler; on ``meta`` it has shapes, but no memory."""
    parsed = encoder_config(config)
    options = {"add_pooling_layer": False} if parsed.model_type in ("bert", "roberta", "xlm-roberta") else {}
    try:
        with torch.device(device):
            return AutoModel.from_config(parsed, **options)
    except (ValueError, TypeError) as error:
        raise InputError(f"config.json describes no encoder that can be built ({str(error)[:200]}).") from None


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``.

    Raises:
        InputError: it is missing or holds something else.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file} is missing; the checkpoint is not whole.") from None
    except ValueError as error:
        raise InputError(f"{file} is damaged; expected a JSON object ({error}).") from None
    if not isinstance(value, dict):
        raise InputError(f"{file} holds {type(value).__name__}; expected a JSON object.")
    return value


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
    tensors: dict[str, Tensor] = {}
    files = sorted(directory.glob("model*.safetensors"))
    for file in files:
        try:
            tensors.update(load_file(file))
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{file} is damaged or cut short ({error}); copy it again.") from None
    if files:
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
    return read_json(directory / CARRIED) if (directory / CARRIED).is_file() else {}


def write_common(checkpoint: Checkpoint, directory: Path, config: dict[str, Any], without: str) -> None:
    """Configuration, tokenizer, and the settings of layouts other than ``without``."""
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for name, content in checkpoint.tokenizer.items():
        (directory / name).write_bytes(content)
    if others := {layout: value for layout, value in checkpoint.settings.items() if layout != without}:
        (directory / CARRIED).write_text(json.dumps(others, indent=2) + "\n", encoding="utf-8")


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


def read_ours(directory: Path) -> Checkpoint:
    """Our layout: the encoder as transformers saves it, ``projection.safetensors``, ``colbert.json``."""
    file = directory / "colbert.json"
    values = read_json(file)
    if values.keys() - {field.name for field in fields(Conventions)}:
        raise InputError(f"{file} holds {sorted(values)}; expected the fields of Conventions.")
    try:
        conventions = Conventions(**values)
    except TypeError as error:
        raise InputError(f"{file} lacks a field of Conventions ({error}).") from None
    conventions = replace(conventions, skiplist=tuple(conventions.skiplist))
    try:
        projection = load_file(directory / "projection.safetensors")["linear.weight"]
    except (SafetensorError, OSError, KeyError) as error:
        raise InputError(f"{directory / 'projection.safetensors'} is missing or damaged ({error}).") from None
    return Checkpoint(
        "colbertv2",
        read_json(directory / "config.json"),
        read_tensors(directory),
        projection,
        conventions,
        dict.fromkeys(values, "colbert.json"),
        read_tokenizer(directory),
        carried(directory),
    )


def write_ours(checkpoint: Checkpoint, directory: Path) -> None:
    """Write our layout into ``directory``."""
    write_common(checkpoint, directory, checkpoint.config, without="colbertv2")
    save_file(contiguous(checkpoint.encoder.items()), directory / "model.safetensors", metadata={"format": "pt"})
    save_file(contiguous([("linear.weight", checkpoint.projection)]), directory / "projection.safetensors")
    (directory / "colbert.json").write_text(json.dumps(asdict(checkpoint.conventions), indent=2), encoding="utf-8")
