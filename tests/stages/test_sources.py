"""Sources of negatives: files of other systems, random documents, and queries without labels."""

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
    unknown = "names 1 documents, none of them among those of .* 'd99'"
    for content, message in (("q0\td99\t1\n", unknown), ("x\td1\t1\n", "none of them among")):
        (tmp_path / "run.tsv").write_text(content)
        with pytest.raises((InputError, BuildError), match=message):
            mined(overrides, *external)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_what_a_run_names_and_the_collection_lacks_is_left_out_and_counted(world, tmp_path, caplog, mark):
    _, overrides = world
    run = tmp_path / "run.trec"
    run.write_bytes(mark + b"q0 Q0 d99 1 9 t\r\nq0 Q0 d7 2 8 t\nq0 Q0 d3 3 7 t\nq1 Q0 d7 1 3 t\nq3 Q0 d98 1 3 t\n\n")
    external = ["source@pipeline.round2.candidates=external", f"pipeline.round2.candidates.file.path={run}"]
    built = mined(overrides, *external, "mining.depth=2")
    assert dict(Ranking.read(built.path / "run.trec")) == {"q0": [("d7", 8.0), ("d3", 7.0)]}
    assert f"{run}: 1 of 3 queries are not among those of folder:" in caplog.text
    assert "and 2 of 4 documents are not in folder:" in caplog.text
    assert json.loads((built.path / "left_out.json").read_text()) == {"queries": 1, "documents": 2}


def test_examples_from_outside_train(world, tmp_path):
    _, overrides = world
    path = tmp_path / "examples.json"
    chosen = ["pipeline=external_examples", f"pipeline.examples.file.path={path}", "target=trained"]
    examples = [Example(f"q{3 * i}", [f"d{3 * i}", "d1", "d2", "d4"], [3.0, 1.0, 2.0, 0.0]) for i in range(4)]
    write_examples(path, examples)
    trained = build(compose([*overrides, *chosen]))
    assert json.loads((trained.path / "summary.json").read_text())["examples"] == 4


def test_examples_from_outside_are_cleaned(world, tmp_path, caplog):
    _, overrides = world
    path = tmp_path / "examples.json"
    chosen = ["pipeline=external_examples", f"pipeline.examples.file.path={path}", "target=examples"]
    whole = [
        Example("q0", ["d0", "d1", "d0", "d2", "d1", "d99"], [3.0, 1.0, 2.0, 0.0, 5.0, 4.0]),
        Example("q1", ["d1", "d2"], [1.0, 0.0]),  # a dev query
        Example("q3", ["d99", "d2"], [1.0, 0.0]),
        Example("q3", ["d3", "d3", "d98"], [1.0, 0.0, 0.0]),
        Example("q6", ["d6"], [1.0]),
    ]
    write_examples(path, whole)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    built = build(compose([*overrides, *chosen]))
    kept = [Example("q0", ["d0", "d1", "d2"], [3.0, 1.0, 0.0]), whole[-1]]
    assert list(Examples(built.path / "examples.jsonl")) == kept
    counts = {
        "negatives that are the positive": 2, "repeated negatives": 1, "unknown negatives": 2,
        "examples of unknown queries": 1, "examples with unknown positives": 1, "examples without negatives": 1,
    }  # fmt: skip
    assert json.loads((built.path / "cleaning.json").read_text()) == {"examples": 5, **counts, "kept": 2}
    line = next(
        message for message in caplog.messages if message.startswith(f"{path}: of 5 examples, these were left out: ")
    )
    assert all(f"{number} {what}" in line for what, number in counts.items())
    write_examples(path, whole[1:4])
    with pytest.raises(
        (InputError, BuildError), match=r"no example for folder:.*: of 3 examples, these were left out: 1 "
    ):
        build(compose([*overrides, *chosen]))
    write_examples(path, [])
    with pytest.raises((InputError, BuildError), match=r"no example for folder:\S+ and folder:\S+\.$"):
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
    assert unlabelled  # also q1, q2, …: queries of other splits have no labels in this one
    for query_id in unlabelled:
        best = max(zip(scored[query_id].scores, scored[query_id].documents, strict=True))[1]
        assert found[query_id].documents[0] == best and found[query_id].documents.count(best) == 1
    before = build(compose([*kept, "target=round1_examples"]))  # there are no teacher scores yet
    assert {one.query_id for one in Examples(before.path / "examples.jsonl")} == set(found) - unlabelled
