"""What is checked of a configuration, and of a sweep as a whole, before the first second of work."""

import os
from collections.abc import Sequence
from pathlib import Path

from colbertv2.artifacts.node import Node
from colbertv2.configuration.composition import runtime_of
from colbertv2.configuration.points import Point, names_of
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import COSTS, measures_of, not_known, unknown_measures


def check_point(point: Point) -> None:
    """Refuse a configuration that can't be built, whichever command reads it.

    Raises:
        InputError: its target, an argument, the runtime, ``objectives`` or ``publish`` is wrong.
    """
    _ = runtime_of(point.config), point.address  # which is of a valid configuration alone
    check_objectives(point.node, point.config.get("objectives") or [])
    if (place := point.config.get("publish")) is not None:
        check_place(Path(place).expanduser())


def problems_of(points: Sequence[Point]) -> dict[str, str]:
    """What is wrong with each point that can't be built, by its name."""
    found: dict[str, str] = {}
    for name, point in zip(names_of(points), points, strict=True):
        try:
            check_point(point)
        except InputError as error:
            found[name] = str(error)
    return found


def check_objectives(node: Node, names: Sequence[str]) -> None:
    """A search can only get back what its target will have.

    Raises:
        InputError: one of them it will not.
    """
    measures, lacking = measures_of(node), unknown_measures(node)
    for name in names:
        if name in lacking:
            raise InputError(f"objectives: {not_known([name], lacking[name])}")
    known = [*measures, *COSTS] if measures else []
    if missing := [name for name in names if name not in known]:
        raise InputError(f"objectives: {node.key} has no {', '.join(missing)}; known: {', '.join(known) or 'none'}.")


def check_place(place: Path) -> None:
    """``publish`` must be a directory that can be written, or can be made.

    Raises:
        InputError: it is a file, lies below one, or may not be written to.
    """
    there = next((one for one in (place, *place.parents) if os.path.exists(one)), place)
    if there.exists() and not there.is_dir():
        raise InputError(f"publish is {place}, but {there} is a file; name a directory.")
    try:
        os.lstat(place)
    except (FileNotFoundError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        raise InputError(f"publish is {str(place)!r}, which can be no directory ({error}); name another.") from None
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"publish is {place}, but you may not write to {there}; name another directory.")


def check_places(points: Sequence[Point]) -> None:
    """Each point of a sweep must publish to a place of its own.

    Raises:
        InputError: two of them would overwrite each other's files.
    """
    names: dict[str, list[str]] = {}
    for name, point in zip(names_of(points), points, strict=True):
        if (place := point.config.get("publish")) is not None:
            names.setdefault(os.path.abspath(place), []).append(name)
    if shared := next(((place, found) for place, found in names.items() if len(found) > 1), None):
        place, found = shared
        raise InputError(
            f"publish is {place} for {len(found)} points ({found[0]}; {found[1]}; …), so that each would overwrite the "
            "files of the one before; give each a place of its own, such as 'publish=results/${codec.nbits}', or "
            "leave it out."
        )
