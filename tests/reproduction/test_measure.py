"""Rows are run as far as data, weights and hardware allow; otherwise the reason is given."""

import json
import re

import ir_datasets
import pandas as pd
import pytest
from support import shrunk as shrunk_pipeline
from support import tiny_folder

from colbertv2.artifacts.validate import validate
from colbertv2.commands.reproduce import main, read, with_earlier
from colbertv2.configuration.composition import compose, target_node
from colbertv2.errors import InputError
from colbertv2.reproduction.experiment import Experiment, Row, names
from colbertv2.reproduction.measure import configured, measure, shrunk, truncated


@pytest.fixture
def here(tmp_path) -> list[str]:
    return [f"runtime.root={tmp_path}", "runtime.progress=false", "runtime.wandb=disabled", "runtime.device=cpu"]


def row_of(table: str, name: str) -> tuple[Experiment, Row]:
    found = Experiment.read(table)
    return found, next(row for row in found.rows if row.row == name)


def kinds(table: Experiment) -> list[Row]:
    """A row for each node that is evaluated, each choice of a component, and each change of the model."""
    found: dict[tuple, Row] = {}
    for row in table.rows:
        groups = ("pipeline", "search", "codec", "denoising")
        choices = [word for word in row.overrides if word.partition("=")[0] in groups]
        keys = {word.partition("=")[0] for word in row.overrides if word.startswith(("model.", "+", "reranking"))}
        found.setdefault((row.of, *choices, *sorted(keys)), row)
    return [row for row in found.values() if not row.not_run]


@pytest.mark.parametrize("name", names())
def test_every_kind_of_row_plans_small(here, name):
    table = Experiment.read(name)
    for row in kinds(table):
        _, config = shrunk(*configured(table, row, here), at_hand=False)
        validate(target_node(config))
        assert config.evaluated.eval.id.startswith("sample:")


def test_what_belongs_to_a_collection_comes_with_it(here):
    _, config = configured(*row_of("beir", "ArguAna"), here)
    queries = target_node(config).ancestor("ranking").values["queries"]
    assert queries.values["maxlen"] == 300 and queries.values["protocol"] == "beir"


def test_the_share_of_queries_that_are_cut_is_at_the_length_of_the_collection(tmp_path):
    small = [*shrunk_pipeline(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "pipeline=untrained"]
    shares = [
        truncated(target_node(compose([*small, f"collection.query_maxlen={maxlen}", "target=ranking"])))[0]["queries"]
        for maxlen in ("4", "null")
    ]
    assert shares == [1.0, 0.0]


def test_arithmetic_needs_nothing_and_is_compared(here):
    found = measure(*row_of("index_size", "arithmetic, 2 bits"), here, "full", 1.0)
    assert not found.reason and found.values["bytes_per_token"] == 36
    assert found.values["GiB_with_inverted_list"] == pytest.approx(25, abs=1)
    command = found.manifest["command"]
    assert command.startswith("python -m colbertv2 +paper=index_size target=index_size") and found.manifest["artifacts"]


def test_what_takes_too_long_here_is_not_run_and_says_what_it_would_take(here):
    found = measure(*row_of("msmarco", "dev"), here, "full", hours=0.5)
    assert re.search(r"hours on this machine, 0\.5 allowed; elsewhere about 0\.7 GPU hours and 176 GB", found.reason)
    assert not found.failed and not found.values


def test_what_lacks_data_or_weights_is_not_run_and_says_what_to_do(here, monkeypatch):
    found = measure(*row_of("peerqa", "paragraphs, PLAID"), here, "full", 100.0)
    assert "collection.path" in found.reason and "colbert-ir/colbertv2.0" in found.reason and not found.failed

    def refuse(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    found = measure(*row_of("collections", "SciFact, GTE-ModernColBERT-v1"), here, "full", 100.0)
    assert "lightonai/GTE-ModernColBERT-v1" in found.reason and not found.failed and "GPU hours" in found.reason
    # A data set that no other test writes to the shared home.
    found = measure(*row_of("beir", "Climate-FEVER, BM25"), here, "full", 100.0)
    assert "beir/climate-fever" in found.reason and "place them by hand" in found.reason and not found.failed
    assert str(ir_datasets.util.home_path()) not in found.reason


def test_a_wrong_configuration_is_a_failure_and_no_lack_of_data(here):
    found = measure(*row_of("index_size", "arithmetic, 2 bits"), [*here, "codec.nbits=3"], "full", 1.0)
    assert found.failed and "nbits" in found.reason
    found = measure(*row_of("index_size", "arithmetic, 2 bits"), [*here, "codec.bitz=2"], "full", 1.0)
    assert found.failed and "bitz" in found.reason


def test_the_command_runs_a_table_small_and_writes_table_and_manifest(here, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["peerqa", "scale=small", "row=paragraphs, with title*", *here])
    text = (tmp_path / "outputs/reproduce/peerqa.md").read_text()
    assert text.count("small: not comparable") == 4 and "Run small" in text
    manifest = json.loads((tmp_path / "outputs/reproduce/peerqa.json").read_text())
    row = manifest["rows"]["paragraphs, with title, PLAID"]
    engine, codec = (
        next(stage[name] for stage in row["stages"].values() if name in stage) for name in ("engine", "codec")
    )
    assert engine["_target_"].endswith("Plaid") and codec["nbits"] == 2
    assert "sha256" in next(stage["backbone"] for stage in row["stages"].values() if "backbone" in stage)["identity"]
    assert 0 < next(one["documents"] for one in row["truncated"].values() if "documents" in one) <= 1
    assert {"commit", "versions"} <= set(manifest) and row["machine"]
    assert "scale=small" in manifest["command"]


def test_a_failed_row_ends_in_exit_code_1_and_the_others_are_run(here, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["index_size", "row=arithmetic*", *here, "codec.nbits=3"])
    assert ended.value.code == 1
    table = (tmp_path / "outputs/reproduce/index_size.csv").read_text()
    assert table.count("failed: ") == 3 and "index_size: arithmetic, 2 bits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name a table, or all"),
        (["beir", "scale=tiny"], "scale is 'tiny'"),
        (["beir", "hours=x"], "expected a number"),
    ],
)
def test_wrong_options_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        read(arguments)
    assert read(["all"])[0] == names()


def test_an_unknown_row_names_those_there_are(here):
    with pytest.raises(InputError, match="No row of msmarco is called 'devel'; its rows: dev, Local Eval"):
        main(["msmarco", "row=devel", *here])


def test_what_was_measured_elsewhere_stays_where_it_cannot_be_run(tmp_path):
    columns = ["row", "measure", "published", "measured", "difference", "tolerance", "verdict", "source"]
    before = [
        ["dev", "RR@10", 0.397, 0.395, -0.002, 0.005, "within", "S"],
        ["x", "RR@10", 0.3, 0.2, -0.1, 0.1, "within", "S"],
    ]
    place = tmp_path / "table"
    pd.DataFrame(before, columns=columns).to_csv(place.with_suffix(".csv"), index=False)
    place.with_suffix(".json").write_text(json.dumps({"rows": {"dev": {"machine": "GPU"}, "x": {"machine": "GPU"}}}))
    now = pd.DataFrame(
        [["dev", "RR@10", 0.397, None, None, 0.005, "not run: no weights", "S"],
         ["x", "RR@10", 0.3, 0.31, 0.01, 0.1, "within", "S"],
         ["new", "RR@10", 0.3, None, None, 0.1, "not run: no data", "S"]],
        columns=columns,
    ).astype(dict.fromkeys(columns[2:6], float))  # fmt: skip
    merged, manifests = with_earlier(place, now, {"dev": {}, "x": {"machine": "CPU"}, "new": {}})
    assert merged["measured"].fillna(0).tolist() == [0.395, 0.31, 0]
    assert merged["verdict"].tolist() == ["within", "within", "not run: no data"]
    assert manifests == {"dev": {"machine": "GPU"}, "x": {"machine": "CPU"}, "new": {}}


def test_another_experiment_is_no_result_of_the_table(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["index_size", "row=arithmetic, 2 bits", "clustering.centroid_bits=8", *here])
    table = (tmp_path / "outputs/reproduce/index_size.csv").read_text()
    assert "changed, not comparable: clustering.centroid_bits=8" in table
