"""Where negatives come from: other systems' files, chance, and queries that nobody labelled."""

import json

import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.build import BuildError
from colbertv2.configuration.composition import build, compose
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.training.examples import Example, Examples, write_examples


@pytest.fixture
def world(tmp_path):
    """A folder of 30 documents, and the overrides that run anything on it."""
    folder = tiny_folder(tmp_path / "folder")
    return folder, shrunk(folder, tmp_path / "artifacts")


def mined(overrides: list[str], *more: str):
    return build(compose([*overrides, *more, "target=round2.candidates", "mining.depth=5"]))


def test_random_candidates_differ_by_query_and_seed(world):
    _, overrides = world
    random = "source@pipeline.round2.candidates=random"
    one, other = (Ranking.read(mined(overrides, random, f"seed={seed}").path / "run.trec") for seed in (1, 2))
    assert len(one) == 10 and all(len(one[query]) == 5 for query in one)
    assert len({tuple(doc for doc, _ in one[query]) for query in one}) > 5
    assert dict(one) != dict(other)


def test_a_run_of_another_system(world, tmp_path):
    _, overrides = world
    external = [
        "source@pipeline.round2.candidates=external",
        f"pipeline.round2.candidates.file.path={tmp_path}/run.tsv",
    ]
    (tmp_path / "run.tsv").write_text("q0\td7\t1\t9.5\nq0\td3\t2\t8.5\nq1\td7\t1\t3\n")  # q1 is a dev query
    found = Ranking.read(mined(overrides, *external).path / "run.trec")
    assert dict(found) == {"q0": [("d7", 9.5), ("d3", 8.5)]}
    for content, message in (("q0\td99\t1\n", "names 1 documents .* 'd99'"), ("x\td1\t1\n", "none of them among")):
        (tmp_path / "run.tsv").write_text(content)
        with pytest.raises((InputError, BuildError), match=message):
            mined(overrides, *external)


def test_examples_from_outside_train(world, tmp_path):
    _, overrides = world
    path = tmp_path / "examples.json"
    chosen = ["pipeline=external_examples", f"pipeline.examples.file.path={path}", "target=trained"]
    examples = [Example(f"q{3 * i}", [f"d{3 * i}", "d1", "d2", "d4"], [3.0, 1.0, 2.0, 0.0]) for i in range(4)]
    write_examples(path, examples)
    trained = build(compose([*overrides, *chosen]))
    assert json.loads((trained.path / "summary.json").read_text())["examples"] == 4
    for wrong, message in ((Example("q1", ["d1"], [1.0]), "'q1'"), (Example("q0", ["d0", "d99"], [1.0, 0.0]), "'d99'")):
        write_examples(path, [*examples, wrong])
        with pytest.raises((InputError, BuildError), match=f"Example 5 .*{message}"):
            build(compose([*overrides, *chosen]))


def test_a_query_without_a_label_has_the_teachers_best_as_its_positive(world):
    folder, overrides = world
    qrels = folder / "qrels" / "train.tsv"
    qrels.write_text("\n".join(line for line in qrels.read_text().splitlines() if not line.startswith("q0\t")) + "\n")
    assert "q0" not in dict(Queries(f"folder:{folder}/train"))
    kept = [*overrides, "target=round2.examples", "+collection.train.unlabelled=true", "denoising.margin=null"]
    built = build(compose(kept))
    scored = {one.query_id: one for one in Examples(built.parents["candidates"].path / "scored.jsonl")}
    found = {one.query_id: one for one in Examples(built.path / "examples.jsonl")}
    unlabelled = set(found) - {f"q{number}" for number in range(3, 30, 3)}
    assert unlabelled  # also q1, q2, …: the other splits' queries have no label in this one
    for query_id in unlabelled:
        best = max(zip(scored[query_id].scores, scored[query_id].documents, strict=True))[1]
        assert found[query_id].documents[0] == best and found[query_id].documents.count(best) == 1
    before = build(compose([*kept, "target=round1_examples"]))  # no teacher has spoken yet
    assert {one.query_id for one in Examples(before.path / "examples.jsonl")} == set(found) - unlabelled
