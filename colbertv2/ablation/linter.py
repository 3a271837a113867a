"""What is wrong with a sweep: before the work, knobs that nothing reads; after it, points that are one and the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.configuration.points import Point, axes_of
from colbertv2.errors import InputError
from colbertv2.files import sha256


def check_axes(points: Sequence[Point]) -> None:
    """Refuse a sweep over what no stage on the way to the target reads.

    Raises:
        InputError: naming every such axis.
    """
    addresses = [address_of(point) for point in points]
    dead = []
    for key, values in axes_of(points).items():
        seen: dict[tuple[str, ...], list[str]] = {}
        for point, address in zip(points, addresses, strict=True):
            others = tuple(f"{name}={value}" for name, value in point.overrides.items() if name != key)
            if address is not None:  # a wrong configuration is the point's own affair
                seen.setdefault(others, []).append(address)
        compared = [found for found in seen.values() if len(found) > 1]
        if compared and all(len(set(found)) == 1 for found in compared):
            dead.append(f"{key} ({', '.join(values)})")
    if dead:
        target = points[0].config.target
        raise InputError(
            f"No stage on the way to target={target} reads {' or '.join(dead)}: all its values give the same result. "
            "Sweep what this pipeline reads, or choose a pipeline that reads it; a comma that belongs to the value "
            "needs quotes of its own: \"key='a, b'\"."
        )


def address_of(point: Point) -> str | None:
    """Where the point's result lies; None for a configuration that is wrong."""
    try:
        return point.address
    except InputError:
        return None


def identical(results: Mapping[str, Artifact]) -> list[str]:
    """A warning for each group of points whose rankings are the same, down to the last score.

    Args:
        results: name of the point → its artifact, whose ``ranking`` is compared.
    """
    groups: dict[str, dict[str, str]] = {}
    for name, artifact in results.items():
        ranking = artifact.parents["ranking"]
        groups.setdefault(content(ranking.file("run.trec")), {})[name] = ranking.address
    return [
        f"Identical rankings, bit for bit: {'; '.join(names)}. What tells them apart changes nothing here."
        for names in groups.values()
        if len(set(names.values())) > 1
    ]


def content(run: Path) -> str:
    """Digest of a TREC run file, its tags left out."""
    with open(run, encoding="utf-8") as file:
        return sha256(line.rpartition(" ")[0].encode() + b"\n" for line in file)
