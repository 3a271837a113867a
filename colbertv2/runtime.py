"""How and where things run: devices, batch sizes, loggers. Never part of an artifact's identity."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from annotated_types import Interval

from colbertv2.errors import InputError
from colbertv2.schema import PositiveInt, checked

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")

# More would be killed by the system, or wait for each other. A machine that sends jobs to larger ones counts as large.
PROCESSORS = max(64, os.cpu_count() or 1)
Threads = Annotated[int, Interval(ge=1, le=4 * PROCESSORS)]
Processes = Annotated[int, Interval(ge=1, le=PROCESSORS)]
NVIDIA_DRIVER = Path("/proc/driver/nvidia")  # there on Linux wherever a GPU of theirs can be used


@checked
@dataclass(frozen=True)
class Runtime:
    """The machine's side of a run.

    Args:
        root: directory that holds all artifacts.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        devices: processes that train and encode together, one a GPU or sharing the CPU's threads.
        threads: CPU threads for torch; ``None`` leaves torch's default.
        batch_tokens: tokens (padding included) in one encoding batch.
        shard_documents: documents in one shard of embeddings; bounds memory.
        latency_queries: queries searched one at a time to measure milliseconds a query.
        wandb: ``online``, ``offline``, ``disabled`` or ``auto``: as wandb's variables say, else online if logged in.
        progress: show bars with rate and time left.
        profile: time the parts of every training, into ``fit-profile.txt`` of its artifact.

    >>> Runtime(root=Path("artifacts"), device="cpu").torch_device
    device(type='cpu')
    """

    root: Path
    device: str = "auto"
    devices: Processes = 1
    threads: Threads | None = None
    batch_tokens: PositiveInt = 2048
    shard_documents: PositiveInt = 25_000
    latency_queries: PositiveInt = 50
    wandb: Literal["auto", "offline", "online", "disabled"] = "auto"
    progress: bool = True
    profile: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        _ = self.device_type  # refuses an unknown device now rather than in the middle of a run

    @property
    def device_type(self) -> str:
        """``cpu``, ``cuda`` or ``mps``; torch is asked only where a GPU may be meant, since importing it takes seconds.

        Raises:
            InputError: there is no such device.
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
        """The device that computes.

        Raises:
            InputError: there is no such device.
        """
        import torch

        return torch.device(self.device_type if self.device == "auto" else self.device)

    def device_of(self, rank: int) -> torch.device:
        """The device of one of ``devices`` processes: a GPU each, from the configured one on."""
        import torch

        device = self.torch_device
        return torch.device("cuda", (device.index or 0) + rank) if device.type == "cuda" and rank else device

    def prepare(self) -> None:
        """Apply what is global to the process; called before a build."""
        quieten()
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)

    def bar(self, items: Iterable[Item], description: str, unit: str, total: int | None = None) -> Iterable[Item]:
        """``items`` behind a progress bar with rate and time left."""
        from tqdm import tqdm

        return tqdm(items, desc=description, unit=f" {unit}", total=total, disable=not self.progress, leave=False)


def quieten() -> None:
    """Silence what libraries say about their own business; warnings about the user's remain."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in ("pytorch_lightning", "lightning", "bm25s", "faiss"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("WANDB_SILENT", "true")
    for message in (
        "does not have many workers",
        "in eval mode at the start",
        "LeafSpec",
        "have no `val_dataloader`",
        "`srun` command is available",  # Slurm is merely installed
        "sync_dist=True",  # every process evaluates all dev queries
        "functional.all_gather is deprecated",
    ):
        warnings.filterwarnings("ignore", message=f".*{message}.*")
