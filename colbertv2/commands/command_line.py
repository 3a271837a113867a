"""The command ``colbertv2``: its verbs, each a module of this package, and the way that errors end."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper

from colbertv2.errors import InputError
from colbertv2.lifetime import own_temporary_directory, stopped_by_signals
from colbertv2.refusals import machine_refusals

VERBS = {
    "run": "build what a configuration asks for, or every point of a sweep",
    "plan": "show what is built and what is missing, with time, memory and disk",
    "verify": "compare every byte of artifacts with what was written",
    "report": "tables, tests, conclusions and pictures of a sweep that was run",
    "convert": "checkpoints, indexes and training files, from and to other systems",
    "reproduce": "the tables of the papers, published beside measured",
}
HELP_THEMSELVES = ("run", "convert")  # by Hydra, by argparse
HELP = "\n".join(
    [
        "usage: colbertv2 [run] [overrides]      or: colbertv2 VERB [arguments]",
        "",
        *(f"  {verb:10} {text}" for verb, text in VERBS.items()),
        "",
        "  colbertv2 collection=scifact target=metrics            train, index, search, evaluate",
        "  colbertv2 plan -m codec.nbits=1,2,4 collection=scifact  what a sweep will cost",
        "",
        "colbertv2 run --help lists the groups of the configuration; colbertv2 convert --help its arguments.",
    ]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the verb that the command line begins with; overrides without a verb are those of ``run``.

    Wrong input ends with its message on standard error and exit code 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale without the signs of a message must not end the run
    words = [in_home(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    if words in ([], ["--help"], ["-h"]):
        print(HELP)
        return
    verb = words.pop(0) if words[0] in VERBS else "run"
    if verb == "run" and words and not words[0].startswith("-") and "=" not in words[0] and words[0][0] not in "~+":
        print(
            f"There is no verb {words[0]!r}; expected {', '.join(VERBS)}, or overrides as key=value.", file=sys.stderr
        )
        raise SystemExit(2)
    sys.argv[1:] = words  # which Hydra and argparse read
    module = import_module(f"colbertv2.commands.{verb}")
    if verb not in HELP_THEMSELVES and {"--help", "-h"} & {*words}:
        print(module.__doc__)
        return
    exit_cleanly(module.main, words)


def in_home(word: str) -> str:
    """``key=~/path`` with the home directory filled in, which a shell does not do behind ``=`` and Hydra can't read.

    >>> in_home("runtime.root=~/artifacts") == f"runtime.root={os.path.expanduser('~')}/artifacts"
    True
    """
    key, sign, path = word.partition("=~/")
    return f"{key}={os.path.expanduser('~')}/{path}" if sign else word


def exit_cleanly(task: Callable[[Sequence[str]], None], words: Sequence[str]) -> None:
    """Call ``task`` with the words of the command line; it leaves no temporary files.

    Wrong input and what the machine refuses end with code 2, a signal at once with its own.
    """
    try:
        with stopped_by_signals(), own_temporary_directory(), machine_refusals():
            task(words)
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
