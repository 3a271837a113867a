"""An index of texts finds what a pipeline finds, and refuses wrong input before any work."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from support import WORDS, shrunk, tiny_bert, tiny_folder

from colbertv2 import ColBERT, Ranking, TextIndex, build, compose, rerank, untrained
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError
from colbertv2.search import text_index
from colbertv2.search.cascade import Cascade
from colbertv2.search.plaid import Plaid
from colbertv2.search.reranking import Hit

TEXTS = ["python list", "read a file", "sort the number"]


class Picky(Float16Codec):
    def check(self, dim):
        return [f"{dim} dimensions are not for it"]


@pytest.fixture(scope="module")
def model():
    return untrained(str(tiny_bert()), dim=16)


@pytest.fixture(scope="module")
def small(model):
    return TextIndex.build(model, TEXTS, progress=False)


@pytest.fixture(scope="module")
def piped(tmp_path_factory):
    """A small collection, and its ranking by a pipeline."""
    root = tmp_path_factory.mktemp("piped")
    folder = tiny_folder(root / "folder")
    wanted = [*shrunk(folder, root / "artifacts"), "pipeline=untrained", "search=plaid"]
    return folder, build(compose([*wanted, "target=ranking"]))


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_index_and_results_equal_those_of_the_pipeline(piped, tmp_path):
    folder, ranking = piped
    index = ranking.parents["index"]
    corpus = {row["_id"]: row["text"] for row in rows(folder / "corpus.jsonl")}
    found = Ranking.read(ranking.path / "run.trec")
    queries = {row["_id"]: row["text"] for row in rows(folder / "queries.jsonl") if row["_id"] in found}
    trained = ColBERT.load(index.ancestor("checkpoint").path)
    ours = TextIndex.build(
        trained, list(corpus.values()), tmp_path / "ours", ids=list(corpus), engine=Plaid(), progress=False
    )
    files = sorted(file.relative_to(ours.index.path) for file in ours.index.path.rglob("*") if file.is_file())
    assert len(files) > 8
    for file in files:
        assert (ours.index.path / file).read_bytes() == (index.path / file).read_bytes(), file
    hits = dict(zip(queries, ours.search(list(queries.values()), k=20), strict=True))
    assert len(hits) == 10 and {one: [(hit.id, hit.score) for hit in own] for one, own in hits.items()} == dict(found)
    assert all(hit.text == corpus[hit.id] for own in hits.values() for hit in own)


def test_reranking_is_maxsim_of_the_models_vectors(model):
    query, texts = "sort a list", ["read a file", " ", "sort the list", "python", "read a file"]
    (q,) = model.encode_queries([query])
    exact = {place: float((q @ d.T).max(1).sum()) for place, d in enumerate(model.encode_documents(texts))}
    found = rerank(model, query, texts, progress=False)
    order = sorted({0, 2, 3, 4}, key=lambda place: (-exact[place], place))  # without the empty text
    assert [hit.id for hit in found] == order and found[0].text == texts[order[0]]
    assert [hit.score for hit in found] == pytest.approx([exact[place] for place in order], abs=1e-5)
    assert rerank(model, [query, "python"], [texts, ["key"]], k=2, progress=False) == [
        found[:2],
        rerank(model, "python", ["key"], progress=False),
    ]
    assert rerank(model, query, ["", " "], progress=False) == rerank(model, query, [], progress=False) == []


def test_three_texts_are_enough(small, model):
    (one,) = small.search("sort the number", k=1)
    assert one == Hit("2", pytest.approx(rerank(model, "sort the number", TEXTS)[0].score, abs=0.05), TEXTS[2])
    assert len(small) == 3 and small.search([], k=2) == []
    assert [[hit.id for hit in own] for own in small.search(TEXTS, k=1)] == [["0"], ["1"], ["2"]]
    assert len(small.search("python", k=10)) == 3


@pytest.mark.parametrize(
    ("codec", "engine"),
    [(Float16Codec(), None), (ResidualCodec(1), Plaid()), (ResidualCodec(4), Cascade())],
    ids=["fp16", "1 bit by PLAID", "4 bits by cascade"],
)
def test_any_codec_and_engine_serve(model, codec, engine):
    texts = [f"{first} {second}" for first in WORDS[:8] for second in WORDS[8:14]]
    index = TextIndex.build(model, texts, codec=codec, engine=engine, clustering=Clustering(kmeans_iterations=2))
    assert [own[0].text for own in index.search(texts[::9], k=1)] == texts[::9]
    assert index.index.codec is not codec and index.index.codec.settings == codec.settings


def test_a_codec_that_learns_from_queries_gets_their_vectors(model, monkeypatch):
    seen = []
    monkeypatch.setattr(Float16Codec, "sample_queries", lambda self: ["sort", "read a list"], raising=True)
    monkeypatch.setattr(Float16Codec, "learn", lambda self, clusters, queries: seen.append(queries))
    TextIndex.build(model, TEXTS, codec=Float16Codec(), progress=False)
    np.testing.assert_array_equal(seen[0], np.concatenate(model.encode_queries(["sort", "read a list"])))


def test_the_queries_that_a_codec_learns_from_keep_their_prompt(model, monkeypatch):
    seen = []
    asked = SimpleNamespace(prompt="find: ", maxlen=None)
    monkeypatch.setattr(Float16Codec, "queries", asked, raising=False)
    monkeypatch.setattr(Float16Codec, "sample_queries", lambda self: ["sort"], raising=True)
    monkeypatch.setattr(Float16Codec, "learn", lambda self, clusters, queries: seen.append(queries))
    TextIndex.build(model, TEXTS, codec=Float16Codec(), progress=False)
    np.testing.assert_array_equal(seen[0], model.encode_queries(["sort"], prompt="find: ")[0])
    assert not np.array_equal(seen[0], model.encode_queries(["sort"])[0])


def test_saved_and_opened_it_finds_the_same(small, model, tmp_path):
    small.save(tmp_path / "kept")
    opened = TextIndex.open(tmp_path / "kept", model, progress=False)
    assert opened.search(TEXTS, k=3) == small.search(TEXTS, k=3) and opened.texts == TEXTS
    with pytest.raises(InputError, match="exists"):
        opened.save(tmp_path / "kept")
    with pytest.raises(InputError, match="exists"):
        TextIndex.build(model, TEXTS, tmp_path / "kept")


def test_without_a_path_the_index_goes_with_the_object(model):
    index = TextIndex.build(model, TEXTS, progress=False)
    path = index.path
    assert path.is_dir()
    del index
    assert not path.exists()


def test_another_model_is_refused(small, tmp_path):
    small.save(tmp_path / "kept")
    for other in (untrained(str(tiny_bert()), dim=16, seed=1), untrained(str(tiny_bert()), dim=8)):
        with pytest.raises(InputError, match="another model"):
            TextIndex.open(tmp_path / "kept", other)


def test_damage_is_named(small, model, tmp_path):
    small.save(tmp_path / "kept")
    for content in ('["one"]', "{}", '["one", 2, "three"]', "["):
        (tmp_path / "kept" / "texts.json").write_text(content)
        with pytest.raises(InputError, match=r"texts\.json"):
            TextIndex.open(tmp_path / "kept", model)
    with pytest.raises(InputError, match="missing"):
        TextIndex.open(tmp_path / "nowhere", model)


def test_progress_is_shown_unless_unwanted(model, capsys):
    TextIndex.build(model, TEXTS, progress=True).search(TEXTS)
    shown = capsys.readouterr().err
    assert all(step in shown for step in ("encode shard", "encode vectors", "encode queries", "search"))
    rerank(model, "sort", TEXTS)
    shown = capsys.readouterr().err
    assert all(step in shown for step in ("encode texts", "re-rank"))
    rerank(model, "sort", TEXTS, progress=False)
    TextIndex.build(model, TEXTS, progress=False).search(TEXTS)
    assert capsys.readouterr().err == ""


WRONG = {
    "a string for a list": ({"texts": "one text"}, "list of strings"),
    "no texts": ({"texts": []}, "no texts"),
    "only whitespace": ({"texts": ["", " \n"]}, "whitespace"),
    "a number": ({"texts": ["one", 2]}, r"texts\[1\] is 2, int"),
    "half a character": ({"texts": ["one", "\ud800"]}, r"texts\[1\] is not valid Unicode"),
    "too few ids": ({"ids": ["a"]}, "3 texts and 1 ids"),
    "an id twice": ({"ids": ["a", "b", "a"]}, "'a'"),
    "an id of two words": ({"ids": ["a", "b", "c d"]}, "'c d'"),
    "an engine that needs centroids": ({"codec": Float16Codec(), "engine": Plaid()}, "probes centroids"),
    "a codec of other dimensions": ({"codec": Picky()}, "16 dimensions are not for it"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_refused_before_any_work(model, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(text_index, "build_index", lambda *_, **__: pytest.fail("it encoded"))
    with pytest.raises(InputError, match=message):
        TextIndex.build(model, arguments.pop("texts", TEXTS), tmp_path / "new", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_wrong_queries_are_refused(small, model):
    for queries, k, message in [
        (" ", 1, "a query without words"),
        (["a", None], 1, "NoneType"),
        ("a", 0, "k is 0"),
        ("a", "3", "k is '3', str; expected a whole number"),
        ("a", 2.0, "k is 2.0, float"),
        ("a", True, "k is True, bool"),
        (None, 1, "queries is None, NoneType; expected a string or a list of strings"),
        (5, 1, "queries is 5, int"),
        ({"a": "b"}, 1, "queries is .*, dict"),
    ]:
        with pytest.raises(InputError, match=message):
            small.search(queries, k)
        with pytest.raises(InputError, match=message):
            rerank(model, queries, TEXTS if isinstance(queries, str) else [TEXTS] * 2, k)
    with pytest.raises(InputError, match="2 queries and 3 lists"):
        rerank(model, ["a", "b"], [TEXTS] * 3)
    with pytest.raises(InputError, match="k is None"):
        small.search("a", None)
    for queries, texts, message in [
        (["a", "b"], TEXTS[:2], r"texts\[0\] is one str; expected a list of strings"),
        (["a", "b"], None, "texts is None, NoneType; expected one list of strings for each query"),
        (["a", "b"], "ab", "texts is one str; expected one list of strings for each query"),
        (["a", "b"], [TEXTS, None], r"texts\[1\] is None, NoneType; expected a list of strings"),
        ("a", None, "texts is None, NoneType; expected a list of strings"),
    ]:
        with pytest.raises(InputError, match=message):
            rerank(model, queries, texts)


def test_texts_may_be_any_iterable_and_k_any_whole_number(small, model):
    expected = rerank(model, ["sort", "python"], [TEXTS, TEXTS], k=2)
    assert rerank(model, iter(["sort", "python"]), (iter(TEXTS) for _ in range(2)), k=np.int64(2)) == expected
    assert small.search("sort", k=np.int64(2)) == small.search("sort", k=2)


def test_an_untrained_model_is_made_only_of_an_encoder(tmp_path):
    untrained(str(tiny_bert()), dim=16).save(tmp_path)
    with pytest.raises(InputError, match=r"ColBERT\.load"):
        untrained(str(tmp_path))
    with pytest.raises(InputError, match="hidden size 32"):
        untrained(str(tiny_bert()), dim=33)
    with pytest.raises(InputError, match="dim is 0"):
        untrained(str(tiny_bert()), dim=0)


def test_a_checkpoint_is_loaded_by_any_name(tmp_path, monkeypatch):
    made = untrained(str(tiny_bert()), dim=16)
    made.save(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(tmp_path / name.rpartition("/")[2]))
    for name in (tmp_path, str(tmp_path), "someone/."):
        np.testing.assert_array_equal(ColBERT.load(name).encode_queries(["sort"])[0], made.encode_queries(["sort"])[0])
    with pytest.raises(InputError, match="no such directory"):
        ColBERT.load("./nowhere")
    with pytest.raises(InputError, match="is not installed"):
        ColBERT.load("pypi:no-such-package-here")
