"""The mean of several teachers' normalised scores, and what is refused before and during the work."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.configuration.composition import build, compose, plan, runtime_of, target_node
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.planning.prediction import estimate_nodes
from colbertv2.stages.ensemble import check, in_parallel
from colbertv2.training.examples import Example, Examples, write_examples
from colbertv2.training.scored import weighted_mean

NAMES = ("first", "second", "third", "retriever")
NORMALISE = {
    "none": lambda scores: scores,
    "minmax": lambda scores: (scores - scores.min()) / (scores.max() - scores.min()),
    "zscore": lambda scores: (scores - scores.mean()) / scores.std(),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("ensemble")
    overrides = shrunk(tiny_folder(directory / "folder"), directory / "artifacts")
    return [*overrides, "round@pipeline.round2=ensemble", "target=round2.ensemble"]


def weights(*values: float) -> str:
    pairs = ",".join(f"{name}:{value}" for name, value in zip(NAMES, values, strict=True))
    return f"pipeline.round2.ensemble.weights={{{pairs}}}"


@pytest.mark.parametrize("normalisation", NORMALISE)
def test_each_score_is_the_weighted_mean_of_the_teachers_normalised_scores(small, normalisation):
    settings = [weights(2, 1, 0, 0.5), f"pipeline.round2.ensemble.normalisation={normalisation}"]
    built = build(compose([*small, *settings]))
    assert {*built.parents} == {"scored.first", "scored.second", "scored.retriever"}
    teachers = [Examples(built.parents[f"scored.{name}"].path / "scored.jsonl") for name in ("first", "second")]
    retrieved = Ranking.read(built.parents["scored.retriever"].path / "run.trec")
    for one, first, second in zip(Examples(built.path / "scored.jsonl"), *teachers, strict=True):
        assert one.query_id == first.query_id and one.documents == first.documents
        found = dict(retrieved[one.query_id])
        own = [found.get(document, min(found.values())) for document in one.documents]
        columns = [NORMALISE[normalisation](np.array(scores)) for scores in (first.scores, second.scores, own)]
        expected = (2 * columns[0] + columns[1] + 0.5 * columns[2]) / 3.5
        np.testing.assert_allclose(one.scores, expected, atol=1e-5)


def test_the_run_is_the_order_of_the_mean_above_what_no_teacher_scored(small):
    built = build(compose([*small, weights(1, 1, 0, 0), "mining.score_depth=2"]))
    run, retrieved = Ranking.read(built.path / "run.trec"), Ranking.read(retriever(built).path / "run.trec")
    for example in Examples(built.path / "scored.jsonl"):
        ranked = [document for document, _ in run[example.query_id]]
        best_first = sorted(example.documents, key=lambda d: -example.scores[example.documents.index(d)])
        others = [document for document, _ in retrieved[example.query_id] if document not in example.documents]
        assert ranked == best_first + others and len(others) > 0


def retriever(ensemble: Artifact) -> Artifact:
    return ensemble.parents["scored.first"].parents["candidates"]


def test_the_retriever_beside_a_teacher_without_normalisation_is_the_retriever_weight(small):
    mean = build(compose([*small, weights(1, 0, 0, 2), "pipeline.round2.ensemble.normalisation=none"]))
    total = build(compose([*small, "target=round2.scored", "mining.retriever_weight=2"]))
    for one, other in zip(*(Examples(artifact.path / "scored.jsonl") for artifact in (mean, total)), strict=True):
        assert one.documents == other.documents
        np.testing.assert_allclose(3 * np.array(one.scores), other.scores, rtol=1e-5)


def test_a_round_learns_from_the_ensemble_and_trains_no_teacher_of_weight_0(small):
    steps = plan(compose([*small, weights(1, 1, 0, 0), "target=round2.supervision"]))
    assert [step.stage for step in steps].count("teacher") == 2 and [step.stage for step in steps].count("score") == 2
    node = target_node(compose([*small, "target=round2.supervision"]))
    for role in ("scored", "examples"):
        parent = node.parents[role]
        assert (parent if role == "scored" else parent.parents["candidates"]).stage.name == "ensemble"


def test_a_plan_knows_the_cost_of_every_teacher(small, tmp_path):
    def seconds(*values: float) -> float:
        config = compose([*small, weights(*values), f"runtime.root={tmp_path}"])
        found = {one.key: one.seconds for one in estimate_nodes([target_node(config)], runtime_of(config))}
        assert None not in found.values(), found
        return sum(found.values())

    assert seconds(1, 0, 0, 0) < seconds(1, 1, 0, 0) < seconds(1, 1, 1, 0)


@pytest.mark.parametrize("normalisation", ["minmax", "zscore"])
def test_normalised_means_do_not_depend_on_the_scale_of_a_teacher(normalisation):
    first, second = np.random.default_rng(0).normal(size=(2, 9))
    found = weighted_mean([first.tolist(), second.tolist()], [1, 2], normalisation)
    np.testing.assert_allclose(
        found, weighted_mean([(3 * first + 5).tolist(), (0.1 * second).tolist()], [2, 4], normalisation), atol=1e-6
    )
    assert weighted_mean([[4.0, 4.0], [1.0, 1.0]], [1, 1], normalisation) == [0.0, 0.0]


def node(address: str, provides: tuple[str, ...] = ("teacher_scores",), **arguments: Any) -> Node:
    """Replaces a node of the stage ``score``, or of a ranking."""
    stage = SimpleNamespace(provides=provides)
    return SimpleNamespace(address=address, stage=stage, arguments=arguments)  # pyright: ignore


def test_what_cannot_be_an_ensemble_is_refused_before_any_work():
    def problem(scored: dict[str, Node], weights: dict[str, float]) -> str:
        return " ".join(check(scored, weights))

    one, other, ranking = node("score-1", depth=8), node("score-2", depth=8), node("search-1", ())
    assert problem({"a": one, "b": other, "r": ranking}, {"a": 1, "b": 2, "r": 0.5, "c": 0}) == ""
    assert "the weights above 0 are those of a, c, but scored has a, b" in problem(
        {"a": one, "b": other}, dict(a=1, c=1)
    )
    assert "no teacher of a weight above 0" in problem({"r": ranking}, {"r": 1})
    assert "scored.b is the same as scored.a (score-1)" in problem({"a": one, "b": one}, dict(a=1, b=1))
    deeper = problem({"a": one, "b": node("score-3", depth=9)}, dict(a=1, b=1))
    assert "scored.b has depth 9, but scored.a has 8" in deeper
    drawn = [node(f"score-{seed}", num_queries=5, seed=seed) for seed in (0, 1)]
    assert "scored.b has seed 1, but scored.a has 0" in problem(dict(zip("ab", drawn, strict=True)), dict(a=1, b=1))


def test_a_configuration_that_repeats_a_teacher_is_refused(small):
    with pytest.raises(InputError, match=r"scored\.second is the same as scored\.first"):
        plan(compose([*small, "pipeline.round2.second.seed=0", "seed=0"]))


def test_teachers_that_scored_other_candidates_are_refused(tmp_path):
    rows = {"a": [Example("q", ["d", "e"], [1.0, 2.0])], "b": [Example("q", ["d", "f"], [1.0, 2.0])]}
    for name, examples in rows.items():
        write_examples(tmp_path / name, examples)
    with pytest.raises(InputError, match=r"b has other candidates than .*a \(queries q and q\)"):
        list(in_parallel({name: tmp_path / name for name in rows}))
    write_examples(tmp_path / "b", [Example("q", ["d", "e"], [1.0, None])])
    with pytest.raises(InputError, match="a candidate of the query q has no score"):
        list(in_parallel({name: tmp_path / name for name in rows}))
