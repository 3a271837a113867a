"""``python -m colbertv2`` and ``python -m colbertv2 plan`` as a user calls them, and where values come from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from colbertv2.configuration.composition import compose, target_node
from colbertv2.configuration.provenance import describe, describe_changes, origins

TOY = Path(__file__).parent / "toy"
DIRECTORIES = (TOY / "conf", TOY / "experiments")


def run(
    root: Path, *arguments: str, module: str = "colbertv2", directory: Path | None = None
) -> subprocess.CompletedProcess:
    (root.parent / "corpus.txt").write_text("one two\nthree\n")
    flags = ["--config-path", str(TOY / "conf"), "--config-dir", str(TOY / "experiments")]
    places = [f"runtime.root={root}", f"corpus.path={root.parent / 'corpus.txt'}"]
    paths = os.pathsep.join([str(TOY.parent), str(TOY.parents[2])])
    return subprocess.run(
        [sys.executable, "-m", *module.split(), *flags, *arguments, *places],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=directory or root.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_build_prints_what_it_does_and_publishes(root: Path) -> None:
    done = run(root, "+ablation=bits", "dim=16", "publish=results")
    assert done.returncode == 0, done.stderr
    described = done.stdout.partition("\n\n")[0].splitlines()
    assert described[:2] == ["ablation: bits  # command line", "codec.bits: 1  # experiments/ablation/bits.yaml"]
    assert "dim: 16  # command line" in described
    assert len(described) == 6, "what was not set is not shown"
    assert done.stdout.count(" missing") == 5
    assert done.stdout.count(" built in ") == 5
    assert [f"(step {number} of 5" in done.stdout for number in range(1, 7)] == [True] * 5 + [False]
    assert "| chosen | 1 bits |\n| wide | 4 bits |" in done.stdout
    table = next((root / "table").glob("table-*"))
    assert f"table: {table} (38 B)" in done.stdout
    results = root.parent / "results"
    assert [file.name for file in results.iterdir()] == ["table.md"]
    # Hydra leaves nothing behind
    assert {path.name for path in root.parent.iterdir()} == {"artifacts", "corpus.txt", "results"}


def test_a_verbose_run_prints_all_of_its_configuration(root: Path) -> None:
    done = run(root, "+ablation=bits", "dim=16", "target=round1", "hydra.verbose=true")
    assert done.returncode == 0, done.stderr
    assert "  bits: 1  # experiments/ablation/bits.yaml" in done.stdout
    assert "dim: 16  # dim=16" in done.stdout and "rate:" in done.stdout


def test_plan_builds_nothing(root: Path, runs) -> None:
    done = run(root, "target=index", module="colbertv2 plan")
    assert done.returncode == 0, done.stderr
    *lines, total = [line.split() for line in done.stdout.splitlines()]
    assert total[:4] == ["to", "build:", "3", "steps;"]  # the cost of toy stages is not known
    assert [line[0] for line in lines] == ["pipeline.round1", "pipeline.embeddings", "pipeline.index"]
    assert [line[1].partition("-")[0] for line in lines] == ["train", "encode", "index"]
    assert {line[2] for line in lines} == {"missing"}
    assert runs() == []


def test_wrong_input_is_said_without_a_traceback(root: Path, runs) -> None:
    done = run(root, "codec.bits=3", "training.epochs=many")
    assert done.returncode == 2
    assert "2 problems in the configuration:" in done.stderr
    assert "codec (Codec): bits is 3; expected 1, 2 or 4." in done.stderr
    assert "Traceback" not in done.stderr
    assert runs() == []


def test_unknown_keys_and_groups_stay_readable(root: Path) -> None:
    done = run(root, "codec.bitz=3")
    assert done.returncode == 2
    assert "Could not override 'codec.bitz'" in done.stderr
    assert "Traceback" not in done.stderr
    done = run(root, "codec=residul")
    assert done.returncode == 2
    assert "residual\n" in done.stderr  # the options


def test_a_sweep_over_experiments_builds_each(root: Path, runs) -> None:
    done = run(root, "--multirun", "target=index", "+ablation=glob(*)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nindex: ") == 2
    assert runs().count("index") == 2
    assert {path.name for path in root.parent.iterdir()} == {"artifacts", "corpus.txt"}


def test_wrong_points_are_named_before_the_work_and_do_not_stop_the_others(root: Path, runs) -> None:
    done = run(root, "--multirun", "target=index", "codec.bits=1,3,4,5")
    assert done.returncode == 2
    first, _, after = done.stderr.partition("2 of 4 points failed:")
    assert first.startswith("2 of 4 points can't be built (the others will be):\ncodec.bits=3: One problem")
    for told in (first, after):
        assert "bits is 3; expected 1, 2 or 4." in told and "bits is 5; expected 1, 2 or 4." in told
    assert "Traceback" not in done.stderr
    assert runs() == ["train", "encode", "index", "index"]
    rows = [line.split() for line in done.stdout.splitlines() if line[:1] in ("3", "5")]
    assert [" ".join(row) for row in rows] == [
        f"{bits} codec (Codec): bits is {bits}; expected 1, 2 or 4." for bits in (3, 5)
    ]


def test_a_sweep_without_a_right_point_is_refused(root: Path, runs) -> None:
    done = run(root, "--multirun", "target=index", "codec.bits=3,5")
    assert (done.returncode, runs()) == (2, [])
    assert done.stderr.startswith("None of the points can be built:\ncodec.bits=3: One problem")


def test_all_points_that_failed_at_work_are_named(root: Path) -> None:
    (root / "fail-index").touch()
    done = run(root, "--multirun", "target=index", "codec.bits=1,2")
    assert done.returncode != 0
    assert "2 of 2 points failed:\ncodec.bits=1: pipeline.index" in done.stderr
    assert "\ncodec.bits=2: pipeline.index" in done.stderr


def test_every_command_reads_an_interpolation_anew_for_each_point(root: Path) -> None:
    sweep = ("--multirun", "target=index", "codec.bits=1,2", "training.epochs=${codec.bits}")
    planned = run(root, *sweep, module="colbertv2 plan")
    done = run(root, *sweep)
    assert (planned.returncode, done.returncode) == (0, 0), done.stderr
    addresses = {word for word in planned.stdout.split() if word.startswith(("train-", "encode-", "index-"))}
    assert addresses == {path.name for path in root.glob("*/*-*") if not path.name.startswith(".")}
    assert len(addresses) == 6, "both trainings and what follows from them"
    again = run(root, *sweep, module="colbertv2 plan")
    assert "6 different steps, 0 missing" in again.stdout


def test_an_interpolation_may_lead_to_a_whole_component(root: Path) -> None:
    words = ("target=index", "+pipeline.other=${codec}", "pipeline.index.codec=${pipeline.wide.codec}")
    assert run(root, *words, module="colbertv2 plan").returncode == 0
    done = run(root, *words)
    assert done.returncode == 0, done.stderr


def test_each_point_publishes_to_a_place_of_its_own(root: Path, runs) -> None:
    sweep = ("--multirun", "codec.bits=1,2")
    done = run(root, *sweep, "publish=results")
    assert (done.returncode, runs()) == (2, [])
    assert "publish=results/${codec.nbits}" in done.stderr and "Traceback" not in done.stderr
    done = run(root, *sweep, "publish=results/${codec.bits}")
    assert done.returncode == 0, done.stderr
    assert sorted(file.parent.name for file in (root.parent / "results").glob("*/table.md")) == ["1", "2"]


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("corpus.txt", "is a file"),
        ("corpus.txt/below", "is a file"),
        ("a" * 300, "File name too long"),
    ],
)
def test_a_place_that_cannot_be_published_to_is_refused_before_any_work(root: Path, runs, place, fault) -> None:
    for module in ("colbertv2", "colbertv2 plan"):
        done = run(root, f"publish={place}", module=module)
        assert (done.returncode, runs()) == (2, [])
        assert fault in done.stderr and "Traceback" not in done.stderr


def test_compose_equals_the_command_line(root: Path, toy) -> None:
    done = run(root, "+ablation=long", "target=index", module="colbertv2 plan")
    assert target_node(toy("+ablation=long", "target=index")).address in done.stdout


def test_compose_takes_odd_directories(tmp_path: Path) -> None:
    main, more = tmp_path / "conf, [a]", tmp_path / "it's more"
    (more / "extra").mkdir(parents=True)
    main.mkdir()
    (main / "config.yaml").write_text("target: x\n")
    (more / "extra" / "one.yaml").write_text("# @package _global_\nfound: true\n")
    assert compose(["+extra=one"], directories=(main, more)).found is True
    assert compose(directories=(main, tmp_path / "absent")).target == "x"


def test_every_value_has_an_origin(toy) -> None:
    overrides = ["codec=wide", "codec.dim=8", "+ablation=long", "runtime.root=/r", "corpus.path=/c"]
    found = origins(overrides, directories=DIRECTORIES)
    assert found["codec.bits"] == "conf/codec/wide.yaml"
    assert found["codec.dim"] == "codec.dim=8"
    assert found["training.epochs"] == "experiments/ablation/long.yaml"
    assert found["training.rate"] == "conf/config.yaml"
    assert found["pipeline.index.codec"] == "conf/pipeline/toy.yaml"
    assert not any(key.startswith(("hydra", "defaults")) for key in found)


def test_a_short_description_names_what_was_chosen_set_and_removed(toy) -> None:
    overrides = ["codec=wide", "+ablation=long", "corpus.path=/c", "~measures", "~runtime", "hydra.verbose=true"]
    config = compose(overrides, directories=DIRECTORIES)
    assert describe_changes(config, overrides, directories=DIRECTORIES).splitlines() == [
        "ablation: long  # command line",
        "runtime: removed  # command line",
        "codec: wide  # command line",
        "corpus.path: /c  # command line",
        "training.epochs: 5  # experiments/ablation/long.yaml",
        "measures: removed  # command line",
    ]
    assert describe_changes(compose(directories=DIRECTORIES), directories=DIRECTORIES) == ""


def test_the_description_is_the_configuration(toy) -> None:
    overrides = ["runtime.root=/r", "corpus.path=/c", "codec.bits=1"]
    config = compose(overrides, directories=DIRECTORIES)
    text = describe(config, origins(overrides, directories=DIRECTORIES))
    read = yaml.safe_load(text)
    assert read["codec"] == {"_target_": "toy.components.Codec", "bits": 1, "dim": 8}
    assert read["pipeline"] == "…", "the plan shows it"
    rewired = [*overrides, "pipeline.round1.epochs=4"]
    config = compose(rewired, directories=DIRECTORIES)
    read = yaml.safe_load(describe(config, origins(rewired, directories=DIRECTORIES)))
    assert read["pipeline"]["index"]["embeddings"] == "${pipeline.embeddings}"
    assert read["pipeline"]["round1"]["epochs"] == 4
    assert "codec:  # conf/codec/residual.yaml\n  _target_: toy.components.Codec\n  bits: 1  # codec.bits=1\n" in text


def test_a_damaged_artifact_ends_a_run_with_one_line_and_exit_code_2(root: Path, runs) -> None:
    assert run(root, "target=index").returncode == 0
    file = next((root / "index").glob("index-*/epochs.txt"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    for words, module in (("", "colbertv2"), ("--all", "colbertv2 verify")):
        done = run(root, *filter(None, [words]), module=module)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert f"{file} is not what was written" in done.stderr and f"Remove {file.parent} and run" in done.stderr
    assert runs() == ["train", "encode", "index"], "neither used nor made again"
