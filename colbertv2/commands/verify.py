"""``colbertv2 verify [overrides | address … | path …] [--all]``: compare every byte of artifacts with their records.

``verify target=metrics`` reads the target of that configuration and everything upstream, as far as it is built;
``verify index-3f9a1c2b7d`` reads single artifacts, given by address or path; ``verify --all`` reads all artifacts in
``runtime.root`` and lists the other files there. Nothing is changed. The exit code is 2 if anything is damaged.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser
from tqdm import tqdm

from colbertv2.artifacts.artifact import location
from colbertv2.artifacts.integrity import verify
from colbertv2.artifacts.process import byte_size
from colbertv2.configuration.composition import runtime_of
from colbertv2.configuration.points import Point, collect
from colbertv2.errors import InputError


def main(words: Sequence[str]) -> None:
    """Verify the artifacts that ``words`` name, and print notes and how much was read.

    Raises:
        InputError: files are damaged (the message has a line for each), or there is no such artifact.
    """
    everything = "--all" in words
    words = [word for word in words if word != "--all"]
    given = get_args_parser().parse_args(words).overrides
    names = [word for word in given if "=" not in word and word[0] not in "+~"]
    points = collect([word for word in words if word not in names])
    root = runtime_of(points[0].config).root
    places = artifacts_in(root) if everything else named(root, names) if names else built(root, points)
    total = sum(file.stat().st_size for path in places for file in path.rglob("*") if file.is_file())
    with tqdm(desc="verify", total=total, unit="B", unit_scale=True) as bar:
        found = [verify(path, bar) for path in places]
    notes = [note for one in found for note in one.notes]
    for note in [*notes, *(leftovers(root) if everything else [])]:
        print(f"note: {note}")
    files, size = sum(one.files for one in found), byte_size(sum(one.bytes for one in found))
    if faults := [fault for one in found for fault in one.faults]:
        faulty = sum(bool(one.faults) for one in found)
        raise InputError("\n".join([*faults, f"{faulty} of {len(found)} artifacts are damaged."]))
    print(f"{len(found)} of {len(found)} artifacts are intact ({files} files, {size}).")


def artifacts_in(root: Path) -> list[Path]:
    """The directories of all artifacts under an artifact root, complete or not."""
    return sorted(path for path in root.glob("*/*-*") if path.is_dir() and path.name.startswith(f"{path.parent.name}-"))


def named(root: Path, names: Sequence[str]) -> list[Path]:
    """The directories of artifacts that are given by path or by address.

    Raises:
        InputError: one of them does not exist.
    """
    places = [Path(name) if Path(name).is_dir() else location(root, name) for name in names]
    if missing := [name for name, path in zip(names, places, strict=True) if not path.is_dir()]:
        raise InputError(f"There is no artifact {missing[0]}, neither as a path nor as an address in {root}.")
    return places


def built(root: Path, points: Sequence[Point]) -> list[Path]:
    """The existing directories of the targets of ``points`` and of everything upstream of them.

    Raises:
        InputError: none of them exists.
    """
    steps = dict.fromkeys(location(root, step.address) for point in points for step in point.node.lineage())
    if not (places := [path for path in steps if path.is_dir()]):
        raise InputError(f"Nothing of this configuration is built in {root}; use --all to verify everything there.")
    return places


def leftovers(root: Path) -> Iterator[str]:
    """Notes on the files under an artifact root that belong to no finished artifact."""
    for path in sorted(root.glob("*/.*.partial")):
        yield f"{path} is unfinished; the next build continues it or starts again. Remove it if you don't need it."
    for path in sorted(root.glob("*/.*.failed.json")):
        yield f"{path} says why a build failed; it is removed when a build succeeds."
    for path in sorted(root.glob("*/.*.verified.json")):
        address = path.name.removeprefix(".").removesuffix(".verified.json")
        if not path.with_name(address).exists():
            yield f"{path} belongs to no artifact that still exists; it can be removed."
