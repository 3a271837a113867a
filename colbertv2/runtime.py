"""How and where things run: devices, batch sizes, loggers. Never part of an artifact's identity."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from colbertv2.errors import InputError

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")

NVIDIA_DRIVER = Path("/proc/driver/nvidia")  # there on Linux wherever a GPU of theirs can be used


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
    devices: int = 1
    threads: int | None = None
    batch_tokens: int = 2048
    shard_documents: int = 25_000
    latency_queries: int = 50
    wandb: str = "auto"
    progress: bool = True
    profile: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        if self.wandb not in ("auto", "offline", "online", "disabled"):
            raise InputError(f"runtime.wandb is {self.wandb!r}; expected auto, offline, online or disabled.")
        _ = self.device_type  # refuses an unknown device now rather than in the middle of a run
        if self.threads is not None and self.threads < 1:
            raise InputError(f"runtime.threads is {self.threads}; expected at least 1, or null for torch's default.")
        for name in ("devices", "batch_tokens", "shard_documents", "latency_queries"):
            if getattr(self, name) < 1:
                raise InputError(f"runtime.{name} is {getattr(self, name)}; expected at least 1.")

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

        if self.device == "mps":
            return "mps"
        if torch.cuda.is_available():
            return "cuda"
        if self.device == "auto":
            return "cpu"
        raise InputError(f"runtime.device is {self.device!r}, but this torch sees no CUDA device; use runtime=cpu.")

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
