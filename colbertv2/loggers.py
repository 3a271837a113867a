"""Where trainings are logged: the choices of the group ``logger``, of which a run can have several.

A logger is part of ``runtime``: it changes no result and no address. Each class holds settings only and starts a logger
of Lightning for every training. Whatever is chosen, a training's artifact has a CSV log. The logger for wandb is
:class:`colbertv2.wandb_runs.Wandb`.
"""

import logging
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from colbertv2.errors import InputError
from colbertv2.runtime import TrainingLogger, WatchedTraining
from colbertv2.schema import Text, checked


@checked
@dataclass(frozen=True)
class CSV(TrainingLogger):
    """Write ``<directory>/<address>/version_<n>/metrics.csv``, which can be read while the training runs.

    The log in the artifact is complete only when the training is.

    Args:
        directory: the directory of all logs.

    >>> CSV(Path("logs")).start(WatchedTraining("train-0123456789", 0, runtime=None)).name
    'train-0123456789'
    """

    directory: Path

    def start(self, training: WatchedTraining) -> Any:
        from pytorch_lightning.loggers import CSVLogger

        return CSVLogger(self.directory, training.name)


@checked
@dataclass(frozen=True)
class TensorBoard(TrainingLogger):
    """Write event files to ``<directory>/<address>/version_<n>``: ``tensorboard --logdir <directory>`` shows them.

    Args:
        directory: the directory of all logs.

    Raises:
        InputError: tensorboard is not installed.
    """

    directory: Path

    def __post_init__(self) -> None:
        require("tensorboard", "tensorboard")

    def start(self, training: WatchedTraining) -> Any:
        from omegaconf import OmegaConf
        from pytorch_lightning.loggers import TensorBoardLogger

        logger = TensorBoardLogger(self.directory, training.name, default_hp_metric=False)
        text = OmegaConf.to_yaml(OmegaConf.create(dict(training.runtime.settings)))
        logger.experiment.add_text("configuration", "\n".join(f"    {line}" for line in text.splitlines()))
        return logger

    def metric_name(self, name: str) -> str:
        return plain_name(name)


@checked
@dataclass(frozen=True)
class MLflow(TrainingLogger):
    """Log to a server or a database of MLflow, one run per training, named by its address.

    Args:
        tracking_uri: the address of a server, or ``sqlite:///<file>``. MLflow 3 writes to no plain directory any more.
        experiment: name of the experiment that the runs belong to.

    Raises:
        InputError: MLflow is not installed.
    """

    tracking_uri: Text
    experiment: Text

    def __post_init__(self) -> None:
        require("mlflow", "mlflow")

    def start(self, training: WatchedTraining) -> Any:
        from pytorch_lightning.loggers import MLFlowLogger

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # else it tells how it makes its database
        scheme, _, file = self.tracking_uri.partition(":///")
        if scheme == "sqlite":
            Path(file).parent.mkdir(parents=True, exist_ok=True)
        tags = {"address": training.name, "first_step": str(training.first)}
        return MLFlowLogger(self.experiment, training.name, tracking_uri=self.tracking_uri, tags=tags)

    def metric_name(self, name: str) -> str:
        return plain_name(name)


def require(module: str, extra: str) -> None:
    """Refuse a logger whose package is missing, before any work.

    Raises:
        InputError: the module can't be imported; the message names the extra that installs it.

    >>> require("json", "tensorboard")
    """
    found = find_spec(module)
    if found is None or found.origin is None:  # a folder of that name in the working directory has no origin
        raise InputError(
            f"This logger needs the package {module}, which is not installed: run `pip install 'colbertv2[{extra}]'`, "
            "or choose another logger."
        )


def plain_name(name: str) -> str:
    """The name of a metric in the characters that TensorBoard and MLflow accept.

    >>> plain_name("dev/RR@10"), plain_name("search/nDCG(dcg='exp-log2')@10")
    ('dev/RR_at_10', 'search/nDCG_dcg_exp-log2_at_10')
    """
    return re.sub(r"[^\w/.-]+", "_", re.sub(r"[^\w/.-]*@", "_at_", name), flags=re.ASCII)
