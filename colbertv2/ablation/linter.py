"""Check sweeps: before they are run, for axes that no stage reads; after it, for points with identical results."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.configuration.points import Point, axes_of
from colbertv2.errors import InputError
from colbertv2.files import sha256


def check_axes(points: Sequence[Point]) -> None:
    """Refuse a sweep that varies a value which no stage upstream of the target reads.

    Raises:
        InputError: there are such axes; the message names them all.
    """
    addresses = [address_of(point) for point in points]
    dead = []
    for key, values in axes_of(points).items():
        seen: dict[tuple[str, ...], list[str]] = {}
        for point, address in zip(points, addresses, strict=True):
            others = tuple(f"{name}={value}" for name, value in point.overrides.items() if name != key)
            if address is not None:  # a wrong configuration is reported elsewhere, for its point
                seen.setdefault(others, []).append(address)
        compared = [found for found in seen.values() if len(found) > 1]
        if compared and all(len(set(found)) == 1 for found in compared):
            dead.append(f"{key} ({', '.join(values)})")
    if dead:
        target = points[0].config.target
        raise InputError(
            f"No stage on the way to target={target} reads {' or '.join(dead)}: all its values give the same result. "
            "Vary a value that this pipeline reads, or choose a pipeline that reads this one. A comma that is part of "
            "a value needs its own quotes: \"key='a, b'\"."
        )


def address_of(point: Point) -> str | None:
    """The address of the point's result; ``None`` if its configuration is wrong."""
    try:
        return point.address
    except InputError:
        return None


def identical(results: Mapping[str, Artifact]) -> list[str]:
    """A warning for each group of points whose rankings are the same, down to the last score.

    Args:
        results: name of each point → its artifact, whose parent ``ranking`` is compared.
    """
    groups: dict[str, dict[str, str]] = {}
    for name, artifact in results.items():
        ranking = artifact.parents["ranking"]
        groups.setdefault(content(ranking.file("run.trec")), {})[name] = ranking.address
    return [
        f"Identical rankings, bit for bit: {'; '.join(names)}. The settings in which they differ have no effect here."
        for names in groups.values()
        if len(set(names.values())) > 1
    ]


def content(run: Path) -> str:
    """The SHA-256 of a TREC run file without its tags."""
    with open(run, encoding="utf-8") as file:
        return sha256(line.rpartition(" ")[0].encode() + b"\n" for line in file)
