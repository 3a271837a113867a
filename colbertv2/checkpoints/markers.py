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

ORIGINAL = "tokenizer"  # key of other_layouts.json: the added tokens of tokenizer.json before markers were registered
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

    The tokens as they were are kept in ``other_layouts.json`` for the way back.
    """
    file = directory / "tokenizer.json"
    tokenizer = load_tokenizer(directory)
    if all(tokenizer.tokenize(marker) == [marker] for marker in markers):
        return
    if not file.is_file():
        tokenizer.save_pretrained(directory)
    content = read_json(file)
    earlier = content["added_tokens"]
    added = {token["content"]: token for token in earlier}
    for marker in markers:
        added[marker] = {
            "id": tokenizer.convert_tokens_to_ids(marker),
            "content": marker,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
    file.write_bytes(serialised({**content, "added_tokens": sorted(added.values(), key=lambda token: token["id"])}))
    write_json(directory / CARRIED, {**carried(directory), ORIGINAL: {"added_tokens": earlier}})


def without_markers(files: dict[str, bytes], original: dict[str, Any] | None) -> dict[str, bytes]:
    """Return the tokenizer's files as they were before :func:`register`, if it changed them."""
    if not original or "tokenizer.json" not in files or not isinstance(original.get("added_tokens"), list):
        return files
    content = json.loads(files["tokenizer.json"])
    return {**files, "tokenizer.json": serialised({**content, "added_tokens": original["added_tokens"]})}


def serialised(content: Mapping[str, Any]) -> bytes:
    """Return the JSON of a tokenizer in the form in which it is usually saved."""
    return json.dumps(content, ensure_ascii=False, indent=2).encode()
