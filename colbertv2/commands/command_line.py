"""The command ``colbertv2``: its verbs, each a module of this package, and how it exits on errors."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper

from colbertv2.errors import InputError
from colbertv2.lifetime import PREEMPTED, Preempted, own_temporary_directory, stopped_by_signals
from colbertv2.refusals import machine_refusals
from colbertv2.team import place_of_this_process

VERBS = {
    "run": "build the target of a configuration, or of every point of a sweep",
    "plan": "show what is built and what is missing, with the time, memory and disk it needs",
    "status": "show what the jobs of a run on a cluster do",
    "cancel": "cancel the jobs of a run on a cluster",
    "verify": "compare every byte of artifacts with what was written",
    "report": "make tables, significance tests, conclusions and figures of a finished sweep",
    "convert": "convert checkpoints, indexes and training files from and to other systems",
    "publish": "write a model's directory with card and runs, and push it to the hub if asked",
    "reproduce": "run the tables of the papers, and compare published with measured values",
}
HELP_THEMSELVES = ("convert", "publish")  # argparse prints the help of these
HELP = "\n".join(
    [
        "usage: colbertv2 [run] [overrides]      or: colbertv2 VERB [arguments]",
        "",
        *(f"  {verb:10} {text}" for verb, text in VERBS.items()),
        "",
        "  colbertv2 collection=scifact target=metrics            train, index, search, evaluate",
        "  colbertv2 plan -m codec.nbits=1,2,4 collection=scifact  what a sweep will cost",
        "",
        "colbertv2 run --help lists the groups of the configuration; colbertv2 VERB --help explains the verb.",
    ]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the verb that the command line begins with; without a verb, ``run``.

    Wrong input ends with a message on standard error and exit code 2.

    Args:
        arguments: the words of the command line; those of this process if ``None``.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale that lacks a character of a message must not end the run
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
    words.sort(key=lambda word: word not in ("-m", "--multirun"))  # Hydra's parser refuses overrides on both sides
    sys.argv[1:] = words  # Hydra and argparse read them there
    asked = bool({"--help", "-h"} & {*words})
    if verb == "run" and asked:
        from colbertv2.commands.run_help import help_text

        print(help_text(words))
        return
    module = import_module(f"colbertv2.commands.{verb}")
    if verb not in HELP_THEMSELVES and asked:
        print(module.__doc__)
        return
    exit_cleanly(module.main, words)


def in_home(word: str) -> str:
    """Expand ``key=~/path`` to the home directory: a shell does not do so after ``=``, and Hydra can't read ``~``.

    >>> in_home("runtime.root=~/artifacts") == f"runtime.root={os.path.expanduser('~')}/artifacts"
    True
    """
    key, sign, path = word.partition("=~/")
    return f"{key}={os.path.expanduser('~')}/{path}" if sign else word


def exit_cleanly(task: Callable[[Sequence[str]], None], words: Sequence[str]) -> None:
    """Call ``task`` with the words of the command line, and remove its temporary files.

    Wrong input and errors of the machine (such as a full disk) end with exit code 2. A signal ends the process at once,
    with the exit code of that signal; work that was warned of the end of its job, and has saved what it had, ends with
    ``PREEMPTED``. On several machines, process 0 of the job runs the task, and the others help it.
    """
    try:
        with stopped_by_signals(), own_temporary_directory(), machine_refusals():
            helped(task, words)
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except Preempted as reason:
        print(reason, file=sys.stderr)
        raise SystemExit(PREEMPTED) from None


def helped(task: Callable[[Sequence[str]], None], words: Sequence[str]) -> None:
    """Call ``task`` with ``words``, with the help of the other processes if this one is of a team."""
    if place_of_this_process() is None:
        task(words)
        return
    from colbertv2.parallel import together  # imports torch, which takes seconds

    together(lambda: task(words))
