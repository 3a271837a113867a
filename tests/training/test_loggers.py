"""The group ``logger``: several at once, with all values; none changes a result or address, or ends a training."""

import json
from pathlib import Path

import pandas
import pytest
import torch
from support import shrunk, tiny_folder
from trainings import recipe, trained, weights

from colbertv2 import loggers, tracking, wandb_runs
from colbertv2.configuration.composition import build, compose, plan, runtime_of, target_node
from colbertv2.configuration.points import collect
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.loggers import CSV, MLflow, TensorBoard
from colbertv2.reporting.rendering import ReportTable
from colbertv2.runtime import Runtime, TrainingLogger, WatchedTraining
from colbertv2.training.logs import loggers as loggers_of
from colbertv2.training.search_validation import SearchValidation
from colbertv2.wandb_runs import Wandb

COLUMNS = ["train/in_batch", "train/loss", "dev/RR@10"]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("loggers")
    words = shrunk(tiny_folder(directory / "folder"), directory / "artifacts")
    return [word for word in words if not word.startswith("runtime.wandb")]


def values_in(table: pandas.DataFrame) -> dict[str, list[tuple[int, float]]]:
    """Column → (step, value), as written by Lightning's CSV logger."""
    return {
        name: [(int(step), float(value)) for step, value in table[["step", name]].dropna().itertuples(index=False)]
        for name in COLUMNS
    }


def own_log(out: Path) -> dict[str, list[tuple[int, float]]]:
    found = values_in(pandas.read_csv(out / "log" / "metrics.csv"))
    assert all(found.values())
    return found


def test_csv_can_be_read_elsewhere_with_the_configuration(tmp_path):
    trained(tmp_path / "train-1", recipe(), loggers={"csv": CSV(tmp_path / "csv")})
    (copy,) = (tmp_path / "csv" / "train-1").iterdir()
    assert values_in(pandas.read_csv(copy / "metrics.csv")) == own_log(tmp_path / "train-1")
    assert "address: train-1" in (copy / "hparams.yaml").read_text()


def test_tensorboard_gets_every_value(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained(tmp_path / "train-1", recipe(), loggers={"tensorboard": TensorBoard(tmp_path / "tb")})
    (directory,) = (tmp_path / "tb" / "train-1").iterdir()
    events = EventAccumulator(str(directory)).Reload()
    for name, expected in own_log(tmp_path / "train-1").items():
        found = [(one.step, one.value) for one in events.Scalars(loggers.plain_name(name))]
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected])
    (text,) = events.Tensors("configuration/text_summary")
    assert b"address: train-1" in text.tensor_proto.string_val[0]


def test_mlflow_gets_every_value(tmp_path, recwarn):
    pytest.importorskip("mlflow", reason="mlflow is an extra")
    from mlflow.tracking import MlflowClient

    where = f"sqlite:///{tmp_path}/new/mlflow.db"
    trained(tmp_path / "train-1", recipe(), loggers={"mlflow": MLflow(where, "one")})
    client = MlflowClient(where)
    (run,) = client.search_runs([client.get_experiment_by_name("one").experiment_id])
    assert run.info.run_name == run.data.tags["address"] == run.data.params["address"] == "train-1"
    assert run.info.status == "FINISHED"
    for name, expected in own_log(tmp_path / "train-1").items():
        found = client.get_metric_history(run.info.run_id, loggers.plain_name(name))
        assert [(one.step, one.value) for one in found] == expected
    assert not [one for one in recwarn if "Discarding" in str(one.message)]


class FakeRun:
    """Replaces a wandb run."""

    id, name, dir = "1", "run", "there"

    def __init__(self, **given):
        self.given, self.logged, self.summary, self.finished = given, [], {}, 0

    def log(self, values, **_):
        self.logged.append(values)

    def finish(self):
        self.finished += 1

    def define_metric(self, *names, **_):
        self.axes = names

    @property
    def tables(self) -> dict:
        return {name: value for one in self.logged for name, value in one.items() if type(value).__name__ == "Table"}


@pytest.fixture
def runs(monkeypatch) -> list[FakeRun]:
    """The wandb runs that are started, in place of real ones."""
    started: list[FakeRun] = []
    monkeypatch.setattr("wandb.init", lambda **given: started.append(FakeRun(**given)) or started[-1])
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_RUN_GROUP", "tests")
    return started


def test_wandb_gets_curves_a_table_of_validations_the_configuration_and_the_address(tmp_path, runs):
    folder = tiny_folder(tmp_path / "folder")
    one = {"documents": Collection(f"folder:{folder}"), "eval": Queries(f"folder:{folder}/dev")}
    wanted = SearchValidation({"own": one}, None, "nDCG@10", 100, 100, selects=False)
    trained(tmp_path / ".train-1.partial", recipe(search_validation=wanted), wandb="offline")
    (run,) = runs
    assert run.given["name"] == "train-1" and run.given["job_type"] == "train" and run.finished == 1
    assert run.given["config"] == {"address": ".train-1.partial", "arguments": {"steps": 4}}
    assert run.axes == ("*", "trainer/global_step")
    curves = {name: [] for name in COLUMNS}
    for values in run.logged:
        for name in curves.keys() & values:
            curves[name].append((values["trainer/global_step"], pytest.approx(values[name])))
    log = pandas.read_csv(tmp_path / ".train-1.partial" / "log" / "metrics.csv")
    assert values_in(log) == curves
    table = run.tables["validations"]
    assert table.columns == ["step", "collection", "measure", "value"]
    rows = {tuple(row[:3]): row[3] for row in table.data}
    assert list(rows) == [
        (step, *kind)
        for step in (0, 2, 4)
        for kind in (("candidates", "RR@10"), ("own", "nDCG@10"), ("mean", "nDCG@10"))
    ]
    assert [rows[step, "own", "nDCG@10"] for step in (2, 4)] == log["search/own/nDCG@10"].dropna().tolist()


def test_a_real_run_of_wandb_is_written_offline(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_DIR", raising=False)
    trained(tmp_path / "train-1", recipe(), wandb="offline")
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    written = file.read_bytes()
    assert all(word in written for word in (b"validations", b"dev/RR@10", b"train-1", b"address"))
    (table,) = (tmp_path / "wandb").glob("offline-run-*/files/media/table/validations*.json")
    assert json.loads(table.read_text())["columns"] == ["step", "collection", "measure", "value"]


def test_several_log_at_once_only_in_the_first_process_and_change_nothing(tmp_path, runs):
    both = {"csv": CSV(tmp_path / "csv"), "wandb": Wandb()}
    plain = trained(tmp_path / "plain", recipe(), loggers={})
    logged = trained(tmp_path / "logged", recipe(), loggers=both, wandb="offline")
    assert torch.equal(weights(plain), weights(logged))
    assert len(runs) == 1 and (tmp_path / "csv" / "logged").is_dir()
    training = WatchedTraining("x", 0, Runtime(root=tmp_path, device="cpu", loggers=both, wandb="offline"))
    assert [len(loggers_of(rank, tmp_path, training)) for rank in (0, 1)] == [3, 1]


class Broken(TrainingLogger):
    """A logger that fails when it is started or at its second value."""

    def __init__(self, at_once: bool):
        self.at_once, self.values = at_once, 0

    def start(self, training):
        if self.at_once:
            raise ConnectionError("no\nserver")
        return self

    def log_hyperparams(self, _):
        pass

    def log_metrics(self, *_):
        self.values += 1
        if self.values == 2:
            raise TimeoutError

    def save(self):
        pass

    def finalize(self, _):
        pass


def test_a_logger_that_fails_ends_no_training_and_is_heard_of_once(tmp_path, capsys):
    plain = trained(tmp_path / "plain", recipe(), loggers={})
    broken = {"first": Broken(True), "second": Broken(False), "csv": CSV(tmp_path / "csv")}
    logged = trained(tmp_path / "logged", recipe(), loggers=broken)
    assert (tmp_path / "csv" / "logged").is_dir() and broken["second"].values == 2
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Broken")]
    assert said == [
        "Broken failed (no server). It does not log this training.",
        "Broken failed (TimeoutError). It logs no more of this training.",
    ]
    assert torch.equal(weights(plain), weights(logged))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["wandb"]),
        (["logger=none"], []),
        (["logger=[]"], []),
        (["logger=[wandb,csv]"], ["wandb", "csv"]),
    ],
)
def test_loggers_are_chosen_as_a_group_and_are_no_part_of_an_address(small, words, names):
    config = compose([*small, "target=initial", *words])
    chosen = runtime_of(config)
    assert list(chosen.loggers or {}) == names
    assert target_node(config).identity == target_node(compose([*small, "target=initial", "logger=none"])).identity
    assert (wandb_runs.mode_of(chosen) == "disabled") == ("wandb" not in names)


@pytest.mark.parametrize(("choice", "package"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_a_missing_package_is_told_before_any_work_with_its_extra(small, tmp_path, monkeypatch, choice, package):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    overrides = [*small, f"runtime.root={tmp_path / 'artifacts'}", f"logger={choice}"]
    for command in (plan, build):
        with pytest.raises(InputError, match=rf"package {package}, .*pip install 'colbertv2\[{choice}\]'"):
            command(compose(overrides))
    assert not (tmp_path / "artifacts").exists()


def test_a_folder_called_like_the_package_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "no_such_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="no_such_package"):
        loggers.require("no_such_package", "extra")


def test_a_wrong_logger_is_refused(small):
    with pytest.raises(InputError, match="'loggers' is"):
        runtime_of(compose([*small, "+logger.mine=1"]))
    with pytest.raises(InputError, match="unexpected argument 'folder'"):
        runtime_of(compose([*small, "logger=csv", "+logger.csv.folder=x"]))


def test_a_build_tells_the_loggers_address_and_resolved_configuration(small, runs, tmp_path):
    trained_one = build(compose([*small, f"runtime.root={tmp_path}", "runtime.wandb=offline", "target=round1"]))
    (run,) = runs
    config = run.given["config"]
    assert run.given["name"] == config["address"] == trained_one.address
    assert config["arguments"] == trained_one.arguments
    assert config["upstream"][config["arguments"]["checkpoint"]]["dim"] == 16


def test_evaluations_are_logged_where_wandb_is_on(small, runs, tmp_path):
    words = [*small, "pipeline=untrained", "codec=fp16", "search=exhaustive", f"runtime.root={tmp_path}"]
    config = compose(words)
    node, artifact = target_node(config), build(config)
    for chosen in (["runtime.wandb=offline"], ["runtime.wandb=disabled"], ["logger=none"]):
        tracking.log(config, "", node, artifact, runtime_of(compose([*words, *chosen])))
    (run,) = runs
    assert run.given["config"]["address"] == artifact.address
    assert run.given["config"]["resolved"]["arguments"]["measures"] == artifact.arguments["measures"]


def test_reports_are_logged_where_wandb_is_on(small, runs, tmp_path):
    points = collect(["-m", "codec.nbits=1,2", *small, "pipeline=untrained"], searched=False)
    page = tmp_path / "report.html"
    page.write_text("<p>Bits")
    tables = {"cells": ReportTable("Cells", pandas.DataFrame({"nbits": ["1", 2], "RR@10": [0.5, None]}), [], [], 1)}
    for chosen in (["runtime.wandb=offline"], ["runtime.wandb=disabled"], ["logger=none"]):
        tracking.log_report(page, "Bits", points, tables, runtime_of(compose([*small, *chosen])))
    (run,) = runs
    assert run.given["name"] == "Bits" and run.given["job_type"] == "report" and run.finished == 1
    assert list(run.given["config"]["points"].values()) == [point.address for point in points]
    (html,) = (one["report"] for one in run.logged if "report" in one)
    assert html.html == "<p>Bits"
    assert run.tables["cells"].columns == ["nbits", "RR@10"] and len(run.tables["cells"].data) == 2
