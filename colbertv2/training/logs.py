"""The loggers of one training: always CSV in its artifact, and those that ``runtime.loggers`` chooses."""

from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.logger import Logger

from colbertv2 import wandb_runs
from colbertv2.runtime import TrainingLogger, WatchedTraining

VALIDATIONS = "validations"  # name of wandb's table
ON_DEV, BY_SEARCH = "dev", "search"  # first part of the names of metrics of a validation


class Guarded(Logger):
    """A logger of Lightning that never stops the training: after its first failure, which is printed, it is off.

    Args:
        settings: the settings that started it, which name its metrics.
        logger: the logger.
    """

    def __init__(self, settings: TrainingLogger, logger: Logger):
        self.settings, self.logger, self.fails = settings, logger, False

    @property
    def name(self) -> str | None:
        return self.logger.name

    @property
    def version(self) -> int | str | None:
        return self.logger.version

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        named = {self.settings.metric_name(name): value for name, value in metrics.items()}
        self.attempt("log_metrics", named, step)

    def log_hyperparams(self, params: dict[str, Any], *_: Any, **__: Any) -> None:  # pyright: ignore
        self.attempt("log_hyperparams", params)

    def save(self) -> None:
        self.attempt("save")

    def finalize(self, status: str) -> None:
        self.attempt("finalize", status)

    def attempt(self, method: str, *arguments: Any) -> None:
        """Call a method of the logger, unless it has failed before."""
        if self.fails:
            return
        try:
            getattr(self.logger, method)(*arguments)
        except Exception as error:
            self.fails = True
            print(f"{complaint(self.settings, error)} It logs no more of this training.", flush=True)


class Tracked(Guarded):
    """wandb's logger: with a table of all validations, one row per step and collection, and a run that is finished.

    Args:
        settings: the settings that started it.
        logger: Lightning's logger of a wandb run.
        before: the values before the first step, which are the first rows of the table.
    """

    def __init__(self, settings: TrainingLogger, logger: Logger, before: dict[str, float]):
        super().__init__(settings, logger)
        self.run: Any = logger.experiment  # pyright: ignore[reportAttributeAccessIssue]
        self.rows = validation_rows(before, 0)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        super().log_metrics(metrics, step)
        self.rows += validation_rows(metrics, 1 + (step or 0))  # Lightning counts from 0

    def log_hyperparams(self, params: dict[str, Any], *_: Any, **__: Any) -> None:  # pyright: ignore
        """Do nothing: the run was started with its configuration."""

    def finalize(self, status: str) -> None:
        if self.rows:
            columns = ["step", "collection", "measure", "value"]
            wandb_runs.guarded(lambda: self.run.log({VALIDATIONS: wandb_runs.table(columns, self.rows)}))
        wandb_runs.finish(self.run)


def validation_rows(metrics: dict[str, float], step: int) -> list[tuple[int, str, str, float]]:
    """The metrics of validations as rows: optimizer steps, collection, measure, value.

    The collection is ``candidates`` for the ranking of candidates, ``mean`` for the mean over all that are searched.

    >>> validation_rows({"dev/RR@10": 0.5, "search/scifact/nDCG@10": 0.7, "search/nDCG@10": 0.7, "train/loss": 1.0}, 9)
    [(9, 'candidates', 'RR@10', 0.5), (9, 'scifact', 'nDCG@10', 0.7), (9, 'mean', 'nDCG@10', 0.7)]
    """
    rows = []
    for name, value in metrics.items():
        kind, _, rest = name.partition("/")
        if kind == ON_DEV:
            rows.append((step, "candidates", rest, float(value)))
        elif kind == BY_SEARCH:
            collection, _, measure = rest.rpartition("/")
            rows.append((step, collection or "mean", measure, float(value)))
    return rows


def loggers(rank: int, out: Path, training: WatchedTraining) -> list[Logger]:
    """Return the loggers of process ``rank``: CSV in the artifact, one log per resumption; in process 0 also others."""
    first, runtime = training.first, training.runtime
    chosen: list[Logger] = [CSVLogger(out, name="", version="log" if first == 0 else f"log-from-step-{first}")]
    wanted = {"wandb": wandb_runs.Wandb()} if runtime.loggers is None else runtime.loggers
    for settings in wanted.values() if rank == 0 else ():
        try:
            logger = settings.start(training)
        except Exception as error:
            print(f"{complaint(settings, error)} It does not log this training.", flush=True)
            continue
        if isinstance(settings, wandb_runs.Wandb) and logger is not None:
            chosen.append(Tracked(settings, logger, dict(training.before)))
        elif logger is not None:
            chosen.append(Guarded(settings, logger))
            chosen[-1].log_hyperparams(dict(runtime.settings))
    return chosen


def complaint(settings: TrainingLogger, error: Exception) -> str:
    """What a logger's failure looks like to the user, on one line."""
    return f"{type(settings).__name__} failed ({' '.join(str(error).split())[:200] or type(error).__name__})."


def name_of(out: Path) -> str:
    """The address of the artifact that is built in the directory ``out``."""
    return out.name.strip(".").removesuffix(".partial")
