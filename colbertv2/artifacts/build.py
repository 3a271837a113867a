"""Build the artifact of a node, or reuse it if it exists.

A build takes a lock, lets the stage fill a temporary directory, writes ``artifact.json``, and renames the directory to
its final name. There is one lock per address, and a job looks for the artifact again once it holds the lock: parallel
jobs of a sweep that share ancestors build each of them once. A build that is interrupted or killed never leaves
anything that looks like a complete artifact.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact, code_state, location, write_record
from colbertv2.artifacts.integrity import RECORD
from colbertv2.artifacts.node import Component, Node, transform
from colbertv2.artifacts.process import byte_size, device_name, peak_memory, reset_peak_memory
from colbertv2.artifacts.validate import validate
from colbertv2.errors import InputError
from colbertv2.files import read_json, remove_partials, write_json
from colbertv2.lifetime import locked
from colbertv2.refusals import machine_refusals
from colbertv2.runtime import Runtime


class BuildError(RuntimeError):
    """A stage failed. The message names the stage; ``__cause__`` is the error it raised."""


@dataclass(frozen=True)
class PlanStep:
    """One node of a plan.

    Args:
        key: its place in the configuration, such as ``pipeline.index``.
        stage: name of its stage.
        address: name of its artifact.
        cached: whether the artifact exists already.
    """

    key: str
    stage: str
    address: str
    cached: bool


def plan_node(node: Node, root: Path) -> list[PlanStep]:
    """One step for a node and for each of its ancestors, parents first, with whether its artifact exists.

    Raises:
        InputError: the configuration is wrong.
    """
    validate(node)
    steps = {
        step.address: PlanStep(step.key, step.stage.name, step.address, Artifact.present(location(root, step.address)))
        for step in node.lineage()
    }
    return list(steps.values())


def to_build(targets: Sequence[Node], root: Path) -> list[Node]:
    """The nodes that a build of ``targets`` runs, parents first: missing ones that a target or a missing node reads."""
    steps = {step.address: step for target in targets for step in target.lineage()}
    read, needed = {target.address for target in targets}, []
    for address, node in reversed(steps.items()):
        if address in read and not Artifact.present(location(root, address)):
            read |= {parent.address for parent in node.parents.values()}
            needed.append(node)
    return needed[::-1]


def build_node(node: Node, runtime: Runtime, done: dict[str, Artifact] | None = None) -> Artifact:
    """Return the artifact of a node. Reuse it if it is complete; otherwise build it, after its missing ancestors.

    The ancestors of a complete artifact are not needed: they may have been deleted to save space.

    Args:
        node: the node to build.
        runtime: where and how.
        done: artifacts by address that are used as they are and not reported again; those that are built are added.

    Raises:
        InputError: the configuration is wrong, this machine lacks what a stage needs, or a stage refused its input.
        BuildError: a stage failed.
    """
    validate(node)
    lacking: list[str] = []
    for step in to_build([node], runtime.root):
        if step.stage.lacks is not None:
            lacking += [f"{step.key}: {lack}" for lack in step.stage.lacks(**step.bound)]
    if lacking:
        raise InputError("\n".join(dict.fromkeys(lacking)))
    return _build(node, runtime, {} if done is None else done)


def _build(node: Node, runtime: Runtime, done: dict[str, Artifact]) -> Artifact:
    if node.address not in done:
        path = location(runtime.root, node.address)
        cached = Artifact.present(path)
        if not cached:
            if path.exists() and not Artifact.present(path):  # checked again: another process may just have finished
                raise InputError(f"{path} has no {RECORD}, so it is not complete; move it away and build again.")
            for parent in node.parents.values():
                _build(parent, runtime, done)
            with _failures_reported(node, path), locked(path.with_name(f".{path.name}.lock"), path.name):
                cached = Artifact.present(path)  # the process that held the lock before may have built it
                if not cached:
                    _fill(node, path, done, runtime)
        done[node.address] = Artifact.open(path)
        record = done[node.address].record
        note = "cached" if cached else f"built in {record['seconds']:.1f} s, {byte_size(record['bytes'])}"
        print(f"{node.key}: {node.address} {note}", flush=True)
    return done[node.address]


def _fill(node: Node, path: Path, artifacts: dict[str, Artifact], runtime: Runtime) -> None:
    partial = path.with_name(f".{path.name}.partial")
    if not node.stage.resumable:
        shutil.rmtree(partial, ignore_errors=True)
    resumed = partial.exists()
    partial.mkdir(parents=True, exist_ok=True)
    remove_partials(partial)
    (partial / RECORD).unlink(missing_ok=True)  # left if a run was killed between the record and the rename
    runtime.prepare()
    reset_peak_memory()
    code, start = code_state(), time.perf_counter()
    _run(node, artifacts, partial, runtime)
    measured = {"device": device_name(runtime), "peak_memory": peak_memory(), "resumed": resumed}
    write_record(partial, node, time.perf_counter() - start, code, measured)
    partial.rename(path)
    _failure_file(path).unlink(missing_ok=True)


@contextmanager
def _failures_reported(node: Node, path: Path) -> Iterator[None]:
    """Add the failing node to the message of an error, and note the failure in a file next to the missing artifact."""
    where = f"{node.key} (stage {node.stage.name}, {node.address})"
    try:
        with machine_refusals(path):
            yield
    except InputError as error:
        _note_failure(path, f"{where}: {error}")
        raise InputError(f"{where}: {error}") from error
    except Exception as error:
        what = f"{where} failed with {type(error).__name__}: {error}"
        _note_failure(path, what)
        raise BuildError(f"{what}\nIts unfinished files are in .{path.name}.partial next to {path}.") from error


def failure_of(path: Path) -> str | None:
    """Why the last attempt to build the artifact at ``path`` failed; ``None`` if no attempt failed, or if it exists."""
    if Artifact.present(path):
        return None
    try:
        return str(read_json(_failure_file(path))["error"])
    except (InputError, KeyError):
        return None


def _failure_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.failed.json")


def _note_failure(path: Path, error: str) -> None:
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with suppress(OSError):  # a full disk may be the failure itself
        write_json(_failure_file(path), {"error": error, "when": when})


def _run(node: Node, artifacts: dict[str, Artifact], out: Path, runtime: Runtime) -> None:
    """Call the stage in this process. To run stages in processes of their own, change only this function."""

    def given(leaf: object) -> object:
        if isinstance(leaf, Node):
            return artifacts[leaf.address]
        return leaf.build() if isinstance(leaf, Component) else leaf

    node.stage.function(**transform(node.values, given), out=out, runtime=runtime.building(node.settings))
