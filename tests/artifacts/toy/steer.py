"""What all toy stages do in addition to their work: leave a trace, and fail or take long if a test asks for it."""

import time
from pathlib import Path


def trace(name: str, root: Path) -> None:
    with (root / "runs.log").open("a") as log:
        log.write(f"{name}\n")
    if (root / f"fail-{name}").exists():
        raise RuntimeError("the disk is full")
    if (root / f"slow-{name}").exists():
        time.sleep(float((root / f"slow-{name}").read_text()))
