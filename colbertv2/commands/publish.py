"""``python -m colbertv2 publish ARTIFACT DESTINATION --license ID [--to LAYOUT] [--push OWNER/NAME]``: share a model.

Writes a directory with the weights of a checkpoint in the layout of any system, a model card made of its artifacts
(data, recipe, measured values with intervals, how to load it), and the measured runs with ir_metadata. ARTIFACT is the
address or directory of a checkpoint (``train-…``, with all its evaluations) or of one evaluation (``evaluate-…``).
DESTINATION appears only when it is complete. Nothing leaves this machine without ``--push``.
"""

import argparse
from pathlib import Path

from colbertv2.errors import InputError


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the words of the command line, or those of this process if ``None``."""
    from colbertv2.checkpoints.layouts import WRITERS

    parser = argparse.ArgumentParser(prog="python -m colbertv2 publish", description=__doc__)
    parser.add_argument("artifact", help="address or directory of a checkpoint or an evaluation")
    parser.add_argument("destination", type=Path, help="the new directory")
    parser.add_argument("--license", required=True, help="as the Hugging Face hub names it: mit, apache-2.0, …")
    parser.add_argument("--to", default="pylate", choices=list(WRITERS), dest="layout", help="layout of the weights")
    parser.add_argument("--title", help="of the card; the name given to --push, or that of the directory")
    parser.add_argument("--language", default="", help="codes of languages with commas between them: en,de")
    parser.add_argument("--author", help="named in the card and in the runs")
    parser.add_argument("--push", metavar="OWNER/NAME", help="push the directory to this repository of the hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--root", type=Path, default=Path("artifacts"), help="directory of all artifacts")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Publish as the command line says.

    Raises:
        InputError: see :func:`publish`.
    """
    print(publish(arguments(words)))


def publish(asked: argparse.Namespace) -> str:
    """Write the directory, and push it if asked.

    Returns:
        A text for the user about what was written and pushed.

    Raises:
        InputError: something asked for is wrong, the artifact is damaged, the layout can't hold the checkpoint, or the
            hub refused the directory, which then is complete.
    """
    from colbertv2.sharing.hub import check_push, push
    from colbertv2.sharing.model_card import Sharing, check_sharing

    if asked.destination.exists():
        raise InputError(f"{asked.destination} exists; choose another path, or remove it first.")
    name = asked.push or asked.destination.name
    languages = tuple(code.strip() for code in asked.language.split(",") if code.strip())
    sharing = Sharing(name, asked.title or name, asked.license, asked.layout, languages, asked.author)
    check_sharing(sharing)
    if asked.private and not asked.push:
        raise InputError("--private is about a new repository of the hub; add --push owner/name, or leave it out.")
    if asked.push:
        check_push(asked.push)
    from colbertv2.sharing.directory import write_directory

    message = write_directory(asked.artifact, asked.root, asked.destination, sharing)
    return f"{message}\npushed: {push(asked.destination, asked.push, asked.private)}" if asked.push else message
