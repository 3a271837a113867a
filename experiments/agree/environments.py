"""Virtual environments of the systems we compare with: their pins clash with ours and with each other's.

Each is made once from ``peers/<name>.txt`` under ``.peers/`` and made anew when that file changes.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
COLBERT_AI, PYLATE = "colbert-ai", "pylate"


class Peer:
    """Another system, with its own Python; ``run`` executes a script of ``peers/`` in it.

    Args:
        name: of a requirements file in ``peers/``: ``colbert-ai``, ``pylate`` or ``lightning-ir``. Blocks of it that
            are separated by an empty line are installed one after the other; one that begins with ``# no-deps`` without
            dependencies.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.requirements = HERE / "peers" / f"{name}.txt"
        self.directory = Path(os.environ.get("PEERS", ROOT / ".peers")) / name
        self.python = self.directory / "bin" / "python"

    def install(self) -> None:
        """Make the environment, unless it stands and its requirements have not changed."""
        digest = hashlib.sha256(self.requirements.read_bytes()).hexdigest()
        mark = self.directory / ".installed"
        if mark.is_file() and mark.read_text() == digest:
            return
        print(f"Installing {self.name} into {self.directory} (minutes, gigabytes)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.directory)], check=True)
        for block in self.requirements.read_text().strip().split("\n\n"):
            packages = [line for line in block.splitlines() if not line.startswith("#")]
            options = ["--no-deps"] if block.startswith("# no-deps") else []
            subprocess.run([self.python, "-m", "pip", "install", "--quiet", *options, *packages], check=True)
        mark.write_text(digest)

    def run(self, script: str | Path, *arguments: Any) -> None:
        """Run ``peers/<script>.py``, or the file at a path, with these arguments, on the CPU and without a network.

        Raises:
            RuntimeError: it failed; the end of its output is in the message.
        """
        file = script if isinstance(script, Path) else HERE / "peers" / f"{script}.py"
        environment = {
            **{key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")},
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            # For ninja, with which colbert-ai compiles at first use.
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            [self.python, file, *map(str, arguments)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{self.name}: {file.name} failed:\n{done.stdout[-4000:]}")


class Ours(Peer):
    """This project in the Python that runs now, so that it can be timed in a process of its own like the others."""

    def __init__(self) -> None:
        self.name, self.python, self.directory = "colbertv2", Path(sys.executable), Path(sys.prefix)

    def install(self) -> None:
        """Nothing to do."""
