"""Toy stage that reads a mapping of artifacts."""

from pathlib import Path

from toy.steer import trace

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.stage import stage
from colbertv2.runtime import Runtime


@stage(version=1)
def run(systems: dict[str, Artifact], *, measures: list[str], out: Path, runtime: Runtime) -> None:
    rows = [f"| {name} | {(system.path / 'shards' / '0.txt').read_text()} |" for name, system in systems.items()]
    (out / "table.md").write_text("\n".join(rows) + "\n")
    trace("table", runtime.root)
