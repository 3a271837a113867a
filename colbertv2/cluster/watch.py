"""What the jobs of a run do: the state of every stage, shown while a run waits and by ``colbertv2 status``.

Everything is read from the artifact root and from Slurm's queue, so that any process can watch, and none has to.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.build import BuildError, failure_of
from colbertv2.artifacts.node import Node
from colbertv2.cluster.jobs import folder_of, notes_of, prefix_of
from colbertv2.cluster.settings import SlurmSettings
from colbertv2.cluster.slurm import NoAnswer, Queued, queue
from colbertv2.errors import InputError
from colbertv2.parts import progress
from colbertv2.planning.text import duration

PAUSE = 3.0  # seconds between two looks at the queue
OUTAGE = 1800.0  # seconds without an answer of Slurm after which waiting ends
LOG_LINES = 5  # of the log of a failed job that are shown
REASONS = {"None": "to be scheduled", "Priority": "others are before it", "Dependency": "for what it reads"}
REASONS |= {"Resources": "for free machines", "BeginTime": "to be started again"}
VISIBLE = 30.0  # seconds until a file that another node wrote is surely visible here

# Address → why it was not built. What has failed for this process is not submitted by it again.
failed_here: dict[str, Exception] = {}


@dataclass(frozen=True)
class State:
    """What is known of one stage.

    Args:
        node: the node.
        built: whether its artifact is complete.
        queued: its jobs and tasks that Slurm has in its queue.
        parts: how many of its parts are finished, and of how many, if it is being divided.
    """

    node: Node
    built: bool
    queued: Sequence[Queued]
    parts: tuple[int, int] | None

    @property
    def failed(self) -> bool:
        """Whether it is missing, and no job will build it."""
        return not self.built and not self.queued

    def text(self, begun: tuple[int, float] | None = None) -> str:
        """What is shown of it.

        Args:
            begun: how many of its parts were finished when watching began, and how many seconds ago that was.
        """
        if self.built:
            return "built"
        if self.failed:
            return "no job"
        running = [one for one in self.queued if one.runs]
        if not running:
            return f"waits: {', '.join(sorted({REASONS.get(one.reason, one.reason) for one in self.queued}))}"
        if self.parts is None:
            return f"runs on {', '.join(sorted({one.node for one in running}))}"
        waiting = sum(one.name.endswith(".work") and not one.runs for one in self.queued)
        done, number = self.parts
        text = f"tasks: {len(running)} running, {waiting} waiting; {done} of {number} parts"
        if begun is None or done == begun[0]:
            return text
        pace = (done - begun[0]) / begun[1]  # parts per second
        return f"{text}, {60 * pace:.1f} per minute, {duration((number - done) / pace)} left"


def states(nodes: Sequence[Node], runtime: SlurmSettings) -> list[State]:
    """The state of each of ``nodes`` now.

    Raises:
        InputError: there is no Slurm here, or it does not answer.
    """
    # The queue is read first: a job that ends in between has then left its artifact.
    found: dict[str, list[Queued]] = {}
    for one in queue(prefix_of(runtime.root)):
        address = one.name.removeprefix(prefix_of(runtime.root)).partition(".")[0]
        found.setdefault(address, []).append(one)
    result = []
    for node in nodes:
        path = location(runtime.root, node.address)
        built = Artifact.present(path)
        parts = None if built else progress(path.with_name(f".{path.name}.partial"))
        result.append(State(node, built, [] if built else found.get(node.address, []), parts))
    return result


def wait(nodes: Sequence[Node], runtime: SlurmSettings) -> None:
    """Wait until each of ``nodes`` is built or has no job any more, show what changes, and note which failed.

    Raises:
        InputError: Slurm does not answer for ``OUTAGE`` seconds.
    """
    view, missed, silent_since = View(), 0.0, None
    while True:
        try:
            now, silent_since = states(nodes, runtime), None
        except NoAnswer as error:  # jobs go on while the controller is started again
            if silent_since is None:
                silent_since = time.monotonic()
                view.end()
                print(f"Slurm does not answer; waiting for it. {error}", file=sys.stderr, flush=True)
            if time.monotonic() - silent_since > OUTAGE:
                raise
            time.sleep(PAUSE)
            continue
        view.show(now)
        pending = [one for one in now if not one.built and not one.failed]
        lost = [one for one in now if one.failed]
        if not pending and (not lost or missed > VISIBLE or any(refused(one.node, runtime) for one in lost)):
            break
        missed = missed + PAUSE if lost and not pending else 0.0
        time.sleep(PAUSE)
    view.end()
    remember(lost, runtime)


def refused(node: Node, runtime: SlurmSettings) -> str | None:
    """Why the stage itself failed, if it could say so."""
    return failure_of(location(runtime.root, node.address))


def remember(lost: Sequence[State], runtime: SlurmSettings) -> None:
    """Note in ``failed_here`` why each was not built: by its own failure, or by that of a node that it reads."""
    for one in lost:  # parents first
        node = one.node
        above = [failed_here[parent.address] for parent in node.parents.values() if parent.address in failed_here]
        if above and not refused(node, runtime):
            failed_here[node.address] = above[0]
        elif refused(node, runtime) and not failures(node, runtime):  # it refused its input, and was not tried again
            failed_here[node.address] = InputError(describe(node, runtime))
        else:
            failed_here[node.address] = BuildError("\n".join([describe(node, runtime), *tail(node, runtime)]))


def describe(node: Node, runtime: SlurmSettings) -> str:
    """One sentence on why a node has no artifact and no job."""
    jobs = ", ".join(str(note["job"]) for note in noted(node, runtime)) or "none"
    if reason := refused(node, runtime):
        return f"{reason}\nIts jobs: {jobs}."
    times = failures(node, runtime)
    how = "; ".join(times) if times else "its jobs were cancelled, or ended without a message"
    return f"{node.key} (stage {node.stage.name}, {node.address}) was not built: {how}. Its jobs: {jobs}."


def failures(node: Node, runtime: SlurmSettings) -> list[str]:
    """The attempts of a node's last jobs that ended with an error, one line each: time, machine, exit code."""
    found = []
    for note in noted(node, runtime):
        for file in sorted(folder_of(runtime.root).glob(f"{note['job']}*.failures")):
            found += file.read_text(encoding="utf-8").splitlines()
    return found


def tail(node: Node, runtime: SlurmSettings) -> list[str]:
    """The last lines of the log that was written last by a node's jobs, with the path of the log."""
    logs = [log for note in noted(node, runtime) for log in folder_of(runtime.root).glob(f"{note['job']}_*_log.out")]
    if not logs:
        return []
    last = max(logs, key=lambda log: log.stat().st_mtime)
    lines = last.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    return [f"The end of {last}:", *(f"  {line}" for line in lines)]


def noted(node: Node, runtime: SlurmSettings) -> list[dict[str, Any]]:
    """The jobs that were submitted for a node, the last submission's only."""
    file = notes_of(runtime.root, node.address)
    if not file.is_file():
        return []
    notes = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [note for note in notes if note["run"] == notes[-1]["run"]]


class View:
    """Shows states on a terminal, redrawn in place; elsewhere, one line for each change."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        self.begun: dict[str, tuple[int, float]] = {}  # address → finished parts when first seen, and when that was
        self.lines = 0

    def show(self, now: Sequence[State]) -> None:
        """Show the states as they are now."""
        texts: dict[str, tuple[str, str]] = {}
        for one in now:
            begun = None
            if one.parts is not None:
                parts, since = self.begun.setdefault(one.node.address, (one.parts[0], time.monotonic()))
                begun = parts, time.monotonic() - since
            texts[one.node.address] = one.node.key, one.text(begun)
        if sys.stderr.isatty():
            shown = [f"{key}: {text}" for key, text in texts.values() if text != "built"]
            print(f"\033[{self.lines}F\033[J" if self.lines else "", end="", file=sys.stderr)
            print("".join(f"{line}\n" for line in shown), end="", file=sys.stderr, flush=True)
            self.lines = len(shown)
            return
        for address, (key, text) in texts.items():
            brief = text.partition(";")[0]
            if self.said.get(address) != brief:
                self.said[address] = brief
                print(f"{time.strftime('%H:%M:%S')} {key}: {text}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Remove what was drawn on a terminal."""
        if self.lines:
            print(f"\033[{self.lines}F\033[J", end="", file=sys.stderr, flush=True)
        self.lines = 0
