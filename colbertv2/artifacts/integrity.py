"""Check that an artifact's files are those that its stage wrote, by the sizes and SHA-256 in ``artifact.json``.

How much is read depends on how the files are used:

- :func:`check_opening`, when any artifact is opened: the size of each file, and the content of the smallest files;
- :func:`check_files`, for files that are read into memory (weights, run files): every byte, each time;
- ``check_files(…, mapped=True)``, for files that are memory-mapped: every byte of the smallest files each time, and of
  the others once after each change. A change is detected by size, times or inode, as in git. The state at the last
  check is kept next to the artifact in ``.<address>.verified.json``. To find bytes that a failing disk has changed, run
  ``colbertv2 verify``.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from colbertv2.errors import InputError
from colbertv2.files import blocks, read_json, sha256, sha256_of_files, write_json
from colbertv2.parts import PARTS

RECORD = "artifact.json"
OPEN_ON_NFS = ".nfs"  # begins the name of a removed file that a process has open; it goes when the process ends
FIELDS = {"stage": str, "address": str, "arguments": dict, "parents": dict, "sha256": dict, "bytes": int}
AT_OPENING = 2**20  # bytes: the smallest files, up to this total, are read whenever an artifact is opened
EACH_TIME = 2**24  # bytes: of a memory-mapped directory, the smallest files up to this total are read each time
SETTLED = 2.0  # seconds after which a further change of a file shows in its times, on any file system
LONG = 2**30  # bytes from which on reading shows a progress bar

Seen = dict[str, list[Any]]  # name of a file → its SHA-256, and its `_state` when that was computed
_seen_here: dict[Path, Seen] = {}  # what this process has checked, for artifact roots that can't be written to


def seal(directory: Path, record: dict[str, Any]) -> None:
    """Write ``artifact.json``: ``record``, the size and SHA-256 of each file in ``directory``, and its own digest.

    What is left of the parts of a divided stage is ignored: it is removed afterwards, so that a run which is killed
    here need not do them again.
    """
    found = (path for path in directory.rglob("*") if path.is_file() and not path.name.startswith(OPEN_ON_NFS))
    files = sorted(path for path in found if path.relative_to(directory).parts[0] != PARTS)
    seen: Seen = {}
    for file in files:
        state, settled = _state(file), _is_settled(file)
        name, digest = file.relative_to(directory).as_posix(), sha256_of_files(file)
        seen[name] = [digest, *(state if settled else [])]
    sizes = {file.relative_to(directory).as_posix(): file.stat().st_size for file in files}
    contents = {name: digest for name, (digest, *_) in seen.items()}
    whole = {**record, "bytes": sum(sizes.values()), "sizes": sizes, "sha256": contents}
    if whole["bytes"] > EACH_TIME:
        _keep(_place(directory, record), {name: seen[name] for name in _large(sizes) if len(seen[name]) > 1})
    write_json(directory / RECORD, {**whole, "digest": digest_of(whole)})


def digest_of(record: dict[str, Any]) -> str:
    """The SHA-256 of a record's values without its ``digest``, independent of how the JSON is formatted."""
    content = {name: value for name, value in record.items() if name != "digest"}
    return sha256(json.dumps(content, sort_keys=True).encode())


def read_record(directory: Path) -> dict[str, Any]:
    """The content of ``artifact.json``. Records of earlier versions have no ``sizes`` and no ``digest``.

    Raises:
        InputError: it is missing or damaged.
    """
    file = directory / RECORD
    if not file.is_file():
        raise InputError(f"There is no complete artifact at {directory}: {RECORD} is missing. Build it first.")
    try:
        record = read_json(file)
    except InputError as error:
        raise InputError(f"{error} {_remedy(directory)}") from None
    wrong = [name for name, kind in FIELDS.items() if not isinstance(record.get(name), kind)]
    sealed = "digest" in record or "sizes" in record
    if wrong or (sealed and record.get("digest") != digest_of(record)):
        what = f"{wrong[0]} is {record.get(wrong[0])!r:.80}" if wrong else "it is not what was written"
        raise InputError(f"{file} is damaged: {what}. {_remedy(directory)}")
    return record


def check_address(directory: Path, record: dict[str, Any]) -> None:
    """Check that the record belongs to the artifact that the directory is named after.

    Raises:
        InputError: it belongs to another artifact.
    """
    if record["address"] != directory.name:
        raise InputError(f"{directory / RECORD} belongs to {record['address']}. {_remedy(directory)}")


def check_opening(directory: Path, record: dict[str, Any]) -> None:
    """Check that every file exists with its recorded size, and read the smallest files, ``AT_OPENING`` bytes in total.

    Raises:
        InputError: a file is missing or damaged.
    """
    sizes = {name: _size(directory / name) for name in record["sha256"]}
    for name, size in sizes.items():
        if fault := _fault_of_size(record, name, size):
            raise damaged(directory, name, fault)
    large = _large(sizes, AT_OPENING)
    check_files(directory, record, [name for name in sizes if name not in large])


def check_files(directory: Path, record: dict[str, Any], names: Iterable[str], mapped: bool = False) -> None:
    """Compare every byte of some files of an artifact with its record.

    Args:
        names: the files to check, relative to ``directory``.
        mapped: they are memory-mapped: large ones are read only if they have changed since they were last checked.

    Raises:
        InputError: a file is missing or damaged, or the record does not list it.
    """
    names = list(names)
    for name in names:
        if name not in record["sha256"]:
            raise InputError(f"{directory} has no {name} according to its {RECORD}. {_remedy(directory)}")
    large = _large({name: _size(directory / name) for name in names}) if mapped else []
    place = _place(directory, record)
    known = _known(place) if large else {}
    unread = [name for name in large if known.get(name) != [record["sha256"][name], *_state(directory / name)]]
    read = [*(name for name in names if name not in large), *unread]
    total = sum(_size(directory / name) or 0 for name in read)
    with tqdm(desc=f"check {directory.name}", total=total, unit="B", unit_scale=True, disable=total < LONG) as bar:
        for name in read:
            state, settled = _state(directory / name), _is_settled(directory / name)
            if fault := fault_of(directory, record, name, bar):
                raise damaged(directory, name, fault)
            if name in unread and settled:
                known[name] = [record["sha256"][name], *state]
    if unread:
        _keep(place, known)


def check_directory(directory: Path, mapped: bool = False) -> None:
    """Check all files of an artifact as :func:`check_files` does; do nothing if the directory is not an artifact."""
    if (directory / RECORD).is_file():
        record = read_record(directory)
        check_files(directory, record, record["sha256"], mapped)


@dataclass
class Verified:
    """The result of verifying one artifact.

    Args:
        files: number of files that were read.
        bytes: number of bytes that were read.
        faults: a line for each damaged file, with the remedy.
        notes: a line for each file that is not part of the artifact.
    """

    files: int = 0
    bytes: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(directory: Path, bar: "tqdm[Any]") -> Verified:
    """Compare every byte of an artifact with its record, and list what differs.

    Args:
        bar: progress bar that counts the bytes read.
    """
    found = Verified()
    try:
        record = read_record(directory)
        check_address(directory, record)
    except InputError as error:
        return Verified(faults=[str(error)])
    for name in record["sha256"]:
        if fault := fault_of(directory, record, name, bar):
            found.faults.append(str(damaged(directory, name, fault)))
        found.files += 1
        found.bytes += _size(directory / name) or 0
    unknown = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()}
    found.notes += [
        f"{directory / name} is not part of this artifact; it can be removed."
        for name in sorted(unknown - {RECORD, *record["sha256"]})
    ]
    return found


def fault_of(directory: Path, record: dict[str, Any], name: str, bar: "tqdm[Any]") -> str | None:
    """Read a file completely, and say how it differs from the record; ``None`` if it does not."""
    file = directory / name
    if fault := _fault_of_size(record, name, _size(file)):
        return fault
    try:
        digest = sha256(_shown(blocks(file), bar))
    except OSError as error:
        return f"can't be read ({error.strerror})"
    if digest != record["sha256"][name]:
        return f"is not what was written: its SHA-256 is {digest[:12]}…, {RECORD} has {record['sha256'][name]:.12}…"
    return None


def damaged(directory: Path, name: str, fault: str) -> InputError:
    """The error to raise for a file that differs from the record, with the remedy."""
    return InputError(f"{directory / name} {fault}. {_remedy(directory)}")


def _remedy(directory: Path) -> str:
    return f"Remove {directory} and run the same command again, which rebuilds it."


def _shown(content: Iterator[bytes], bar: "tqdm[Any]") -> Iterator[bytes]:
    for block in content:
        bar.update(len(block))
        yield block


def _fault_of_size(record: dict[str, Any], name: str, size: int | None) -> str | None:
    if size is None:
        return "is missing"
    expected = record["sizes"][name] if "sizes" in record else size
    return None if size == expected else f"has {size:,} bytes, expected {expected:,}"


def _size(file: Path) -> int | None:
    """The size in bytes of a regular file; ``None`` for anything else."""
    return file.stat().st_size if file.is_file() else None


def _large(sizes: Mapping[str, int | None], budget: int | None = None) -> list[str]:
    """All files but the smallest ones that fit into ``budget`` bytes together."""
    left, large = EACH_TIME if budget is None else budget, []
    for name in sorted(sizes, key=lambda name: sizes[name] or 0):
        left -= sizes[name] or 0
        if left < 0:
            large.append(name)
    return large


def _state(file: Path) -> list[int]:
    """Values that change with a file. ctime is among them since a user can't set it, unlike mtime."""
    if not file.is_file():
        return []
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _is_settled(file: Path) -> bool:
    """Whether the file's times are old enough that any change from now on gives different ones."""
    return file.is_file() and time.time() - file.stat().st_ctime > SETTLED


def _place(directory: Path, record: dict[str, Any]) -> Path:
    return directory.parent / f".{record['address']}.verified.json"


def _known(place: Path) -> Seen:
    try:
        return {**read_json(place), **_seen_here.get(place, {})}
    except InputError:  # missing or damaged: all files are read again
        return dict(_seen_here.get(place, {}))


def _keep(place: Path, seen: Seen) -> None:
    _seen_here[place] = seen
    with suppress(OSError):  # another user's directory, or a full disk: other processes read all files again
        write_json(place, seen)
