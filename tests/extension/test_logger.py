"""A logger from outside the package: one class and one YAML file."""

from dataclasses import dataclass
from pathlib import Path

import pandas
from support import shrunk, tiny_folder

from colbertv2.configuration.composition import CONF, EXPERIMENTS, build, compose, target_node
from colbertv2.runtime import TrainingLogger, WatchedTraining


@dataclass(frozen=True)
class Lines(TrainingLogger):
    """One line per metric."""

    directory: Path

    def start(self, training: WatchedTraining):
        from pytorch_lightning.loggers import CSVLogger

        class File(CSVLogger):
            def log_metrics(self, metrics, step=None):
                with Path(self.save_dir, f"{training.name}.txt").open("a") as file:
                    file.writelines(f"{step} {name} {value}\n" for name, value in metrics.items())

        return File(self.directory)

    def metric_name(self, name: str) -> str:
        return name.upper()


def test_it_is_chosen_beside_another_and_gets_every_value(tmp_path):
    (tmp_path / "conf" / "logger").mkdir(parents=True)
    text = f"lines:\n  _target_: {__name__}.Lines\n  directory: ${{runtime.root}}\n"
    (tmp_path / "conf" / "logger" / "lines.yaml").write_text(text)
    small = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "target=round1"]
    config = compose([*small, "logger=[lines,csv]"], directories=(CONF, EXPERIMENTS, tmp_path / "conf"))
    trained = build(config)
    assert trained.address == target_node(compose(small)).address
    log = pandas.read_csv(trained.path / "log" / "metrics.csv")
    lines = (tmp_path / "artifacts" / f"{trained.address}.txt").read_text().splitlines()
    assert [line.split()[2] for line in lines if " TRAIN/LOSS " in line] == [str(log["train/loss"].dropna().item())]
    assert (tmp_path / "artifacts" / "csv" / trained.address).is_dir()
