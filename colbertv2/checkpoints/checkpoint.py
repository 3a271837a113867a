"""A late-interaction checkpoint as files have it.

Three layouts hold the same things: ours (``own_checkpoint``), the official one (``official_checkpoint``) and PyLate's
(``pylate_checkpoint``). Each is read into and written from a :class:`Checkpoint`, so converting never touches a number.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

UNUSED = ("pooler.", "embeddings.position_ids", "embeddings.token_type_ids")  # may be missing, may be there


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
        settings: what a foreign layout says besides, verbatim, by layout; travels along in ``other_layouts.json``.
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
        positions = getattr(encoder_config(self.config), "max_position_embeddings", None) or sys.maxsize
        for name in ("query_maxlen", "document_maxlen"):
            if (length := getattr(self.tokenization, name)) > positions:
                raise InputError(
                    f"{name} is {length} ({self.sources.get(name)}); expected at most {positions}, the encoder's "
                    "max_position_embeddings."
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
        metadata = self.settings["official"].get("meta") if self.layout == "official" else None
        version = f" {metadata.get('version')}" if isinstance(metadata, dict) else ""
        lines = [f"{self.layout} checkpoint{version}, {self.config['model_type']}, {self.dim} dimensions"]
        for field in fields(self.tokenization):
            source = self.sources.get(field.name, "default")
            lines.append(f"  {field.name}: {getattr(self.tokenization, field.name)!r} ({source})")
        return "\n".join(lines)


def encoder_config(config: Mapping[str, Any]) -> PretrainedConfig:
    """The configuration object of a ``config.json``; its code comes from transformers only.

    Raises:
        InputError: the configuration asks for code of its own, or names an architecture that transformers lacks.
    """
    from transformers import AutoConfig

    if "auto_map" in config:
        raise InputError("config.json names code of its own (auto_map); only architectures of transformers are run.")
    kind = config.get("model_type")
    try:
        return AutoConfig.for_model(**{**config, "model_type": kind})
    except Exception as error:  # each architecture checks its values in its own way
        raise InputError(
            f"config.json (model_type {kind!r}) is none that transformers understands ({str(error)[:200]})."
        ) from None


def empty_encoder(config: Mapping[str, Any], device: str = "meta") -> PreTrainedModel:
    """The encoder that a ``config.json`` describes, without a pooler; on ``meta`` it has shapes, but no memory."""
    import torch
    from transformers import AutoModel

    parsed = encoder_config(config)
    options = {"add_pooling_layer": False} if parsed.model_type in ("bert", "roberta", "xlm-roberta") else {}
    if getattr(parsed, "is_encoder_decoder", False):
        raise InputError(
            f"config.json describes a {parsed.model_type}, an encoder with a decoder; expected an encoder."
        )
    try:
        # Its random weights are not kept: they should not move the caller's generator.
        with torch.device(device), torch.random.fork_rng(devices=[]):
            return AutoModel.from_config(parsed, **options)
    except Exception as error:  # sizes that do not fit each other, in dozens of architectures
        raise InputError(f"config.json describes no encoder that can be built ({str(error)[:200]}).") from None
