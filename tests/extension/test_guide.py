"""The parts of the guide, all in one module, as a reader pastes them: swept by the command, planned and reported."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas
import pytest
from pages import ROOT, blocks, site_pages
from support import shrunk

from colbertv2.artifacts.artifact import Artifact
from colbertv2.commands import plan, report
from colbertv2.runtime import Runtime

GUIDE = [*blocks(site_pages()["guides/extend.md"])]
KINDS = {"codec", "reduction", "search", "training", "source", "collection", "pipeline"}
SWEEP = ["codec=halves,residual", "search=first_part,exhaustive", "source@pipeline.round2.candidates=shortest"]
SWEEP += ["training@training.round2=hinge", "collection=letters", "pipeline=mine", "target=hits"]
SWEEP += ["reduction=every_other"]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A directory with the module and the YAML files of the guide."""
    directory = tmp_path_factory.mktemp("my_project")
    (directory / "my_parts.py").write_text("\n\n".join(one.text for one in GUIDE if one.language == "python"))
    for one in GUIDE:
        if one.language == "yaml":
            file = directory / one.text.split()[1]  # "# conf/codec/halves.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(one.text)
    assert {file.parent.name for file in directory.rglob("*.yaml")} >= KINDS
    return directory


@pytest.fixture(scope="module")
def words(project) -> list[str]:
    small = [one for one in shrunk(project, project / "artifacts") if not one.startswith("collection")]
    out = f"report.out={project / 'report'}"
    return ["--config-dir", str(project / "conf"), "-m", *SWEEP, *small, "runtime.device=cpu", "depth=10", out]


def run(project: Path, words: list[str]) -> str:
    """What the verb prints, which reads the words of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "colbertv2", "run", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(project), str(ROOT)])},
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_all_kinds_of_parts_in_one_module_are_swept_planned_and_reported(project, words, monkeypatch, capsys):
    monkeypatch.syspath_prepend(project)
    plan.main(words)
    planned = capsys.readouterr().out
    assert " shortest-" in planned and planned.count(" hits-") == 4 and "4 points: " in planned

    printed = run(project, words)
    rows = [line.split()[:2] for line in printed.splitlines() if line.startswith(("halves", "residual"))]
    assert rows == [[codec, search] for codec in ("halves", "residual") for search in ("first_part", "exhaustive")]
    assert "hit@1" in printed and "hit@5" in printed

    found = [Artifact.open(path) for path in sorted((project / "artifacts" / "hits").glob("hits-*"))]
    assert len(found) == 4
    for one in found:
        ranking, values = one.parents["ranking"], pandas.read_csv(one.path / "per_query.csv", index_col="query_id")
        engine = ranking.arguments["engine"]["_target_"]
        codec = ranking.parents["index"].arguments["codec"]["_target_"]
        assert codec in ("my_parts.Halves", "colbertv2.compression.residual.ResidualCodec")
        first = values.loc[[f"q{number}" for number in range(13)]]
        later = values.loc[[f"q{number}" for number in range(13, 26)]]
        assert first["hit@5"].sum() > 0 and (later["hit@5"].sum() > 0) == ("FirstPart" not in engine)
        assert "EveryOther" in ranking.ancestor("embeddings").arguments["reduction"]["_target_"]
        checkpoint = ranking.ancestor("checkpoint")
        assert pandas.read_csv(checkpoint.path / "log" / "metrics.csv")["train/hinge"].notna().any()
        assert checkpoint.parents["examples"].parents["candidates"].stage == "shortest"

    report.main(words)
    text = (project / "report" / "report.md").read_text()
    assert "search=exhaustive against first_part" in capsys.readouterr().out
    assert "hit@1" in text and f"--config-dir {project / 'conf'}" in text


def test_the_stage_that_divides_has_parts(project, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(project)
    import my_parts  # pyright: ignore[reportMissingImports]

    (tmp_path / "run.trec").write_text("".join(f"line {number}\n" for number in range(2500)))
    ranking = SimpleNamespace(file=lambda name: tmp_path / name)
    my_parts.upper_case(ranking, out=tmp_path, runtime=Runtime(root=tmp_path, device="cpu"))
    assert (tmp_path / "upper.txt").read_text().startswith("LINE 0\nLINE 1\n")
    assert len(list(tmp_path.glob(".parts/*/0*/"))) == 3
