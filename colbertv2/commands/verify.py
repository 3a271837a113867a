"""``colbertv2 verify [overrides | address … | path …] [--all]``: compare every byte of artifacts with their records.

``verify target=metrics`` reads what that configuration asks for and everything upstream, as far as it is there;
``verify index-3f9a1c2b7d`` reads single artifacts, by address or path; ``verify --all`` the whole of ``runtime.root``,
and says what else lies there. Nothing is changed. Exit code 2 if anything is damaged.
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
    """Read the artifacts that the words name, with a bar; print notes and how much was read.

    Raises:
        InputError: something is damaged (a line for each file), or there is no such artifact.
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
    print(f"All of {len(found)} artifacts is as it was written ({files} files, {size}).")


def artifacts_in(root: Path) -> list[Path]:
    """Every directory of a store that is one of an artifact, whole or not."""
    return sorted(path for path in root.glob("*/*-*") if path.is_dir() and path.name.startswith(f"{path.parent.name}-"))


def named(root: Path, names: Sequence[str]) -> list[Path]:
    """The directories of artifacts, each given by its path or its address; InputError if one is not there."""
    places = [Path(name) if Path(name).is_dir() else location(root, name) for name in names]
    if missing := [name for name, path in zip(names, places, strict=True) if not path.is_dir()]:
        raise InputError(f"There is no artifact {missing[0]}, neither as a path nor as an address in {root}.")
    return places


def built(root: Path, points: Sequence[Point]) -> list[Path]:
    """What is there of the targets of configurations and everything upstream of them.

    Raises:
        InputError: nothing is there.
    """
    steps = dict.fromkeys(location(root, step.address) for point in points for step in point.node.lineage())
    if not (places := [path for path in steps if path.is_dir()]):
        raise InputError(f"Nothing of this configuration has been built in {root}; --all reads all that is there.")
    return places


def leftovers(root: Path) -> Iterator[str]:
    """What lies in a store beside its artifacts."""
    for path in sorted(root.glob("*/.*.partial")):
        yield f"{path} is unfinished; its next build goes on with it or begins anew. To give it up, remove it."
    for path in sorted(root.glob("*/.*.failed.json")):
        yield f"{path} says why a build failed; it goes away when one succeeds."
    for path in sorted(root.glob("*/.*.verified.json")):
        address = path.name.removeprefix(".").removesuffix(".verified.json")
        if not path.with_name(address).exists():
            yield f"{path} belongs to no artifact any more; it can be removed."
