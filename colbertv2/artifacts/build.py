"""Build the artifact of a node, or reuse it if it exists.

A build takes a lease, lets the stage fill a temporary directory, writes ``artifact.json``, and renames the directory to
its final name. There is one lease per address, and a job looks for the artifact again once it holds the lease: parallel
jobs of a sweep that share ancestors build each of them once, on whatever machine they run. A build that is interrupted
or killed never leaves anything that looks like a complete artifact.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact, code_state, location, write_record
from colbertv2.artifacts.integrity import RECORD
from colbertv2.artifacts.node import Component, Node, transform
from colbertv2.artifacts.process import byte_size, device_name, peak_memory, reset_peak_memory
from colbertv2.artifacts.validate import validate
from colbertv2.division import Paused, clear
from colbertv2.errors import InputError
from colbertv2.files import flush_to_disk, read_json, remove_partials, write_json
from colbertv2.lease import Lease, held
from colbertv2.lifetime import Preempted, is_warned
from colbertv2.parts import wait_for_workers
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


def build_node(
    node: Node,
    runtime: Runtime,
    done: dict[str, Artifact] | None = None,
    remark: Callable[[str, float], str] | None = None,
) -> Artifact:
    """Return the artifact of a node. Reuse it if it is complete; otherwise build it, after its missing ancestors.

    The ancestors of a complete artifact are not needed: they may have been deleted to save space.

    Args:
        node: the node to build.
        runtime: where and how.
        done: artifacts by address that are used as they are and not reported again; those that are built are added.
        remark: called with the address of each step that is built and its seconds (0 if another process built it); what
            it returns ends the line that reports the step.

    Raises:
        InputError: the configuration is wrong, this machine lacks what a stage needs, or a stage refused its input.
        BuildError: a stage failed.
    """
    validate(node)
    runtime.provide(to_build([node], runtime.root))
    _refuse_lacking(to_build([node], runtime.root))  # what is built elsewhere needs nothing of this machine
    return _build(node, runtime, {} if done is None else done, remark)


def build_phase(node: Node, runtime: Runtime) -> Artifact | None:
    """Do one phase of a validated node, ``runtime.phase``, and return its artifact if it is complete then.

    Only a stage that divides has other phases than ``all``. The phase ``work`` takes no lock, as several processes do
    it at the same time. So the jobs of a stage must run in their order: ``prepare`` (only if the stage prepares
    something), any number of ``work``, ``finish``.

    Args:
        node: the node of the stage; the artifacts it reads must exist.
        runtime: where, how, and which phase.

    Raises:
        InputError: as in :func:`build_node`, or an artifact that the stage reads does not exist.
        BuildError: the stage failed.
    """
    if runtime.phase == "all":
        return _build(node, runtime, {}, None)
    path = location(runtime.root, node.address)
    if not Artifact.present(path):
        _refuse_lacking([node])
        places = {parent.address: location(runtime.root, parent.address) for parent in node.parents.values()}
        parents = {address: Artifact.open(place) for address, place in places.items()}
        with _failures_reported(node, path):
            if runtime.phase == "work":
                _fill(node, path, parents, runtime, None)
                return None
            with held(path.with_name(f".{path.name}.lease"), path.name) as lease:
                if not Artifact.present(path) and not _fill(node, path, parents, runtime, lease):
                    return None
    return Artifact.open(path)


def _refuse_lacking(nodes: Sequence[Node]) -> None:
    """Raise InputError if this machine lacks something to run the stages of ``nodes``."""
    lacking: list[str] = []
    for step in nodes:
        if step.stage.lacks is not None:
            lacking += [f"{step.key}: {lack}" for lack in step.stage.lacks(**step.bound)]
    if lacking:
        raise InputError("\n".join(dict.fromkeys(lacking)))


def _build(
    node: Node, runtime: Runtime, done: dict[str, Artifact], remark: Callable[[str, float], str] | None
) -> Artifact:
    if node.address not in done:
        path = location(runtime.root, node.address)
        found = cached = Artifact.present(path)
        if not found:
            if path.exists() and not Artifact.present(path):  # checked again: another process may just have finished
                raise InputError(f"{path} has no {RECORD}, so it is not complete; move it away and build again.")
            if failure := runtime.failure(node):
                raise failure
            for parent in node.parents.values():
                _build(parent, runtime, done, remark)
            if is_warned():  # by a signal that came when a training was done but for its last files
                raise Preempted(f"{node.key} was not begun, as this job is about to be ended. Run the same again.")
            with _failures_reported(node, path), held(path.with_name(f".{path.name}.lease"), path.name) as lease:
                cached = Artifact.present(path)  # the process that held the lease before may have built it
                if not cached:
                    _fill(node, path, done, runtime, lease)
        done[node.address] = Artifact.open(path)
        record = done[node.address].record
        note = "cached" if cached else f"built in {record['seconds']:.1f} s, {byte_size(record['bytes'])}"
        if remark is not None and not found:
            note += f" ({remark(node.address, 0 if cached else record['seconds'])})"
        print(f"{node.key}: {node.address} {note}", flush=True)
    return done[node.address]


def _fill(node: Node, path: Path, artifacts: dict[str, Artifact], runtime: Runtime, lease: Lease | None) -> bool:
    """Run a stage, and complete its artifact unless a phase ended before; whether the artifact is complete."""
    partial = path.with_name(f".{path.name}.partial")
    if not (node.stage.resumable or node.stage.divided):
        shutil.rmtree(partial, ignore_errors=True)
    resumed = partial.exists()
    partial.mkdir(parents=True, exist_ok=True)
    if runtime.phase == "all":
        wait_for_workers(partial)
    if runtime.phase != "work":  # in which others write here too
        remove_partials(partial)
        (partial / RECORD).unlink(missing_ok=True)  # left if a run was killed between the record and the rename
    runtime.prepare()
    reset_peak_memory()
    code, start = code_state(), time.perf_counter()
    try:
        _run(node, artifacts, partial, runtime)
    except Paused:
        return False
    measured = {"device": device_name(runtime), "peak_memory": peak_memory(), "resumed": resumed}
    write_record(partial, node, time.perf_counter() - start, code, measured)
    clear(partial)
    flush_to_disk(*partial.rglob("*"), partial)  # else a crash could leave a record without the files
    if lease is not None:
        lease.check()
    partial.rename(path)
    flush_to_disk(path.parent)
    forget_failure(path)
    return True


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


def forget_failure(path: Path) -> None:
    """Forget why an artifact could not be built, as it is about to be tried again."""
    _failure_file(path).unlink(missing_ok=True)


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
