"""Part ``damage``: every kind of damage to every file of every artifact, and of exported directories.

Each case damages one file, reads it, and compares the result with that of the undamaged file. The shrunk pipeline is
built once. The cases run in one worker process, which is started again if it dies or hangs. A damaged file is read in
one of four ways:

- ``build``: the next stage is run again, as a user would do it, and its files are compared;
- ``build, as large``: the same, as if the files were so large that only their sizes are checked when they are opened;
- ``read``: the library opens the directory (``Index.open``, ``ColBERT.load``);
- ``exported``: the same for directories without a record, that is copies and conversions to other layouts. They have no
  checksums to compare with, so another result counts as ``unrecorded``, not as ``silent``.
"""

import json
import math
import multiprocessing
import shutil
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from colbertv2.files import read_json, write_json
from experiments.torture.campaign import Outcome
from experiments.torture.reading import CONVERTED, Reply, work_off

COUNT = 3000
SECONDS = 120  # after which a case counts as hanging
PIPELINE = ("+demo=stdlib", "denoising.margin=-1")
BLOCK = 64  # bytes in a block of zeros


@dataclass
class Setting:
    """What all cases share: the directory with the pristine and the damaged store, the files, and the worker."""

    work: Path
    files: list[tuple[str, str]]  # how a file is read, and its path relative to the store
    worker: "Worker" = field(init=False)

    def __post_init__(self) -> None:
        self.worker = Worker(self.work)


class Worker:
    """A process that reads damaged files; it starts when it is first used, and again after it died or was killed."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.process: Any = None
        self.connection: Connection

    def ask(self, *question: Any, seconds: float = SECONDS) -> Reply:
        """Send a question and wait for the reply; the verdict is ``crash`` or ``hang`` if none comes."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.connection, other = context.Pipe()
            self.process = context.Process(target=work_off, args=(other, self.work), daemon=True)
            self.process.start()
            other.close()
        try:
            self.connection.send(question)
            if self.connection.poll(seconds):
                return self.connection.recv()
        except EOFError:
            self.process.join()
            code, self.process = self.process.exitcode, None
            return Reply("crash", f"exit code {code}")
        self.stop()
        return Reply("hang", f"no answer in {seconds} s")

    def stop(self) -> None:
        """Kill the process if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def prepare(work: Path, pipeline: tuple[str, ...] = PIPELINE) -> Setting:
    """Build the shrunk pipeline in a new process, and the results that the cases are compared with."""
    if not (work / "setting.json").is_file():
        for name in ("store", "pristine"):
            shutil.rmtree(work / name, ignore_errors=True)
        maker = Worker(work)
        made = maker.ask("prepare", list(pipeline), seconds=1800)
        maker.stop()
        if made.verdict != "same":
            raise RuntimeError(f"The shrunk pipeline could not be built: {made.detail}")
        write_json(work / "setting.json", {"files": damageable(work / "pristine", made.value)})
    files = [(how, file) for how, file in read_json(work / "setting.json")["files"]]
    return Setting(work, files)


def damageable(pristine: Path, ways: dict[str, list[str]]) -> list[tuple[str, str]]:
    """All pairs of a way to read a directory and a file in it."""
    return [
        (how, file.relative_to(pristine).as_posix())
        for place, hows in sorted(ways.items())
        for file in sorted((pristine / place).rglob("*"))
        if file.is_file() and not file.name.startswith(".")
        for how in hows
    ]


def run(setting: Setting, random: Random, work: Path) -> Outcome:
    """Damage a file, read it, and restore everything."""
    how, name = random.choice(setting.files)
    pristine, store = work / "pristine", work / "store"
    directory = "/".join(name.split("/")[:2])
    kind = random.choice([kind for kind in KINDS if applies(kind, name)])
    title = f"{kind}, {CONVERTED if how == CONVERTED else 'artifact'}"
    damaged = KINDS[kind](pristine / name, random)
    if damaged == (pristine / name).read_bytes():
        return Outcome(title, "same", f"{name}: nothing to change")
    if damaged is None:
        (store / name).unlink()
    else:
        (store / name).write_bytes(damaged)
    reply = setting.worker.ask(how, directory, name, random.random())
    if reply.value is None:  # it died, so it is unknown what it has written
        shutil.rmtree(store)
        shutil.copytree(pristine, store)
    else:
        for place in [directory, *reply.value]:
            restore(pristine / place, store / place)
    return Outcome(title, reply.verdict, f"{how} {name}: {reply.detail}")


def restore(pristine: Path, place: Path) -> None:
    """Restore ``place``, and delete what a build left next to it."""
    for left in place.parent.glob(f".{place.name}.*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(pristine, place)


def applies(kind: str, name: str) -> bool:
    """Whether a kind of damage makes sense for a file with this name."""
    is_json = name.endswith(".json")
    return (not kind.startswith("JSON") or is_json) and (kind not in TEXTUAL or is_json or name.endswith(TEXTS))


TEXTUAL, TEXTS = ("byte order mark", "other line endings"), (".txt", ".trec", ".csv", ".jsonl", ".md", ".tsv")


def flipped(mask: int | None):
    """Make a damage that changes the bits ``mask`` of a random byte; None changes random bits."""

    def damage(file: Path, random: Random) -> bytes:
        content = bytearray(file.read_bytes())
        if content:
            content[random.randrange(len(content))] ^= mask or random.randrange(1, 256)
        return bytes(content)

    return damage


def zeroed(file: Path, random: Random) -> bytes:
    """Replace a block with zeros, as a file system may after a crash."""
    content = bytearray(file.read_bytes())
    start = random.randrange(max(1, len(content) - BLOCK))
    end = min(start + BLOCK, len(content))
    content[start:end] = bytes(end - start)
    return bytes(content)


def swapped(file: Path, random: Random) -> bytes:
    """Take the file with this name from another artifact, of the same stage if there is one."""
    store = next(parent for parent in file.parents if parent.name == "pristine")
    others = [one for one in sorted(store.rglob(file.name)) if one != file and one.is_file()]
    same = [one for one in others if one.relative_to(store).parts[0] == file.relative_to(store).parts[0]]
    return random.choice(same or others).read_bytes() if others else b""


def changed(values: tuple[Any, ...]):
    """Make a damage that replaces one value of a JSON file with one of ``values``."""

    def damage(file: Path, random: Random) -> bytes:
        content = json.loads(file.read_bytes())
        holders = [(one, key) for one in _containers(content) for key in _keys(one)]
        if holders:
            holder, key = random.choice(holders)
            holder[key] = random.choice(values)
        return json.dumps(content).encode()

    return damage


def without_key(file: Path, random: Random) -> bytes:
    """Delete one value of a JSON file."""
    content = json.loads(file.read_bytes())
    holders = [one for one in _containers(content) if one]
    if holders:
        holder = random.choice(holders)
        del holder[random.choice(_keys(holder))]
    return json.dumps(content).encode()


def _keys(container: Any) -> list[Any]:
    return list(container) if isinstance(container, dict) else list(range(len(container)))


def _containers(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = [value] if isinstance(value, dict | list) else []
    return [*own, *(one for part in inner for one in _containers(part))]


KINDS = {
    "flipped bit": flipped(1),
    "flipped byte": flipped(None),
    "cut short": lambda file, random: file.read_bytes()[: random.randrange(max(1, file.stat().st_size))],
    "emptied": lambda file, random: b"",
    "removed": lambda file, random: None,
    "a block of zeros": zeroed,
    "bytes appended": lambda file, random: file.read_bytes() + random.choice([b"\0", b"\n", b"x" * BLOCK]),
    "swapped": swapped,
    "random bytes": lambda file, random: random.randbytes(max(1, file.stat().st_size)),
    "JSON: another type": changed(("text", [], {}, None, True, 3, -2.5)),
    "JSON: another number": changed((math.nan, math.inf, -1, 0, 10**30, 1e300)),
    "JSON: a value less": without_key,
    "byte order mark": lambda file, random: b"\xef\xbb\xbf" + file.read_bytes(),
    "other line endings": lambda file, random: file.read_bytes().replace(b"\n", b"\r\n"),
}
