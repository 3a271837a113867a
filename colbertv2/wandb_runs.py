"""Runs of wandb: how they are started, logged to and ended. No failure of wandb's ends a run of ours.

wandb's own variables count (``WANDB_MODE``, ``WANDB_DISABLED``, ``WANDB_DIR``, ``WANDB_PROJECT``, ``WANDB_NAME``,
``WANDB_RUN_GROUP``); ``runtime.wandb`` goes before ``WANDB_MODE`` where it is not ``auto``.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

from colbertv2.runtime import Runtime

PROJECT = "colbertv2"
MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
Mode = Literal["online", "offline", "disabled"]
SECONDS = 8.0  # that a server may take to answer


def start(runtime: Runtime, name: str, **given: Any) -> Any:
    """A new run of wandb; ``None`` where none is wanted or wandb fails, which is then said and is no error.

    Offline runs lie under ``WANDB_DIR``, else the artifact root, and can be sent later (``wandb sync``).

    Args:
        name: of the run, unless ``WANDB_NAME`` says another. given: to ``wandb.init`` besides.
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
    """``online``, ``offline`` or ``disabled``: what ``runtime.wandb`` says; where that is ``auto``, wandb's own
    variables; else online if logged in. Online is offline, with a line, where its server can't be reached.
    """
    mode: str = runtime.wandb
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
            print("wandb logs offline: it has no key; log in by `wandb login` or set WANDB_API_KEY.", flush=True)
        return "offline"
    return "online" if reachable(server) else "offline"


@cache
def reachable(server: str) -> bool:
    """Whether anything answers at an address, asked once; if not, that is said."""
    import requests

    answers = bounded(lambda: requests.get(server, timeout=SECONDS / 2))
    if answers is None:
        print(f"wandb logs offline: {server} does not answer. `wandb sync` sends the runs later.", flush=True)
    return answers is not None


def guarded(call: Callable[..., Any], *arguments: Any) -> None:
    """Call what logs; that it fails is said and is no error."""
    try:
        call(*arguments)
    except Exception as error:
        print(f"wandb did not log: {_first_line(error)}.", flush=True)


def finish(run: Any) -> None:
    """End a run, within a minute; what has not been sent by then stays in its directory."""
    if bounded(lambda: guarded(run.finish) or True, 60) is None:
        print(f"wandb has not sent everything; `wandb sync {run.dir}` sends the rest.", flush=True)


def bounded(call: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What ``call`` returns; ``None`` if it fails or has not returned in time, which it then does for itself."""
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
