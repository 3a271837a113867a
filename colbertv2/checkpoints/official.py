"""The layout of the official code: one ``HF_ColBERT`` model and ``artifact.metadata`` (colbert-ai 0.2)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbertv2.checkpoints.checkpoint import (
    Checkpoint,
    carried,
    contiguous,
    empty_encoder,
    read_tensors,
    read_tokenizer,
    refuse_pooling,
    typed,
    write_common,
)
from colbertv2.checkpoints.projection import Dense, is_plain
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.files import read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

METADATA = "artifact.metadata"
# Field of Tokenization → key, type and the official default of artifact.metadata.
KEYS: dict[str, tuple[str, type, Any]] = {
    "query_maxlen": ("query_maxlen", int, 32),
    "document_maxlen": ("doc_maxlen", int, 220),
    "query_marker": ("query_token_id", str, "[unused0]"),
    "document_marker": ("doc_token_id", str, "[unused1]"),
    "attend_to_mask_tokens": ("attend_to_mask_tokens", bool, False),
    "skip_punctuation": ("mask_punctuation", bool, True),
}
ONLY = {"similarity": "cosine", "interaction": "colbert"}  # the only official variants implemented here


def prefix_of(config: dict[str, Any]) -> str:
    """The prefix of the encoder's tensor names in the official weights, such as ``bert.`` for BERT."""
    return empty_encoder(config).base_model_prefix + "."


def read_official(directory: Path) -> Checkpoint:
    """Read a checkpoint in the official layout; lengths, markers and mask options come from ``artifact.metadata``.

    Raises:
        InputError: a file is missing or damaged, a setting has the wrong type or is not implemented here, or the
            weights are not those of a ColBERT model.
    """
    file = directory / METADATA
    metadata = read_json(file)
    settings = metadata.get("config", metadata)
    if not isinstance(settings, dict):
        raise InputError(f"{file}: config is {settings!r}; expected a JSON object.")
    for key, value in ONLY.items():
        if (found := typed(settings, key, str, value, file)) != value:
            raise InputError(f"{file}: {key} is {found!r}; only {value!r} is implemented.")
    values = {name: typed(settings, key, kind, default, file) for name, (key, kind, default) in KEYS.items()}
    given = {name for name, (key, _, _) in KEYS.items() if settings.get(key) is not None}
    config = read_json(directory / "config.json")
    prefix = prefix_of(config)
    tensors = read_tensors(directory)
    if "linear.weight" not in tensors:
        raise InputError(
            f"{directory} has no linear.weight among its weights (architectures: {config.get('architectures')}); "
            "expected an HF_ColBERT checkpoint."
        )
    # The official class ignores the weights of pretraining heads (cls.*), too.
    inside = {name for name in tensors if name.startswith(prefix)}
    if others := sorted(name for name in tensors.keys() - inside - {"linear.weight"} if not name.startswith("cls.")):
        raise InputError(f"{directory} contains {others[0]}; expected only linear.weight and {prefix}*.")
    dim = typed(settings, "dim", int, 128, file)
    if tensors["linear.weight"].shape[0] != dim:
        raise InputError(f"{file}: dim is {dim}, but linear.weight has {tensors['linear.weight'].shape[0]} rows.")
    return Checkpoint(
        "official",
        {**config, "architectures": [type(empty_encoder(config)).__name__]},
        {name.removeprefix(prefix): tensors[name] for name in inside},
        (Dense(tensors["linear.weight"]),),
        Tokenization(**values, query_augmentation=True),
        {
            **{
                name: f"{METADATA}: {key}" if name in given else "official default"
                for name, (key, _, _) in KEYS.items()
            },
            "query_augmentation": "always true in the official code",
            "literal_tokens": "always false in the official code",
        },
        read_tokenizer(directory),
        {**carried(directory), "official": metadata},
    )


def write_official(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a checkpoint in the official layout; other settings than the tokenization are kept from an earlier one.

    Raises:
        InputError: the layout can't express the checkpoint, as it always has markers, query augmentation and a plain
            projection, and never prompts.
    """
    from safetensors.torch import save_file

    refuse_pooling(checkpoint, "colbert-ai")
    tokenization = checkpoint.tokenization
    missing = [
        what
        for wrong, what in (
            (tokenization.query_marker is None or tokenization.document_marker is None, "texts without a marker"),
            (not tokenization.query_augmentation, "queries without augmentation"),
            (tokenization.is_dynamic, "queries that are padded to different lengths"),
            (bool(tokenization.skiplist), "a skiplist of other tokens than punctuation"),
            (bool(tokenization.query_prompt or tokenization.document_prompt), "prompts"),
            (not is_plain(checkpoint.projection), "a projection with several layers, a bias, a gate or an activation"),
        )
        if wrong
    ]
    if missing:
        raise InputError(
            f"The official layout can't express what this checkpoint ({checkpoint.layout}) has: {'; '.join(missing)}. "
            "colbert-ai would encode differently. Convert to colbertv2, pylate or sentence_transformers instead."
        )
    metadata = copy.deepcopy(checkpoint.settings.get("official")) or {
        "dim": checkpoint.dim,
        **ONLY,
        **{key: default for key, _, default in KEYS.values()},
        "meta": {"version": "colbert-v0.4"},
    }
    settings = metadata.get("config", metadata)
    for name, (key, _, default) in KEYS.items():
        said = default if settings.get(key) is None else settings[key]
        if said != getattr(tokenization, name):
            settings[key] = getattr(tokenization, name)
    tensors: dict[str, Tensor] = {"linear.weight": checkpoint.projection[0].weight}
    tensors |= {prefix_of(checkpoint.config) + name: tensor for name, tensor in checkpoint.encoder.items()}
    write_common(checkpoint, directory, {**checkpoint.config, "architectures": ["HF_ColBERT"]}, without="official")
    save_file(contiguous(tensors.items()), directory / "model.safetensors", metadata={"format": "pt"})
    write_json(directory / METADATA, metadata, indent=4)
    give_back_padding(directory)


def give_back_padding(directory: Path) -> None:
    """Make ``[PAD]`` the padding token again if it is ``[MASK]``, as in PyLate's tokenizers.

    The official code sets the query vectors of the padding token to zero; with ``[MASK]``, these would be the vectors
    of query augmentation.

    Raises:
        InputError: the vocabulary has neither ``[PAD]`` nor ``<pad>``.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.mask_token_id:
        return
    padding = [token for token in ("[PAD]", "<pad>") if token in tokenizer.get_vocab()]
    if not padding:
        raise InputError(
            "The tokenizer pads with its mask token and has neither [PAD] nor <pad>; colbert-ai needs one."
        )
    tokenizer.pad_token = padding[0]
    tokenizer.save_pretrained(directory)
