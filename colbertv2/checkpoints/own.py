"""Our layout: the encoder as transformers saves it, plus ``projection.safetensors`` and ``colbert.json``."""

from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path

from colbertv2.checkpoints.checkpoint import (
    CARRIED,
    Checkpoint,
    carried,
    contiguous,
    read_tensors,
    read_tokenizer,
    typed,
    write_common,
)
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.files import read_json, write_json
from colbertv2.schema import hints_of, misfits

SETTINGS, PROJECTION = "colbert.json", "projection.safetensors"


def read_ours(directory: Path) -> Checkpoint:
    """Read a checkpoint in our layout; all fields of the tokenization come from ``colbert.json``.

    Raises:
        InputError: a file is missing or damaged, or a setting is unknown, missing or of the wrong type.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = directory / SETTINGS
    values = read_json(file)
    known = {field.name: field for field in fields(Tokenization)}
    if unknown := sorted(values.keys() - known.keys()):
        raise InputError(
            f"{file} has the unknown key {unknown[0]!r}; expected the fields of Tokenization: {', '.join(known)}."
        )
    if lacking := [name for name, field in known.items() if field.default is MISSING and name not in values]:
        raise InputError(f"{file} lacks {lacking[0]!r}; expected the fields of Tokenization: {', '.join(known)}.")
    for misfit in misfits(hints_of(Tokenization.__init__), values):
        raise InputError(f"{file}: {misfit}")
    try:
        projection = load_file(directory / PROJECTION)["linear.weight"]
    except (SafetensorError, OSError, KeyError) as error:
        raise InputError(f"{directory / PROJECTION} is missing or damaged ({error}).") from None
    return Checkpoint(
        "colbertv2",
        read_json(directory / "config.json"),
        read_tensors(directory),
        projection,
        Tokenization(**values),
        dict.fromkeys(values, SETTINGS),
        read_tokenizer(directory),
        carried(directory),
    )


def write_ours(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a checkpoint in our layout into ``directory``."""
    from safetensors.torch import save_file

    own = checkpoint.settings.get("colbertv2", {})
    literal = typed(own, "literal_tokens", bool, checkpoint.tokenization.literal_tokens, Path(CARRIED))
    write_common(checkpoint, directory, checkpoint.config, without="colbertv2")
    save_file(contiguous(checkpoint.encoder.items()), directory / "model.safetensors", metadata={"format": "pt"})
    save_file(contiguous([("linear.weight", checkpoint.projection)]), directory / PROJECTION)
    values = asdict(replace(checkpoint.tokenization, literal_tokens=literal))
    write_json(directory / SETTINGS, values)
