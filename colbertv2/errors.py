"""The one exception for problems that the user can fix."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """Wrong input. The message says what was expected, what was found and what to do.

    The command line prints the message without a traceback.
    """


class Unavailable(InputError):
    """Data that exist but are not here: they can't be downloaded, or must be fetched by hand."""


@contextmanager
def within(place: Path) -> Iterator[None]:
    """Put ``place`` in front of the message of any ``InputError`` raised inside, unless the message names it already.

    >>> with within(Path("outputs/index")):
    ...     raise InputError("1 cutoff and 2 weights do not make 2 bits.")
    Traceback (most recent call last):
    colbertv2.errors.InputError: outputs/index: 1 cutoff and 2 weights do not make 2 bits.
    """
    try:
        yield
    except InputError as error:
        raise error if str(place) in str(error) else InputError(f"{place}: {error}") from None
