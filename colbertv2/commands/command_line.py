"""What the commands have in common: wrong input ends with its message and exit code 2."""

import sys
from collections.abc import Callable, Sequence

from colbertv2.errors import InputError


def run(task: Callable[[Sequence[str]], None]) -> None:
    """Call ``task`` with the command line's arguments."""
    try:
        task(sys.argv[1:])
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
