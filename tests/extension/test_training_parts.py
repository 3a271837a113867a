"""A loss and a source of negatives from outside the package: one class or stage and one YAML file each."""

from dataclasses import dataclass
from pathlib import Path

import pandas
import pytest
from support import shrunk, tiny_folder
from torch import Tensor

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.stage import stage
from colbertv2.commands import plan, report
from colbertv2.configuration.composition import build
from colbertv2.configuration.points import collect
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.evaluation.ranking import Ranking, stored_ranking
from colbertv2.runtime import Runtime
from colbertv2.training.examples import SCORED_FILE, Example, Examples, read_examples, write_examples
from colbertv2.training.objectives import Scores


@dataclass(frozen=True)
class Hinge:
    """Every negative is to stay behind the positive by ``margin``."""

    weight: float
    margin: float
    needs_all_pairs = False
    needs_teacher = False
    minimum_candidates = 2

    def __call__(self, scores: Scores) -> Tensor:
        return (self.margin + scores.own[:, 1:] - scores.own[:, :1]).clamp(min=0).mean()


@stage(version=1)
def shortest(documents: Collection, queries: Queries, *, depth: int, out: Path, runtime: Runtime) -> None:
    """The shortest documents, the same for every query."""
    ids = [doc_id for doc_id, _ in sorted(documents, key=lambda document: len(document[1]))][:depth]
    ranked = [(doc_id, -float(rank)) for rank, doc_id in enumerate(ids)]
    Ranking({query_id: ranked for query_id, _ in queries}).write(out / "run.trec", tag=out.name)


@stage(version=1, provides=["teacher_scores"])
def brevity(candidates: Artifact, documents: Collection, *, out: Path, runtime: Runtime) -> None:
    """Scores candidates as the stage ``score`` does: the shorter a document, the better."""
    found = {query_id: [one for one, _ in ranked] for query_id, ranked in stored_ranking(candidates).items()}
    scored = (
        Example(query_id, ids, [-float(len(text)) for text in documents.texts(ids)]) for query_id, ids in found.items()
    )
    write_examples(out / SCORED_FILE, scored)


FILES = {
    "training/hinge.yaml": f"""
        defaults: [contrastive, _self_]
        objectives:
          hinge: {{_target_: {__name__}.Hinge, weight: 0.5, margin: 1.0}}
        """,
    "source/shortest.yaml": f"""
        _target_: {__name__}.shortest
        documents: ${{collection.documents}}
        queries: ${{collection.train}}
        depth: ${{mining.depth}}
        """,
    "pipeline/own_scores.yaml": f"""
        defaults: [one_round, _self_]
        own_scores:
          _target_: {__name__}.brevity
          candidates: ${{pipeline.round2.candidates}}
          documents: ${{collection.documents}}
        round2:
          examples: {{candidates: "${{pipeline.own_scores}}"}}
        """,
    "pipeline/one_round.yaml": """
        defaults: [undistilled, _self_]
        round2:
          previous: ${pipeline.initial}
          checkpoint: {validation: null, dev_queries: null}
        """,
}


@pytest.fixture
def arguments(tmp_path) -> list[str]:
    """One round of training by our own files; the axes of the sweep are for the test to say."""
    for name, text in FILES.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(text)
    small = shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts")
    chosen = ["pipeline=one_round", "codec=fp16", "depth=10", f"report.out={tmp_path / 'report'}"]
    return ["--config-dir", str(tmp_path / "conf"), "-m", *small, *chosen]


def test_they_are_planned_built_swept_and_reported(arguments, capsys):
    sources = "source@pipeline.round2.candidates=random,shortest"
    plan.main([*arguments, sources, "training@training.round2=contrastive,hinge"])
    planned = capsys.readouterr().out
    assert "shortest-" in planned and "4 points: " in planned and planned.count(" train-") == 4

    sweep = [*arguments, sources, "training@training.round2=hinge"]
    artifacts = [build(point.config) for point in collect(sweep)]
    trained = [artifact.ancestor("embeddings").parents["checkpoint"] for artifact in artifacts]
    without = [
        *arguments,
        sources.partition(",")[0],
        "training@training.round2=contrastive",
        "target=round2.checkpoint",
    ]
    (alone,) = [build(point.config) for point in collect(without)]
    assert alone.parents["examples"].address == trained[0].parents["examples"].address
    weights = [one.file("projection.safetensors").read_bytes() for one in (trained[0], alone)]
    assert weights[0] != weights[1]  # the loss changes what is learnt
    for checkpoint in trained:
        assert pandas.read_csv(checkpoint.path / "log" / "metrics.csv")["train/hinge"].notna().any()
    examples = [checkpoint.parents["examples"] for checkpoint in trained]
    assert [one.parents["candidates"].stage for one in examples] == ["random_candidates", "shortest"]
    negatives = {document for one in Examples(examples[1].path / "examples.jsonl") for document in one.documents[1:]}
    assert len(negatives) <= 8  # the same for every query: mining.depth

    capsys.readouterr()
    plan.main([*sweep, "mining.depth=7"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "shortest-" in line]
    assert "from 1 run here" in line  # what such a stage takes is learnt from its runs
    report.main(sweep)
    assert "source@pipeline.round2.candidates=shortest against random" in capsys.readouterr().out


def test_own_scores_are_read_as_those_of_the_teacher(arguments):
    """A stage is told by what it provides, not by its name."""
    chosen = ["pipeline=own_scores", "source@pipeline.round2.candidates=random", "target=round2.examples"]
    (examples,) = [build(point.config) for point in collect([*arguments, *chosen])]
    assert examples.parents["candidates"].provides == ["teacher_scores"]
    read = list(read_examples(examples.path / "examples.jsonl"))
    assert read and all(None not in example.scores[1:] for example in read)  # a labelled one need not be a candidate


def test_what_artifacts_of_earlier_versions_provide_is_known_from_their_stages(tmp_path):
    assert Artifact(tmp_path, {"stage": "score"}).provides == ("teacher_scores",)
    assert Artifact(tmp_path, {"stage": "bm25"}).provides == ()
