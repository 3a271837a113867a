"""How and where stages run: devices, batch sizes, loggers. None of this is part of an artifact's identity."""

from __future__ import annotations

import copy
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar, runtime_checkable

from annotated_types import Interval

from colbertv2.division import Phase, divide, once
from colbertv2.errors import InputError
from colbertv2.parts import WorkPart
from colbertv2.schema import PositiveInt, checked
from colbertv2.scratch import local_copy, use_scratch

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")

# With more, the system would kill the processes, or they would wait for each other. The minimum of 64 lets a small
# machine check configurations for larger ones.
PROCESSORS = max(64, os.cpu_count() or 1)
Threads = Annotated[int, Interval(ge=1, le=4 * PROCESSORS)]
Processes = Annotated[int, Interval(ge=1, le=PROCESSORS)]
NVIDIA_DRIVER = Path("/proc/driver/nvidia")  # exists on Linux if an NVIDIA GPU can be used


@dataclass(frozen=True)
class WatchedTraining:
    """What a logger is told about a training before its first step.

    Args:
        name: the address of its artifact.
        first: the optimizer step that it continues from; 0 for a new training.
        runtime: where it runs; ``runtime.settings`` is its resolved configuration.
        before: the values on the dev set before the first step, by the name of the metric.
    """

    name: str
    first: int
    runtime: Runtime
    before: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class TrainingLogger(Protocol):
    """The settings of a logger of trainings, a choice of the group ``logger`` (:mod:`colbertv2.loggers`).

    A new one is a subclass and a YAML file.
    """

    def start(self, training: WatchedTraining) -> Any:
        """Return a logger of Lightning for one training; None if there is nothing to log to."""
        ...

    def metric_name(self, name: str) -> str:
        """The name that the logger gives to a metric such as ``dev/RR@10``."""
        return name


@checked
@dataclass(frozen=True)
class Runtime:
    """The settings of a run that depend on the machine.

    Args:
        root: directory that holds all artifacts.
        device: ``auto`` (CUDA if available, else the CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        devices: number of processes that train, encode, score, index and search together, each on its own GPU or
            sharing the CPU's threads; in a job on several machines, the number per machine.
        threads: CPU threads for torch; ``None`` keeps torch's default.
        attention: the kernel of the transformers' attention; ``None`` leaves the choice to transformers.
        batch_tokens: tokens per encoding batch, padding included.
        shard_documents: documents per shard of embeddings, at most; bounds memory.
        latency_queries: number of queries that are searched one at a time to measure milliseconds per query.
        scratch: a directory on the machine's own disk, for temporary files and copies of the indexes that are searched;
            ``None`` puts temporary files where ``TMPDIR`` says, and searches indexes where they are.
        wandb: ``online``, ``offline``, ``disabled`` or ``auto`` (follow wandb's environment variables, else log online
            if logged in).
        progress: show progress bars with rate and remaining time.
        profile: time the parts of every training, and write the times to ``fit-profile.txt`` in its artifact.
        loggers: where trainings are logged, besides the CSV log in their artifacts: name → logger. ``None`` is wandb
            alone. wandb gets evaluations and reports too, if one of the loggers is for wandb.

    Attributes:
        settings: the resolved configuration of the node that is built.
        phase: which part of a divided stage this process does; see :func:`colbertv2.division.divide`.

    >>> Runtime(root=Path("artifacts"), device="cpu").torch_device
    device(type='cpu')
    """

    root: Path
    device: str = "auto"
    devices: Processes = 1
    threads: Threads | None = None
    attention: Literal["eager", "sdpa"] | None = None
    batch_tokens: PositiveInt = 2048
    shard_documents: PositiveInt = 25_000
    latency_queries: PositiveInt = 50
    scratch: str | None = None
    wandb: Literal["auto", "offline", "online", "disabled"] = "auto"
    progress: bool = True
    profile: bool = False
    loggers: Mapping[str, TrainingLogger] | None = field(default=None, compare=False)
    settings: Mapping[str, Any] = field(init=False, default_factory=dict, compare=False, repr=False)
    phase: Phase = field(init=False, default="all", compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        _ = self.device_type  # refuses an unknown device now rather than in the middle of a run

    @property
    def device_type(self) -> str:
        """``cpu``, ``cuda`` or ``mps``. Torch is imported only if a GPU may be meant, since importing it takes seconds.

        Raises:
            InputError: the device is unknown or not available.
        """
        if self.device == "cpu" or (self.device == "auto" and not NVIDIA_DRIVER.exists()):
            return "cpu"
        if not re.fullmatch(r"auto|mps|cuda(:\d+)?", self.device):
            raise InputError(f"runtime.device is {self.device!r}; expected auto, cpu, cuda, cuda:1, … or mps.")
        import torch

        if self.device == "mps" and torch.backends.mps.is_available():
            return "mps"
        if self.device != "mps" and torch.cuda.is_available():
            number = int(self.device.partition(":")[2] or 0)
            if number + self.devices > (here := torch.cuda.device_count()):
                raise InputError(
                    f"runtime.device={self.device} with runtime.devices={self.devices} needs {number + self.devices} "
                    f"GPUs, but torch sees {here}."
                )
            return "cuda"
        if self.device == "auto":
            return "cpu"
        raise InputError(f"runtime.device is {self.device!r}, but this torch sees no such device; use runtime=cpu.")

    @property
    def torch_device(self) -> torch.device:
        """The torch device to compute on.

        Raises:
            InputError: the device is unknown or not available.
        """
        import torch

        return torch.device(self.device_type if self.device == "auto" else self.device)

    def device_of(self, rank: int) -> torch.device:
        """The device of the process with this ``rank``: one GPU per process, counted up from the configured one.

        On several machines, ranks are counted machine by machine, and each machine's GPUs from the configured one.
        """
        import torch

        device, place = self.torch_device, rank % self.devices
        return torch.device("cuda", (device.index or 0) + place) if device.type == "cuda" and place else device

    def building(self, settings: Mapping[str, Any]) -> Runtime:
        """A copy for the build of one node. ``settings``, its resolved configuration, are for loggers only."""
        of_node = copy.copy(self)
        object.__setattr__(of_node, "settings", settings)
        return of_node

    def provide(self, nodes: Sequence[Any]) -> None:
        """Have missing artifacts built elsewhere, before a build goes through them; does nothing on one machine.

        Args:
            nodes: the nodes that are missing, parents first.
        """

    def failure(self, node: Any) -> Exception | None:
        """Why a missing node can't be built here: it failed elsewhere; ``None`` on one machine."""

    def in_phase(self, phase: Phase) -> Runtime:
        """A copy that does one phase of a divided stage."""
        of_phase = copy.copy(self)
        object.__setattr__(of_phase, "phase", phase)
        return of_phase

    def once(self, out: Path, learn: Callable[[], Any]) -> Any:
        """Do what must precede the parts of a divided stage, in one process: see :func:`colbertv2.division.once`.

        Args:
            out: the directory that the stage fills.
            learn: may leave files in ``out``, and returns a value that JSON can hold.
        """
        return once(out, learn, self.phase)

    def divide(
        self,
        number: int,
        work: Callable[..., None],
        *arguments: Any,
        out: Path,
        layout: Mapping[str, Any] | None = None,
    ) -> list[WorkPart]:
        """Do a stage's work in ``number`` parts, on all ``devices``; see :func:`colbertv2.division.divide`."""
        works = self.phase in ("all", "work")  # the other phases need no GPU
        devices = [self.device_of(rank) for rank in range(self.devices)] if works else []
        return divide(number, work, *arguments, out=out, devices=devices, phase=self.phase, layout=layout)

    def prepare(self) -> None:
        """Apply the settings that are global to the process; called before a build."""
        quieten()
        if self.scratch is not None:
            use_scratch(self.scratch)
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)

    def local(self, directory: Path) -> Path:
        """Where to read an artifact that is read many times: a copy in ``scratch``, or itself if there is none.

        Raises:
            InputError: the copy does not fit.
        """
        return directory if self.scratch is None else local_copy(directory)

    def bar(self, items: Iterable[Item], description: str, unit: str, total: int | None = None) -> Iterable[Item]:
        """``items``, with a progress bar that shows rate and remaining time while they are iterated over.

        Args:
            unit: plural name of the items, for the rate.
            total: number of items, if ``items`` has no length.
        """
        return progress_bar(items, description, unit, total, shown=self.progress)


def progress_bar(
    items: Iterable[Item], description: str, unit: str, total: int | None = None, *, shown: bool = True
) -> Iterable[Item]:
    """As :meth:`Runtime.bar`, without a runtime; ``shown=False`` shows nothing.

    >>> list(progress_bar(["a", "b"], "letters", "letters", shown=False))
    ['a', 'b']
    """
    from tqdm import tqdm

    return tqdm(items, desc=description, unit=f" {unit}", total=total, disable=not shown, leave=False)


def quieten() -> None:
    """Silence messages of libraries that a user can do nothing about; other warnings remain."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in ("pytorch_lightning", "lightning", "lightning_fabric", "bm25s", "faiss"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("WANDB_SILENT", "true")
    for message in (
        "does not have many workers",
        "in eval mode at the start",
        "LeafSpec",
        "have no `val_dataloader`",
        "`srun` command is available",  # said whenever Slurm is installed, even if not in use
        "sync_dist=True",  # not needed: every process evaluates all dev queries
        "functional.all_gather is deprecated",
    ):
        warnings.filterwarnings("ignore", message=f".*{message}.*")
