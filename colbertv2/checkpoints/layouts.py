"""Which layout a checkpoint directory has, and reading, writing and converting any of the three."""

from collections.abc import Callable
from pathlib import Path

from colbertv2.artifacts.integrity import check_directory
from colbertv2.checkpoints.checkpoint import Checkpoint
from colbertv2.checkpoints.official import METADATA, read_official, write_official
from colbertv2.checkpoints.own import read_ours, write_ours
from colbertv2.checkpoints.pylate import MODULES, read_pylate, write_pylate
from colbertv2.errors import InputError, within
from colbertv2.files import atomic_path, read_json

READERS: dict[str, Callable[[Path], Checkpoint]] = {
    "colbertv2": read_ours,
    "official": read_official,
    "pylate": read_pylate,
}
WRITERS: dict[str, Callable[[Checkpoint, Path], None]] = {
    "colbertv2": write_ours,
    "official": write_official,
    "pylate": write_pylate,
}


def layout_of(directory: Path) -> str | None:
    """``colbertv2``, ``official`` or ``pylate`` by the files in ``directory``; ``None`` for any other model."""
    if (directory / "colbert.json").is_file():
        return "colbertv2"
    if (directory / MODULES).is_file() and '"pylate.' in (directory / MODULES).read_text(encoding="utf-8"):
        return "pylate"
    try:
        architectures = read_json(directory / "config.json").get("architectures")
    except InputError:  # no model at all, or a damaged one
        architectures = None
    return "official" if (directory / METADATA).is_file() or architectures == ["HF_ColBERT"] else None


def read_checkpoint(directory: Path) -> Checkpoint:
    """The checkpoint in ``directory``, in whichever layout.

    Raises:
        InputError: it is none, not whole, or damaged; nothing in it is ever executed.
    """
    check_directory(directory)
    layout = layout_of(directory)
    if layout is None:
        raise InputError(
            f"{directory} is no ColBERT checkpoint; expected colbert.json (ours), {METADATA} (the official layout) or "
            f"{MODULES} that names a Dense layer of PyLate's."
        )
    with within(directory):
        return READERS[layout](directory)


def write_checkpoint(checkpoint: Checkpoint, destination: Path, layout: str) -> None:
    """Write ``checkpoint`` as ``layout`` to the directory ``destination``, which appears when it is whole.

    Raises:
        InputError: the layout can't hold the checkpoint, or ``destination`` is there already.
    """
    with atomic_path(destination) as partial:
        WRITERS[layout](checkpoint, partial)
