"""Recognise the layout of a checkpoint directory; read and write all layouts."""

from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

from colbertv2.artifacts.integrity import check_directory
from colbertv2.checkpoints.checkpoint import Checkpoint
from colbertv2.checkpoints.modules import MODULES, listed_modules
from colbertv2.checkpoints.official import METADATA, read_official, write_official
from colbertv2.checkpoints.own import read_ours, write_ours
from colbertv2.checkpoints.pylate import read_pylate, write_pylate
from colbertv2.checkpoints.sentence_transformers import (
    NAME,
    is_multi_vector,
    read_sentence_transformers,
    write_sentence_transformers,
)
from colbertv2.errors import InputError, within
from colbertv2.files import atomic_path, read_json

READERS: dict[str, Callable[[Path], Checkpoint]] = {
    "colbertv2": read_ours,
    "official": read_official,
    "pylate": read_pylate,
    NAME: read_sentence_transformers,
}
WRITERS: dict[str, Callable[[Checkpoint, Path], None]] = {
    "colbertv2": write_ours,
    "official": write_official,
    "pylate": write_pylate,
    NAME: write_sentence_transformers,
}

WEIGHTLESS = ("Normalize", "Dropout")  # modules of sentence-transformers that have no weights


def layout_of(directory: Path) -> str | None:
    """Return the name of the layout in :data:`READERS`, by the files in ``directory``; ``None`` for any other model.

    Raises:
        InputError: it is a model of sentence-transformers with layers for token vectors, which can't be read.
    """
    if (directory / "colbert.json").is_file():
        return "colbertv2"
    if (directory / MODULES).is_file() and '"pylate.' in (directory / MODULES).read_text(encoding="utf-8"):
        return "pylate"
    try:
        architectures = read_json(directory / "config.json").get("architectures")
    except InputError:  # not a model, or a damaged one
        architectures = None
    if (directory / METADATA).is_file() or architectures == ["HF_ColBERT"]:
        return "official"
    if is_multi_vector(directory):
        return NAME
    refuse_token_layers(directory / MODULES)
    return None


def refuse_token_layers(file: Path) -> None:
    """Check that ``modules.json`` of sentence-transformers, if there is one, lists no layers for token vectors.

    Whatever follows ``Pooling`` changes the one vector of a text, which is not used here. A layer before it changes
    token vectors. A new projection would silently replace it.

    Raises:
        InputError: there is such a layer, or the file is damaged.
    """
    if not file.is_file():
        return
    kinds = [module.kind for module in listed_modules(file)]
    if [kind for kind in takewhile(lambda kind: kind != "Pooling", kinds) if kind not in WEIGHTLESS] != ["Transformer"]:
        raise InputError(
            f"{file} lists {', '.join(kinds)}; expected only a Transformer, or Pooling after it. Trained layers for "
            "token vectors are read only from PyLate or a MultiVectorEncoder: save the model as one of these, or name "
            "its encoder alone."
        )


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read the checkpoint in ``directory``, in any layout. No code in it is ever run.

    Raises:
        InputError: it is not a ColBERT checkpoint, or is incomplete or damaged.
    """
    check_directory(directory)
    layout = layout_of(directory)
    if layout is None:
        raise InputError(
            f"{directory} is not a ColBERT checkpoint; expected colbert.json (ours), {METADATA} (the official layout) "
            f"or {MODULES} with Dense layers of PyLate or of a MultiVectorEncoder of sentence-transformers."
        )
    with within(directory):
        return READERS[layout](directory)


def write_checkpoint(checkpoint: Checkpoint, destination: Path, layout: str) -> None:
    """Write ``checkpoint`` in ``layout`` to the directory ``destination``, which appears once it is complete.

    Raises:
        InputError: the layout can't express the checkpoint, or ``destination`` exists already.
    """
    with atomic_path(destination) as partial:
        WRITERS[layout](checkpoint, partial)
