"""Part ``disks``: full disks, read-only and forbidden directories, and limited file sizes, wherever a run writes.

Each case runs the shrunk pipeline with an obstacle, and again after the obstacle was removed. The first run must end
with the right result or a message; the second with the right result. Mounts are made in a namespace of each case, so
none remains. This needs Linux and the permission to mount; without it, every case says so and counts as ``refused``.
"""

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from colbertv2.files import read_json
from experiments.torture.campaign import Digests, Outcome, digests
from tests.support import shrunk, tiny_bert, tiny_folder

COUNT = 60
PLACES = ("artifacts", "temporary", "collections", "compiled", "published", "working")
PIPELINES = (["pipeline=untrained"], ["pipeline=untrained"], ["pipeline=round1"])
LARGEST = 1_200  # KiB, about as much as the shrunk pipeline writes
TIMEOUT = 240
PREVENTED = 90  # exit code of a script whose mount failed


def prepare(work: Path) -> list[tuple[list[str], Digests]]:
    """The overrides of every pipeline, and the digests of a run without obstacles."""
    folder, backbone = work / "folder", work / "backbone"
    if not folder.is_dir():
        tiny_folder(folder)
    if not backbone.is_dir():
        shutil.copytree(tiny_bert(), backbone)
    undisturbed: dict[str, Digests] = {}
    setting = []
    for pipeline in PIPELINES:
        overrides = [*shrunk(folder, Path("ROOT")), *pipeline, f"model.backbone.name={backbone}", "target=metrics"]
        overrides = [word for word in overrides if not word.startswith(("runtime.root=", "publish="))]
        if (name := " ".join(pipeline)) not in undisturbed:  # what is drawn more often is built once
            root = work / f"undisturbed-{len(undisturbed)}"
            words = [sys.executable, "-m", "colbertv2", *overrides, f"runtime.root={root}"]
            # With as many threads as in the cases, since their number moves the last bits of a training.
            variables = {**os.environ, "NUMBA_CACHE_DIR": str(work / "compiled"), "OMP_NUM_THREADS": "1"}
            subprocess.run(words, check=True, capture_output=True, timeout=TIMEOUT, env=variables)
            undisturbed[name] = digests(root)
        setting.append((overrides, undisturbed[name]))
    return setting


def run(setting: list[tuple[list[str], Digests]], draw: random.Random, work: Path) -> Outcome:
    """Run one case: one obstacle at one place."""
    overrides, expected = draw.choice(setting)
    place, obstacle = draw.choice(PLACES), draw.choice(["full", "read-only", "forbidden", "limited"])
    kind = f"{obstacle}: {place}" if obstacle != "limited" else "limited size of files"
    with TemporaryDirectory(dir=work) as directory:
        places = {name: Path(directory) / name for name in PLACES}
        if place != "compiled":  # compiling takes most of the time, so it is done once
            places["compiled"] = work / "compiled"
        script = script_of(obstacle, place, places, overrides, draw)
        try:
            done = subprocess.run(
                ["unshare", "--mount", "bash", "-c", script],
                env=environment(places), capture_output=True, text=True, timeout=2 * TIMEOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Outcome(kind, "hang", script)
        if "unshare: " in done.stderr or done.returncode == PREVENTED:
            return Outcome(kind, "refused", "not tried: this user may not mount")
        first, _, second = done.stderr.partition("== obstacle gone\n")
        code = int(done.stdout.rpartition("first run: ")[2].split()[0])
        detail = f"{script.splitlines()[1]}: {' '.join(first.split())[-400:]}"
        if "Traceback" in done.stderr:
            return Outcome(kind, "traceback", f"{detail} {second[-300:]}")
        if code not in (0, 2):
            return Outcome(kind, "crash", f"exit code {code}: {detail}")
        if done.returncode:
            return Outcome(kind, "crash", f"after the obstacle was gone: {second[-500:]}")
        found = read_json(Path(directory) / "digests.json")
        if found != expected:
            return Outcome(kind, "differs", detail)
        return Outcome(kind, "refused" if code else "same", detail)


def environment(places: dict[str, Path]) -> dict[str, str]:
    """The environment variables of a run that writes only to ``places``."""
    changed = {"TMPDIR": "temporary", "IR_DATASETS_HOME": "collections", "NUMBA_CACHE_DIR": "compiled"}
    variables = {variable: str(places[name]) for variable, name in changed.items()}
    return {**os.environ, **variables, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}


def script_of(obstacle: str, place: str, places: dict[str, Path], overrides: list[str], draw: random.Random) -> str:
    """The shell commands of a case; the second line is the obstacle."""
    own = [f"runtime.root={places['artifacts']}", f"publish={places['published']}/files"]
    command = shlex.join([sys.executable, "-m", "colbertv2", *overrides, *own])
    digest = shlex.join([sys.executable, "-m", "experiments.torture.disks", str(places["artifacts"])])
    where, prefix = shlex.quote(str(places[place])), ""
    if obstacle == "full":
        made = f"mount -t tmpfs -o size={draw.randrange(4, LARGEST)}k tmpfs {where} || exit {PREVENTED}"
        lifted = f"mount -o remount,size=500m {where}"
    elif obstacle == "read-only":
        made = f"mount --bind {where} {where} && mount -o remount,ro,bind {where} || exit {PREVENTED}"
        lifted = f"mount -o remount,rw,bind {where}"
    elif obstacle == "forbidden":  # also for root, whose capabilities are dropped
        made, lifted = f"chmod 000 {where}", f"chmod 755 {where}"
        prefix = "setpriv --bounding-set=-dac_override,-dac_read_search "
    else:
        made, lifted = f"ulimit -S -f {draw.randrange(1, 200)}", "ulimit -S -f unlimited"
    here = shlex.quote(os.getcwd())
    return f"""mkdir -p {" ".join(shlex.quote(str(path)) for path in places.values())}
{made}
cd {shlex.quote(str(places["working"]))} 2> /dev/null || cd {here}
{prefix}{command}
echo "first run: $?"
{lifted}
echo "== obstacle gone" >&2
cd {shlex.quote(str(places["working"]))}
{command} || exit $?
cd {here}
{digest} > {shlex.quote(str(places["working"].parent / "digests.json"))}"""


if __name__ == "__main__":
    print(json.dumps(digests(Path(sys.argv[1]))))
