"""Virtual environments of the systems that we compare with; their pinned versions conflict with ours and each other's.

Each environment is made once under ``.peers/`` from ``peers/<name>.txt``, and again when that file changes.
"""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
THREAD_VARIABLES = [f"{library}_NUM_THREADS" for library in ("OMP", "MKL", "OPENBLAS", "RAYON", "NUMBA")]
COLBERT_AI, PYLATE, SENTENCE_TRANSFORMERS = "colbert-ai", "pylate", "sentence-transformers"
XTR_WARP = "torch-2.11"  # the environment of the engines that link this torch


class Peer:
    """Another system with its own Python, installed at first use; ``run`` executes a script of ``peers/`` in it.

    Args:
        name: the name of a requirements file in ``peers/``, such as ``colbert-ai``. Empty lines separate its blocks,
            which are installed one after the other. A block that begins with ``# no-deps`` is installed without
            dependencies; a block that begins with ``# platform <tag>:`` too, from its wheels for that platform.
    """

    environment: ClassVar[Mapping[str, str]] = {}  # added to the environment of this process

    def __init__(self, name: str) -> None:
        self.name = name
        self.requirements = HERE / "peers" / f"{name}.txt"
        self.directory = Path(os.environ.get("PEERS", ROOT / ".peers")) / name
        self.python = self.directory / "bin" / "python"

    def install(self) -> None:
        """Make the environment, unless it exists and its requirements have not changed.

        Raises:
            RuntimeError: pip failed; its last error is in the message.
        """
        digest = hashlib.sha256(self.requirements.read_bytes()).hexdigest()
        mark = self.directory / ".installed"
        if mark.is_file() and mark.read_text() == digest:
            return
        print(f"Installing {self.name} into {self.directory} (minutes, gigabytes)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.directory)], check=True)
        for block in self.requirements.read_text().strip().split("\n\n"):
            packages = [line for line in block.splitlines() if not line.startswith("#")]
            command = [self.python, "-m", "pip", "install", "--quiet", *self.options(block), *packages]
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if line.lower().startswith("error")]
                raise RuntimeError(f"{self.name}: pip failed:\n{done.stderr[-4000:]}\n{' '.join(errors[-1:])}")
        mark.write_text(digest)

    def options(self, block: str) -> list[str]:
        """The options of pip for a block of the requirements."""
        if platform := re.match(r"# platform (\w+):", block):
            target = next(self.directory.glob("lib/python*/site-packages"))
            return ["--no-deps", "--only-binary", ":all:", "--platform", platform[1], "--target", str(target)]
        return ["--no-deps"] if block.startswith("# no-deps") else []

    def run(self, script: str | Path, *arguments: Any, threads: int | None = None) -> None:
        """Run a script with these arguments, on the CPU and without a network; install the system first if need be.

        Args:
            script: the name of a script, ``peers/<script>.py``, or the path of a file.
            arguments: of the script.
            threads: for every library that reads it from the environment; None leaves the libraries' defaults.

        Raises:
            RuntimeError: the system can't be installed, or the script failed; the end of the output is in the message.
        """
        self.install()
        file = script if isinstance(script, Path) else HERE / "peers" / f"{script}.py"
        environment = {
            **{key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")},
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            # colbert-ai compiles code with ninja when it is first used.
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            **self.environment,
            **({} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))),
        }
        done = subprocess.run(
            [self.python, file, *map(str, arguments)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{self.name}: {file.name} failed:\n{done.stdout[-4000:]}")


class Peers(NamedTuple):
    """The systems that a part of the comparison may run."""

    colbert_ai: Peer
    pylate: Peer
    sentence_transformers: Peer
    xtr_warp: Peer


class Ours(Peer):
    """This project in the current Python, so that it can be timed in a process of its own like the others."""

    environment: ClassVar[Mapping[str, str]] = {"PYTHONPATH": str(ROOT)}

    def __init__(self) -> None:
        self.name, self.python, self.directory = "colbertv2", Path(sys.executable), Path(sys.prefix)

    def install(self) -> None:
        """Nothing to do."""
