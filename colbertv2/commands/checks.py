"""Checks of a configuration, and of a sweep as a whole, before any work starts."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colbertv2.artifacts.build import to_build
from colbertv2.artifacts.node import Node, leaves
from colbertv2.artifacts.process import has_bfloat16
from colbertv2.configuration.composition import runtime_of
from colbertv2.configuration.points import Point, names_of
from colbertv2.errors import InputError
from colbertv2.evaluation.doubts import leakage, missing_collections
from colbertv2.evaluation.measurement import COSTS, measures_of, not_known, unknown_measures
from colbertv2.runtime import Runtime


def check_point(point: Point) -> None:
    """Refuse a configuration that can't be built. All commands that read configurations share this check.

    Raises:
        InputError: its target, an argument, the runtime, ``objectives`` or ``publish`` is wrong.
    """
    _ = runtime_of(point.config), point.address  # both raise if the configuration is not valid
    check_objectives(point.node, point.config.get("objectives") or [])
    if (place := point.config.get("publish")) is not None:
        check_place(Path(place).expanduser())


def problems_of(points: Sequence[Point]) -> dict[str, str]:
    """Why points can't be built: the problem of each such point, by the point's name."""
    found: dict[str, str] = {}
    for name, point in zip(names_of(points), points, strict=True):
        try:
            check_point(point)
        except InputError as error:
            found[name] = str(error)
    return found


def check_objectives(node: Node, names: Sequence[str]) -> None:
    """Check that ``objectives`` names only measures and costs that the target will have.

    Raises:
        InputError: the target will not have one of them.
    """
    measures, lacking = measures_of(node), unknown_measures(node)
    for name in names:
        if name in lacking:
            raise InputError(f"objectives: {not_known([name], lacking[name])}")
    known = [*measures, *COSTS] if measures else []
    if missing := [name for name in names if name not in known]:
        raise InputError(f"objectives: {node.key} has no {', '.join(missing)}; known: {', '.join(known) or 'none'}.")


def check_place(place: Path) -> None:
    """Check that ``publish`` is a directory that exists and is writable, or that can be created.

    Raises:
        InputError: it is a file, is below a file, or is not writable.
    """
    there = next((one for one in (place, *place.parents) if os.path.exists(one)), place)
    if there.exists() and not there.is_dir():
        raise InputError(f"publish is {place}, but {there} is a file; name a directory.")
    try:
        os.lstat(place)
    except (FileNotFoundError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        raise InputError(f"publish is {str(place)!r}, which can't be a directory ({error}); name another.") from None
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"publish is {place}, but you may not write to {there}; name another directory.")


def check_places(points: Sequence[Point]) -> None:
    """Check that each point of a sweep publishes to a directory of its own.

    Raises:
        InputError: two points would overwrite each other's files.
    """
    names: dict[str, list[str]] = {}
    for name, point in zip(names_of(points), points, strict=True):
        if (place := point.config.get("publish")) is not None:
            names.setdefault(os.path.abspath(place), []).append(name)
    if shared := next(((place, found) for place, found in names.items() if len(found) > 1), None):
        place, found = shared
        raise InputError(
            f"publish is {place} for {len(found)} points ({found[0]}; {found[1]}; …), so each would overwrite the "
            "files of the one before; give each point its own directory, such as 'publish=results/${codec.nbits}', or "
            "leave publish out."
        )


def print_doubts(nodes: Sequence[Node], runtime: Runtime) -> None:
    """Print a line to standard error for whatever is likely not meant.

    That is a collection of a suite that is missing or that was trained on, or a precision that is slow here.
    """
    slow = runtime.device == "cpu" and not has_bfloat16()
    missing = to_build(nodes, runtime.root) if slow else []
    if halved := [step.key for step in missing if any(map(is_half, leaves(step.arguments)))]:
        keys = f"{', '.join(halved[:3])}{', …' if halved[3:] else ''}"
        print(
            f"Warning: {keys} compute with 16 bits. This processor has no instructions for that, so it takes many "
            "times as long as 32-true; set precision=32-true, and that of trainings.",
            file=sys.stderr,
        )
    for name, reason in missing_collections(nodes).items():
        print(f"Warning: the collection {name} is missing and left out of the mean: {reason}", file=sys.stderr)
    for sentence in leakage(nodes):
        print(f"Warning: {sentence}", file=sys.stderr)


def is_half(leaf: tuple[str, Any]) -> bool:
    """Whether a dotted argument with its value is a precision of 16 bits."""
    role, value = leaf
    return role.rpartition(".")[2] == "precision" and value != "32-true"
