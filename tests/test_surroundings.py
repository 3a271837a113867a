"""The results are the same, without extra output, for any environment variables of the shell or the cluster."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import shrunk, tiny_folder

from colbertv2 import wandb_runs
from colbertv2.artifacts.process import fast_precision, has_bfloat16
from colbertv2.commands import checks
from colbertv2.configuration.composition import build, compose, runtime_of
from colbertv2.configuration.targets import target_node
from colbertv2.runtime import Runtime
from experiments.torture.campaign import Digests, digests

PROJECT = Path(__file__).resolve().parents[1]
VARIABLES = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
KEY = "0" * 40


@pytest.fixture(scope="module")
def overrides(tmp_path_factory) -> list[str]:
    folder = tiny_folder(tmp_path_factory.mktemp("collection") / "folder")
    words = [*shrunk(folder, Path("ROOT")), "pipeline=untrained", "target=metrics"]
    return [word for word in words if not word.startswith(("runtime.root=", "runtime.wandb="))]


@pytest.fixture(scope="module")
def expected(overrides, tmp_path_factory) -> Digests:
    root = tmp_path_factory.mktemp("expected") / "artifacts"
    build(compose([*overrides, f"runtime.root={root}", "runtime.wandb=disabled"]))
    return digests(root)


def ended(directory: Path, overrides: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "colbertv2", *overrides, f"runtime.root={directory}/artifacts"],
        env=variables, cwd=directory, capture_output=True, text=True, timeout=500,
    )  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TMPDIR": "/missing/place"},
        {"TMPDIR": "{directory}/with spaces and ü"},
        {"TMPDIR": "/proc"},
        {"PYTHONHASHSEED": "7"},
        {"HOME": None},
    ],
    ids=["locale C", "TMPDIR is missing", "TMPDIR has spaces", "TMPDIR is read-only", "PYTHONHASHSEED", "no HOME"],
)
def test_a_run_does_not_depend_on(tmp_path, overrides, expected, changed):
    variables = {**VARIABLES, "WANDB_MODE": "disabled"}
    for name, value in changed.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value.format(directory=tmp_path)
    (tmp_path / "with spaces and ü").mkdir()
    done = ended(tmp_path, overrides, variables)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
    assert digests(tmp_path / "artifacts") == expected
    assert {path.name for path in tmp_path.iterdir()} == {"artifacts", "with spaces and ü"}
    assert not list((tmp_path / "with spaces and ü").iterdir())


def test_a_run_with_a_key_and_no_network_logs_offline_and_says_so(tmp_path, overrides, expected):
    """Nothing answers at port 9 of this machine, with or without a network."""
    logged = {
        **VARIABLES,
        "WANDB_API_KEY": KEY,
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "WANDB_DIR": f"{tmp_path}/logs",
    }
    for name in ("WANDB_MODE", "WANDB_DISABLED"):
        logged.pop(name, None)
    done = ended(tmp_path, overrides, logged)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.count("wandb logs offline: http://127.0.0.1:9 does not answer") == 1
    assert len(list((tmp_path / "logs" / "wandb").glob("offline-run-*"))) == 1
    assert digests(tmp_path / "artifacts") == expected


def test_what_is_offline_by_its_variable_asks_no_network(tmp_path, overrides):
    """With a key, wandb used to wait a minute and a half for the server."""
    offline = {**VARIABLES, "WANDB_API_KEY": KEY, "WANDB_MODE": "offline", "WANDB_BASE_URL": "http://10.255.255.1"}
    places = [f"runtime.root={tmp_path}/artifacts", "runtime.wandb=disabled"]
    build(compose([*overrides, "target=ranking", *places]))  # does the work, with nothing to log
    begun = time.monotonic()
    done = ended(tmp_path, overrides, offline)
    assert done.returncode == 0 and "wandb" not in done.stdout, done.stdout + done.stderr
    assert time.monotonic() - begun < 85
    assert len(list((tmp_path / "artifacts" / "wandb").glob("offline-run-*"))) == 1


@pytest.fixture
def no_variables(monkeypatch):
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", os.devnull)
    wandb_runs.reachable.cache_clear()
    yield monkeypatch
    wandb_runs.reachable.cache_clear()


@pytest.mark.parametrize(
    "variables, wanted, mode",
    [
        ({}, "auto", "offline"),
        ({"WANDB_MODE": "offline", "WANDB_API_KEY": KEY}, "auto", "offline"),
        ({"WANDB_MODE": "dryrun", "WANDB_API_KEY": KEY}, "auto", "offline"),
        ({"WANDB_MODE": "disabled"}, "auto", "disabled"),
        ({"WANDB_DISABLED": "true"}, "auto", "disabled"),
        ({"WANDB_DISABLED": "false", "WANDB_API_KEY": KEY}, "auto", "online"),
        ({"WANDB_API_KEY": KEY}, "auto", "online"),
        ({"WANDB_MODE": "online"}, "auto", "offline"),  # without a key
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": KEY}, "online", "online"),  # the command takes precedence
        ({"WANDB_API_KEY": KEY}, "disabled", "disabled"),
    ],
)
def test_wandb_s_variables_count(no_variables, tmp_path, variables, wanted, mode):
    for name, value in variables.items():
        no_variables.setenv(name, value)
    no_variables.setattr(wandb_runs, "reachable", lambda server: True)
    chosen = wandb_runs.mode_of(Runtime(root=tmp_path, device="cpu", wandb=wanted))
    no_variables.undo()
    assert chosen == mode


def test_a_server_that_never_answers_is_given_up_soon(no_variables, capsys):
    begun = time.monotonic()
    no_variables.setattr("requests.get", lambda *_, **__: time.sleep(60))
    no_variables.setattr(wandb_runs, "SECONDS", 1.0)
    assert not wandb_runs.reachable("https://example.invalid") and not wandb_runs.reachable("https://example.invalid")
    assert time.monotonic() - begun < 10
    assert capsys.readouterr().out.count("does not answer") == 1


def test_no_failure_of_wandb_s_ends_a_run(no_variables, tmp_path, capsys):
    import wandb

    def fail(*_, **__):
        raise wandb.errors.CommError("the server\nis on fire")

    class Failing:
        dir = "there"
        finish = log = fail

    no_variables.setattr(wandb, "init", fail)
    assert wandb_runs.start(Runtime(root=tmp_path, device="cpu"), name="one") is None
    wandb_runs.guarded(Failing().log, {"loss": 1.0})
    wandb_runs.finish(Failing())
    assert capsys.readouterr().out.splitlines() == [
        "wandb can't log offline (the server).",
        "wandb did not log: the server.",
        "wandb did not log: the server.",
    ]


@pytest.mark.parametrize(
    ("flags", "has", "fast"),
    [
        ("flags\t\t: fpu avx2 fma", False, "32-true"),
        ("flags\t\t: fpu avx2 avx512bw", True, "32-true"),
        ("flags\t\t: fpu avx512bw avx512_bf16", True, "bf16-mixed"),
        ("Features\t: fp asimd bf16", True, "bf16-mixed"),
        ("processor\t: 0", True, "32-true"),  # nothing is said
    ],
)
def test_a_processor_tells_whether_it_has_bfloat16(monkeypatch: pytest.MonkeyPatch, flags: str, has: bool, fast: str):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"model name : x\n{flags}\n")
    assert has_bfloat16() is has
    assert fast_precision("cpu") == fast
    config = compose(["+demo=stdlib"])
    assert config.precision == config.training.round2.precision == fast


def test_a_precision_that_is_slow_here_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    words = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "pipeline=untrained", "target=ranking"]
    for precision, slow, warned in (("bf16-mixed", True, True), ("bf16-mixed", False, False), ("32-true", True, False)):
        monkeypatch.setattr(checks, "has_bfloat16", lambda slow=slow: not slow)
        config = compose([*words, f"precision={precision}"])
        checks.print_doubts([target_node(config)], runtime_of(config))
        said = capsys.readouterr().err
        assert ("pipeline.embeddings compute with 16 bits" in said) == warned, said
