"""Start, log to and finish wandb runs. A failure of wandb never stops the command.

wandb's own environment variables are respected (``WANDB_MODE``, ``WANDB_DISABLED``, ``WANDB_DIR``, ``WANDB_PROJECT``,
``WANDB_NAME``, ``WANDB_RUN_GROUP``); ``runtime.wandb`` takes precedence over ``WANDB_MODE`` unless it is ``auto``.
"""

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from colbertv2.runtime import Runtime, TrainingLogger, WatchedTraining

PROJECT = "colbertv2"
MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
Mode = Literal["online", "offline", "disabled"]
SECONDS = 8.0  # timeout for an answer of the server
STEP = "trainer/global_step"  # the horizontal axis of all curves, as Lightning's logger names it


@dataclass(frozen=True)
class Wandb(TrainingLogger):
    """Log every training to wandb, as ``runtime.wandb`` says: online, offline or not at all.

    A run has the curves of all losses and metrics, a table of all validations, and as its configuration the resolved
    configuration of the training, with the address of its artifact.

    >>> training = WatchedTraining("train-0123456789", 0, Runtime(root=Path("artifacts"), wandb="disabled"))
    >>> Wandb().start(training) is None
    True
    """

    def start(self, training: WatchedTraining) -> Any:
        """Return Lightning's logger of a new run; None if logging is disabled or wandb fails."""
        run = start(training.runtime, training.name, job_type="train", config={**training.runtime.settings})
        if run is None:
            return None
        from pytorch_lightning.loggers import WandbLogger

        guarded(run.define_metric, STEP)
        guarded(run.define_metric, "*", STEP)
        return WandbLogger(experiment=run)


def start(runtime: Runtime, name: str, **given: Any) -> Any:
    """Start a wandb run. Return ``None`` if logging is disabled, or if wandb fails, which prints a line.

    Offline runs are stored under ``WANDB_DIR``, else under the artifact root, and can be sent later (``wandb sync``).

    Args:
        name: name of the run, unless ``WANDB_NAME`` gives another.
        given: further arguments of ``wandb.init``.
    """
    mode = mode_of(runtime)
    if mode == "disabled":
        return None
    import wandb

    modes: list[Mode] = [mode, "offline"]

    directory = Path(os.environ.get("WANDB_DIR") or runtime.root)
    for attempt in dict.fromkeys(modes):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            return wandb.init(
                project=os.environ.get("WANDB_PROJECT") or PROJECT,
                name=os.environ.get("WANDB_NAME") or name,
                dir=directory,
                mode=attempt,
                settings=wandb.Settings(init_timeout=SECONDS),
                **given,
            )
        except Exception as error:
            print(f"wandb can't log {attempt} ({_first_line(error)}).", flush=True)
    return None


def mode_of(runtime: Runtime) -> Mode:
    """``online``, ``offline`` or ``disabled``.

    It is disabled if ``runtime.loggers`` has none for wandb. Otherwise ``runtime.wandb`` decides unless it is ``auto``;
    then wandb's own variables decide; if they are not set, the mode is online if the user is logged in, else offline.
    If the server can't be reached, online becomes offline, which is printed.
    """
    mode: str = runtime.wandb
    if runtime.loggers is not None and not any(isinstance(one, Wandb) for one in runtime.loggers.values()):
        mode = "disabled"
    if mode == "auto":
        mode = MODES.get(os.environ.get("WANDB_MODE", ""), "auto")
        if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on"):
            mode = "disabled"
    if mode == "offline" or mode == "disabled":
        return mode
    from requests.utils import get_netrc_auth

    server = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    if "WANDB_API_KEY" not in os.environ and get_netrc_auth(server) is None:
        if mode == "online":
            print("wandb logs offline: it has no key; log in with `wandb login` or set WANDB_API_KEY.", flush=True)
        return "offline"
    return "online" if reachable(server) else "offline"


@cache
def reachable(server: str) -> bool:
    """Whether a server answers. Each server is asked once; if it does not answer, a line is printed."""
    import requests

    answers = bounded(lambda: requests.get(server, timeout=SECONDS / 2))
    if answers is None:
        print(f"wandb logs offline: {server} does not answer. `wandb sync` sends the runs later.", flush=True)
    return answers is not None


def guarded(call: Callable[..., Any], *arguments: Any) -> None:
    """Call ``call`` with ``arguments``; if it fails, print a line instead of raising."""
    try:
        call(*arguments)
    except Exception as error:
        print(f"wandb did not log: {_first_line(error)}.", flush=True)


def finish(run: Any) -> None:
    """Finish a run within a minute; data not sent by then stays in the run's directory."""
    if bounded(lambda: guarded(run.finish) or True, 60) is None:
        print(f"wandb has not sent everything; `wandb sync {run.dir}` sends the rest.", flush=True)


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Any:
    """A table as wandb shows it; a column may have values of several types."""
    import wandb

    return wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)


def bounded(call: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """The result of ``call``, or ``None`` if it fails or takes longer than ``seconds``; it then goes on in a thread."""
    results: list[Any] = []

    def calling() -> None:
        with suppress(Exception):
            results.append(call())

    thread = threading.Thread(target=calling, daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
