"""Collections that are too large for tests, read from small files in their released format."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import ir_datasets
import pytest
import released
from hydra.utils import instantiate
from ir_datasets.datasets.base import Dataset
from ir_datasets.datasets.msmarco_passage import FixEncoding
from ir_datasets.formats import TsvDocs
from ir_datasets.util import Cache, TarExtract
from support import shrunk

from colbertv2.configuration.composition import build, compose
from colbertv2.data.collection import Collection, is_empty
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.measures import evaluate
from colbertv2.evaluation.protocols import judged
from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.embeddings import Embeddings

pytestmark = pytest.mark.usefixtures("any_disk")
any_disk = released.any_disk


def parts(*overrides: str) -> tuple[Collection, dict[str, Queries]]:
    config = compose(overrides).collection
    found = {key: instantiate(config[key]) for key in ("train", "dev", "eval") if config[key] is not None}
    return instantiate(config.documents), found


def test_msmarco(tmp_path):
    released.msmarco()
    documents, queries = parts(
        "collection=msmarco", "collection.train.dev_fraction=0.3", "collection.dev.dev_fraction=0.3"
    )
    assert len(documents) == 40 and dict(documents)["3"] == "passage number 3 is about topic3"
    assert dict(documents)["1"].endswith("in the café")  # ir_datasets corrects the encoding
    ids = {name: {query_id for query_id, _ in part} for name, part in queries.items()}
    assert ids["eval"] == {str(10 * number) for number in range(10)}
    assert len(ids["train"] | ids["dev"]) == 20 and not ids["train"] & ids["dev"]
    assert not (ids["train"] | ids["dev"]) & ids["eval"]
    assert queries["eval"].qrels["30"] == {"3": 1}
    (tmp_path / "local.txt").write_text("100\n150\n")
    _, queries = parts("collection=msmarco_local_eval", f"collection.ids={tmp_path}/local.txt")
    assert dict(queries["eval"]) == {"100": "what is topic10", "150": "what is topic15"}


def test_passages_are_streamed_and_never_held_in_memory(tmp_path):
    """With ir_datasets' chain of readers for MS MARCO, twice the text needs no more memory."""
    text = "a passage of a thousand words " * 200

    def peak_of(passages: int) -> int:
        folder = tmp_path / str(passages)
        released.write_tar(folder / "tar", {"collection.tsv": released.tsv((one, text) for one in range(passages))})
        unpacked = FixEncoding(TarExtract(released.here(folder / "tar"), "collection.tsv"))
        ir_datasets.registry.register(str(folder), Dataset(TsvDocs(Cache(unpacked, folder / "collection.tsv"))))
        documents = Collection(str(folder))
        tracemalloc.start()
        assert sum(len(passage) for _, passage in documents) == passages * len(text)  # builds the store, too
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_of(3000) < peak_of(1500) + 1_000_000  # for 9 MB more text


def test_a_store_is_enough():
    """Once the store is built, the downloaded files may be deleted."""
    released.msmarco()
    expected = list(Collection("msmarco-passage"))
    folder = released.home() / "msmarco-passage"
    downloaded = [folder / name for name in ("collection.tsv", "collectionandqueries.tar.gz")]
    contents = [path.read_bytes() for path in downloaded]
    try:
        for path in downloaded:
            path.unlink()
        assert list(Collection("msmarco-passage")) == expected
    finally:
        for path, content in zip(downloaded, contents, strict=True):
            path.write_bytes(content)


def test_beir_leaves_out_the_query_itself():
    released.arguana()
    documents, queries = parts("collection=beir", "collection.set=arguana")
    asked = queries["eval"]
    assert len(documents) == len(asked) == 6
    first = next(iter(asked))[0]
    counter = next(iter(asked.qrels[first]))
    ranking, qrels = judged(Ranking({first: [(first, 2.0), (counter, 1.0)]}), asked)
    assert evaluate(ranking, qrels, ["RR@10"])["RR@10"][first] == 1.0
    plain = Queries("beir/arguana")
    ranking, qrels = judged(Ranking({first: [(first, 2.0), (counter, 1.0)]}), plain)
    assert evaluate(ranking, qrels, ["RR@10"])["RR@10"][first] == 0.5


def test_a_beir_set_with_splits_and_without_titles():
    texts = {"d1": ("A title", "some text"), "d2": ("", "no title")}
    released.beir("fiqa", texts, {"q1": "one", "q2": "two"}, {"test": [("q1", "d1", 2)], "train": [("q2", "d2", 1)]})
    documents, queries = parts("collection=beir", "collection.set=fiqa/test")
    assert dict(documents) == {"d1": "some text", "d2": "no title"} and dict(queries["eval"]) == {"q1": "one"}


ALL_SETS = """
import json, logging, sys
import released
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
logging.basicConfig(stream=sys.stderr, format="%(message)s")
found = {}
for name in released.every_beir_set():
    documents, asked = Collection(f"beir/{name}"), Queries(f"beir/{name}", protocol="beir")
    assert len(documents) == len(dict(documents)) == sum(1 for _ in documents)
    assert documents.texts(list(dict(documents))) == [text for _, text in documents]
    found[name] = [dict(documents), {key: dict(asked.qrels[key]) for key, _ in asked}, asked.qrels.mismatch(documents)]
released.odd_passages()
for name, split in (("lotte/writing/test", "search"), ("msmarco-passage", "dev/small")):
    documents, asked = Collection(name), Queries(f"{name}/{split}")
    assert [text for _, text in documents] == released.ODD_PASSAGES and len(documents) == 5
    assert {key: dict(asked.qrels[key]) for key, _ in asked} == {"0": {"0": 1, "1": 1}, "2": {"99": 1}}
    assert asked.qrels.mismatch(documents) == []
print("found:" + json.dumps(found))
"""


def test_every_beir_set_with_what_is_odd_in_released_ones(tmp_path):
    """Empty and repeated documents, ids of any form, queries without judgements; also in LoTTE and MS MARCO.

    It runs with a separate home of ir_datasets.
    """
    tests = Path(__file__).resolve().parents[1]
    places = {
        "IR_DATASETS_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(map(str, [tests.parent, tests])),
    }
    environment = {**os.environ, **places, "IR_DATASETS_SKIP_DISK_FREE": "true"}
    done = subprocess.run(
        [sys.executable, "-c", ALL_SETS], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.rpartition("found:")[2])
    assert len(found) == 40 and len({name.split("/")[0] for name in found}) == 15
    for name, (documents, grades, mismatch) in found.items():
        ids = [doc_id for doc_id, _ in released.ODD_DOCUMENTS]
        assert list(documents) == list(dict.fromkeys(ids)), name
        assert documents["twice"].strip() == "the last of two"
        untitled = name.split("/")[0] in ("msmarco", "fiqa", "quora")
        assert [key for key, text in documents.items() if is_empty(text)] == [*ids[1:2] * untitled, "empty", "blank"]
        assert grades == {
            "q1": {"q1": 1, "0007": 2}, "7": {"twice": 1, "empty": -2}, "07": {"not-in-the-corpus": 1},
        }, name  # fmt: skip
        assert mismatch == []
    assert done.stderr.count("documents with the id of another; the last is used") == len(found)


def test_empty_documents_of_a_released_set_have_no_vectors_and_are_never_found(tmp_path, caplog):
    texts = {"d1": ("", "the python list"), "d2": ("", ""), "d3": ("", " \t"), "d4": ("", "a file")}
    released.beir(
        "quora", texts, {"q1": "the list", "q2": "a file"}, {"dev": [], "test": [("q1", "d1", 1), ("q2", "d4", 1)]}
    )
    small = [one for one in shrunk(tmp_path, tmp_path / "artifacts") if not one.startswith("collection")]
    chosen = ["collection=beir", "collection.set=quora/test", *small]
    index = build(compose([*chosen, "pipeline=untrained", "target=index"]))
    embeddings = Embeddings.open(index.parents["embeddings"].path)
    assert embeddings.doc_ids == [*texts] and (embeddings.lengths > 0).tolist() == [True, False, False, True]
    note = "2 of 4 documents have no text, so no vectors, and are never found."
    assert f"beir/quora/test: {note}" in caplog.text
    assert note in json.loads((index.path / "statistics.json").read_text())["notes"]
    for search in ("exhaustive", "plaid", "cascade", "vanilla_colbertv2"):
        found = build(compose([*chosen, "pipeline=untrained", f"search={search}", "target=metrics"]))
        ranking = Ranking.read(found.parents["ranking"].path / "run.trec")
        assert all({doc_id for doc_id, _ in ranking[query_id]} == {"d1", "d4"} for query_id in ("q1", "q2")), search


@pytest.mark.parametrize("topic", ["writing", "pooled"])
def test_lotte(topic):
    released.lotte()
    overrides = ["collection=lotte", f"collection.topic={topic}"]
    documents, search = parts(*overrides)
    assert dict(documents)["3"] == f"{topic} test answer1"
    assert {key: dict(grades) for key, grades in search["eval"].qrels.items()} == {
        "0": {"0": 1, "1": 1}, "1": {"2": 1, "3": 1},
    }  # fmt: skip
    _, forum = parts(*overrides, "collection.form=forum", "collection.split=dev")
    assert dict(forum["eval"])["2"] == "forum answer2"
    ranking = Ranking({"0": [("7", 3.0), ("1", 2.0)], "1": [("0", 1.0)]})
    values = evaluate(*judged(ranking, search["eval"]), ["Success@5", "RR@10"])
    assert values["Success@5"].tolist() == [1.0, 0.0] and values["RR@10"].tolist() == [0.5, 0.0]


def test_an_archive_that_was_unpacked_by_half_is_unpacked_again(monkeypatch):
    released.lotte()
    target = released.home() / "lotte" / "lotte_extracted"
    shutil.rmtree(target, ignore_errors=True)
    seen = []

    def killed(tar, path, *_, **__):
        tar.extract(tar.next(), path)
        seen.append(target.exists())
        raise SystemExit  # ir_datasets would clean up after it, which a killed process can't (rmtree is disabled)

    monkeypatch.setattr(tarfile.TarFile, "extractall", killed)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(SystemExit):
        next(iter(parts("collection=lotte", "collection.topic=writing")[0]))
    assert seen == [False] and not target.exists()
    monkeypatch.undo()
    documents, _ = parts("collection=lotte", "collection.topic=writing")
    assert dict(documents)["3"] == "writing test answer1"


@pytest.mark.parametrize("name", ["nq", "triviaqa", "squad"])
def test_wikipedia_is_judged_by_answers(name):
    questions = released.dpr()
    for file in ("trivia-dev.qa.csv", "squad1-dev.qa.csv"):
        (questions.parent / file).write_bytes(questions.read_bytes())
    documents, queries = parts(f"collection={name}", f"collection.path={questions.parent}")
    assert dict(documents)["1"] == 'Aaron | Aaron ( or ; "Ahärôn" ) is a prophet, and the brother of Moses'
    asked = queries["eval"]
    assert len(asked) == 4 and dict(asked)["3"] == 'how many "angels" dance'
    everything = [("3", 3.0), ("2", 2.0), ("1", 1.0)]
    values = evaluate(
        *judged(Ranking(dict.fromkeys("0123", everything)), asked), ["Success@1", "Success@2", "Success@5"]
    )
    # "New York" is not in "Yorkshire" but is the title of passage 3; "Weird Al" is that of 2; no passage has "seven".
    assert values.to_numpy().tolist() == [[0, 0, 1], [1, 1, 1], [0, 1, 1], [0, 0, 0]]
    text_alone = Queries(asked.id, protocol="dpr")
    values = evaluate(*judged(Ranking(dict.fromkeys("0123", everything)), text_alone), ["Success@1", "Success@2"])
    assert values.to_numpy().tolist() == [[0, 0], [0, 1], [0, 0], [0, 0]]


def test_a_download_that_was_cut_short_says_so():
    released.dpr()
    place = released.home() / "dpr-w100" / "nq-dev.json.gz"
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(InputError, match=r"cut short|damaged"):
            len(Queries("dpr-w100/natural-questions/dev"))
    finally:
        place.write_bytes(whole)
    assert gzip.decompress(whole)
    assert len(Queries("dpr-w100/natural-questions/dev")) == 1


def test_judgements_of_another_version_of_the_documents_are_refused():
    released.msmarco()
    released.arguana()
    (problem,) = Queries("beir/arguana").qrels.mismatch(Collection("msmarco-passage"))
    assert "another version" in problem and "lacks 6 of 6" in problem
    assert Queries("beir/arguana").qrels.mismatch(Collection("beir/arguana")) == []
