"""Part ``kills``: kill the shrunk pipeline at random moments of training, encoding, indexing, searching or evaluating.

Training and encoding use two processes. A case is a chain of runs: each is killed by the same signal, and the next one
continues where it was interrupted; the last one may finish. Only the main process gets the signal, so that child
processes which survive it are found. Needs Linux (``/proc``).
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from colbertv2.files import read_json, write_json
from experiments.torture.campaign import Digests, Outcome, digests
from tests.support import shrunk, tiny_bert, tiny_folder

COUNT = 45
UNDISTURBED = 2  # runs without kills; the first one compiles, and the last one is timed
KILLS = 5  # kills per chain, unless a run finishes before
SIGNALS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}  # signal → exit code
PROMPT = 2  # seconds within which a signal must end the command
GRACE = 5  # seconds within which its child processes must end
TIMEOUT = 900
MARK = "COLBERTV2_TORTURE"  # a variable that every process of a case inherits


@dataclass(frozen=True)
class Setting:
    """What all chains share.

    Args:
        overrides: of the pipeline, without the root of its artifacts.
        expected: the digests of a run without kills.
        seconds: the duration of a run without kills.
    """

    overrides: list[str]
    expected: Digests
    seconds: float


def prepare(work: Path) -> Setting:
    """Run the pipeline without kills, and record its duration and digests."""
    folder, backbone, root = work / "folder", work / "backbone", work / "undisturbed"
    if not folder.is_dir():
        tiny_folder(folder)
    if not backbone.is_dir():
        shutil.copytree(tiny_bert(), backbone)
    overrides = [
        word for word in shrunk(folder, root) if not word.startswith(("runtime.root=", "model.backbone.name="))
    ]
    overrides += [f"model.backbone.name={backbone}", "pipeline=round1", "target=metrics"]
    overrides += ["runtime.devices=2", "runtime.shard_documents=12"]
    record = work / "undisturbed.json"
    if not record.is_file():
        shutil.rmtree(root, ignore_errors=True)
        for place in (*(work / f"warm{number}" for number in range(1, UNDISTURBED)), root):
            begun = time.monotonic()
            process = started(overrides, place, work, "undisturbed")
            _, error = process.communicate()
            if process.returncode:
                raise RuntimeError(f"The undisturbed run ended with {process.returncode}: {error[-2000:]}")
        write_json(record, {"seconds": time.monotonic() - begun})
    return Setting(overrides, digests(root), read_json(record)["seconds"])


def run(setting: Setting, draw: random.Random, work: Path) -> Outcome:
    """Run one chain."""
    number = draw.choice(list(SIGNALS))
    moments = [draw.uniform(0.02, 0.5) * setting.seconds for _ in range(KILLS)]
    with TemporaryDirectory(dir=work) as directory:
        root, temporary = Path(directory) / "artifacts", Path(directory) / "temporary"
        temporary.mkdir()
        done, verdict, detail = chain(setting.overrides, number, moments, root, temporary)
        kind = f"{number.name}, then the same command"
        if verdict == "same" and digests(root) != setting.expected:
            changed = [name for name in setting.expected if digests(root).get(name) != setting.expected[name]]
            verdict, detail = "differs", f"{', '.join(changed)}"
        left = [*temporary.iterdir(), *(path for path in root.rglob(".*") if path.suffix != ".lock")]
        if verdict == "same" and left:
            verdict, detail = "orphan", f"left: {', '.join(str(path.relative_to(directory)) for path in left)}"
    return Outcome(kind, verdict, f"{done} kills. {detail}")


def number_of(outcome: Outcome) -> int:
    """Return how many runs of a chain were killed."""
    return int(outcome.detail.split()[0])


def chain(
    overrides: list[str], number: signal.Signals, moments: list[float], root: Path, temporary: Path
) -> tuple[int, str, str]:
    """Kill a run at each moment (seconds after its start), then let one finish. Returns kills, verdict, detail."""
    mark, done = f"{os.getpid()}-{temporary}", 0
    for moment in [*moments, None]:
        process = started(overrides, root, temporary, mark)
        try:
            _, error = process.communicate(timeout=TIMEOUT if moment is None else moment)
            if process.returncode:
                verdict = "traceback" if "Traceback" in error else "crash"
                return done, verdict, f"exit code {process.returncode} of its own: {error[-1500:]}"
            break
        except subprocess.TimeoutExpired:
            pass
        if moment is None:
            end_all(mark)
            return done, "hang", f"no end within {TIMEOUT} s after the kills"
        process.send_signal(number)
        done += 1
        try:
            process.wait(timeout=PROMPT)
        except subprocess.TimeoutExpired:
            end_all(mark)
            return done, "hang", f"alive {PROMPT} s after {number.name}, which came after {moment:.1f} s"
        deadline = time.monotonic() + GRACE
        while (alive := living(mark)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if alive:
            end_all(mark)
            return done, "orphan", f"alive {GRACE} s after {number.name} at {moment:.1f} s: {'; '.join(alive.values())}"
        _, error = process.communicate()
        if "Traceback" in error:
            return done, "traceback", f"at {moment:.1f} s: {error[-1500:]}"
        if process.returncode not in (SIGNALS[number], 0, -number):  # before Python starts, the signal itself kills it
            return done, "crash", f"exit code {process.returncode} after {number.name} at {moment:.1f} s"
    return done, "same", ""


def started(overrides: list[str], root: Path, temporary: Path, mark: str) -> subprocess.Popen[str]:
    """Start the command in a new process, with its temporary files under ``temporary``."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # the child of a background job would ignore it
    compiled = (
        next(word for word in overrides if word.startswith("collection.path=")).partition("=")[2] + "/../compiled"
    )
    own = {MARK: mark, "TMPDIR": str(temporary), "NUMBA_CACHE_DIR": compiled, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(
        [sys.executable, "-m", "colbertv2", *overrides, f"runtime.root={root}"],
        env={**os.environ, **own, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    signal.signal(signal.SIGINT, handler)
    return process


def living(mark: str) -> dict[int, str]:
    """The living processes that inherited ``mark``: process id → command."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            variables = (place / "environ").read_bytes().split(b"\0")
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            if f"{MARK}={mark}".encode() in variables and state != "Z":
                found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:120]
        except OSError:  # it has just ended, or is another user's
            continue
    return found


def end_all(mark: str) -> None:
    """Kill the processes that a case left, so that they do not disturb the next one."""
    for number in living(mark):
        os.kill(number, signal.SIGKILL)
