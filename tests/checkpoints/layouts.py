"""Helpers that the tests of checkpoints share."""

import json
from pathlib import Path

from colbertv2.checkpoints.tokenization import Tokenization

TOKENIZATION = Tokenization(12, 20, "[unused0]", "[unused1]", True, True, True)
LAYOUTS = ["colbertv2", "official", "pylate", "sentence_transformers"]

LITERAL = {"official": False, "pylate": True, "sentence_transformers": True}  # ours can say both


def edit(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
