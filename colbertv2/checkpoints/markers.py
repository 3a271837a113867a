"""Markers as text: sentence-transformers puts them into the prompt, where the tokenizer must find them as one token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbertv2.checkpoints.checkpoint import CARRIED, carried
from colbertv2.checkpoints.pretrained import load_tokenizer
from colbertv2.files import read_json, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ORIGINAL = "tokenizer"  # key of other_layouts.json: the added tokens before markers were registered
ADDED_TOKENS = {"tokenizer.json": "added_tokens", "tokenizer_config.json": "added_tokens_decoder"}
SPECIAL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
# Texts on which both ways to put a marker first must give the same tokens.
PROBES = ("", "how are strings joined?", " a space first", "(a) symbol", "2 words", "Übung", "\n\tnew line")


def split(prompt: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str | None, str]:
    """Return the marker that a prompt begins with, if the tokens are the same when it is inserted, and the rest.

    A rest of spaces is left out if it changes no token, as after ``[unused0]`` with BERT's tokenizer.
    """
    known: Any = tokenizer  # for the type checker, which does not see all methods
    added = sorted((token for token in known.get_added_vocab() if prompt.startswith(token)), key=len)
    if added:
        rest = prompt.removeprefix(added[-1])
        for remaining in dict.fromkeys([rest if rest.strip() else "", rest]):
            if are_same(tokenizer, prompt, added[-1], remaining):
                return added[-1], remaining
    return None, prompt


def are_same(tokenizer: PreTrainedTokenizerBase, written: str, marker: str, prompt: str) -> bool:
    """Whether ``written`` before each probe gives the same tokens as ``prompt``, with the marker's id inserted."""
    number = tokenizer.convert_tokens_to_ids(marker)
    for text in PROBES:
        row: Any = tokenizer(prompt + text)["input_ids"]
        if tokenizer(written + text)["input_ids"] != [row[0], number, *row[1:]]:
            return False
    return True


def register(markers: Sequence[str], directory: Path) -> None:
    """Make markers special tokens of the tokenizer in ``directory``, so that each is one token in any text.

    The added tokens as they were are kept in ``other_layouts.json`` for the way back: those of ``tokenizer.json``, and
    those of ``tokenizer_config.json``, which older versions of transformers wrote and newer ones still read.
    """
    tokenizer = load_tokenizer(directory)
    if all(tokenizer.tokenize(marker) == [marker] for marker in markers):
        return
    if not (directory / "tokenizer.json").is_file():
        tokenizer.save_pretrained(directory)
    earlier = {}
    for name, key in ADDED_TOKENS.items():
        content = read_json(directory / name) if (directory / name).is_file() else {}
        if key not in content:
            continue
        earlier[name] = content[key]
        tokens = {marker: {**SPECIAL, "content": marker} for marker in markers}
        numbers = {marker: tokenizer.convert_tokens_to_ids(marker) for marker in markers}
        if isinstance(content[key], dict):  # id → token
            content[key] = {**content[key], **{str(numbers[marker]): token for marker, token in tokens.items()}}
        else:  # a list, in the order of ids
            added = {token["content"]: token for token in content[key]}
            added |= {marker: {"id": numbers[marker], **token} for marker, token in tokens.items()}
            content[key] = sorted(added.values(), key=lambda token: token["id"])
        (directory / name).write_bytes(serialised(content))
    write_json(directory / CARRIED, {**carried(directory), ORIGINAL: earlier})


def without_markers(files: dict[str, bytes], original: Mapping[str, Any] | None) -> dict[str, bytes]:
    """Return the tokenizer's files as they were before :func:`register`, if it changed them."""
    restored = dict(files)
    for name, key in ADDED_TOKENS.items():
        if original and name in original and name in files:
            restored[name] = serialised({**json.loads(files[name]), key: original[name]})
    return restored


def serialised(content: Mapping[str, Any]) -> bytes:
    """Return the JSON of a tokenizer in the form in which it is usually saved."""
    return json.dumps(content, ensure_ascii=False, indent=2).encode()
