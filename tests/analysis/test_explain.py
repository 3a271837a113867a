"""Tests of explanations of scores, against search and against plain loops."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import WORDS, no_bar, tiny_bert
from transformers import AutoTokenizer

from colbertv2.analysis.explain import (
    Configuration,
    MaxSimMap,
    difference,
    explain,
    explain_difference,
    ranking_difference,
    refuse_other_vectors,
)
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.codec import Codec
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.data.collection import Collection
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.indexing.index import Index
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT, stacked
from colbertv2.modeling.tokenizer import Tokenizer
from colbertv2.reporting.analysis_figures import draw_map, shown_columns
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.plaid import Plaid
from colbertv2.search.searcher import Searcher

TOKENIZATION = Tokenization(
    query_maxlen=10,
    document_maxlen=24,
    query_marker="[unused0]",
    document_marker="[unused1]",
    query_augmentation=True,
    attend_to_mask_tokens=False,
    skip_punctuation=True,
)
QUERY = "sort a list of numbers"
DOCUMENTS = [
    f"{WORDS[number % 20]} {WORDS[number * 7 % 20]}, the {WORDS[number * 3 % 20]} = map(key)." for number in range(40)
]


def model_of(tokenization: Tokenization) -> ColBERT:
    backbone = Backbone(str(tiny_bert()), sha256=None)
    return initial.colbert(backbone, tokenization, 16, "orthogonal", [], seed=0).eval()


@pytest.fixture(scope="module")
def model() -> ColBERT:
    return model_of(TOKENIZATION)


def made(similarities, query="qr", document="abcdefgh") -> MaxSimMap:
    rows, columns = np.shape(similarities)
    return MaxSimMap(list(query[:rows]), list(document[:columns]), np.array(similarities))


def index_by(model: ColBERT, codec: Codec, path: Path) -> Index:
    """An index of ``DOCUMENTS``, with the ids d0, d1 and so on."""
    writer = EmbeddingsWriter(path / "embeddings", model.dim)
    ids = [f"d{number}" for number in range(len(DOCUMENTS))]
    writer.add(ids, *stacked(model.encode_documents(DOCUMENTS), model.dim))
    writer.close()
    return Index.build(
        Embeddings.open(path / "embeddings"), codec, path / "index",
        clustering=Clustering(num_centroids=16), seed=0, bar=no_bar,
    )  # fmt: skip


@pytest.mark.parametrize(
    "codec",
    [Float16Codec(), ResidualCodec(1), ResidualCodec(2), ProductCodec(2)],
    ids=repr,
)
def test_the_score_is_that_of_search(model, codec, tmp_path):
    index = index_by(model, codec, tmp_path)
    ids = list(index.doc_ids)
    (found,) = Searcher(index, Exhaustive()).search(model.encode_queries([QUERY]), k=len(DOCUMENTS))
    explained = {id: explain(model, QUERY, text, index.codec) for id, text in zip(ids, DOCUMENTS, strict=True)}
    np.testing.assert_allclose([explained[id].score for id, _ in found], [score for _, score in found], atol=1e-3)
    lengths = [len(explained[id].document_tokens) for id in ids]
    assert lengths == index.lengths.tolist()


def test_tokens_line_up_with_vectors(model):
    found = explain(model, "sort (a) list", "join, the keys: parse!")
    special, masks = ["[CLS]", "[unused0]", "sort", "(", "a", ")", "list", "[SEP]"], ["[MASK]"] * 2
    assert found.query_tokens == special + masks
    assert found.document_tokens == ["[CLS]", "[unused1]", "join", "the", "key", "##s", "parse", "[SEP]"]
    # A token's vector is the one at its place in the encoded text: compare with a plain forward pass.
    encoding = model.tokenizer.documents(["join, the keys: parse!"])
    vectors = model(encoding)[0].detach().numpy()
    ids = encoding.input_ids[0].tolist()
    parse = ids.index(model.tokenizer.tokenizer.get_vocab()["parse"])
    query = model.encode_queries(["sort (a) list"])[0]
    np.testing.assert_allclose(found.similarities[:, 6], query @ vectors[parse], atol=1e-5)


@pytest.mark.parametrize("augmented", [False, True])
def test_parts_agree_with_a_loop(augmented):
    model = model_of(replace(TOKENIZATION, query_augmentation=augmented))
    found = explain(model, QUERY, DOCUMENTS[3])
    assert (found.query_tokens[-1] == "[MASK]") == augmented
    query, document = model.encode_queries([QUERY])[0], model.encode_documents([DOCUMENTS[3]])[0]
    total = 0.0
    for row, vector in enumerate(query):
        similarities = [float(vector @ other) for other in document]
        assert found.contributions[row] == pytest.approx(max(similarities), abs=1e-6)
        assert found.best[row] == int(np.argmax(similarities))
        total += max(similarities)
    assert found.score == pytest.approx(total, abs=1e-5)
    table = found.table()
    assert table["similarity"].sum() == pytest.approx(found.score, abs=1e-5)
    assert table["similarity"].is_monotonic_decreasing
    for place, row in table.iterrows():
        assert row["query_token"] == found.query_tokens[place]
        assert row["document_token"] == found.document_tokens[found.best[place]]


def test_changes_sum_to_the_difference_of_scores(model):
    codec = ResidualCodec(1)
    sample = np.concatenate(model.encode_documents(DOCUMENTS))
    codec.learn(Clustering(num_centroids=8).fit(sample, num_documents=40, average_length=9, seed=0, device="cpu"))
    exact, coarse = explain(model, QUERY, DOCUMENTS[0]), explain(model, QUERY, DOCUMENTS[0], codec)
    assert exact.score != pytest.approx(coarse.score, abs=1e-3)
    table = explain_difference(exact, coarse)
    assert table["change"].sum() == pytest.approx(coarse.score - exact.score, abs=1e-5)
    assert table["change"].abs().is_monotonic_decreasing
    moved = explain_difference(made([[0.9, 0.1], [0.2, 0.3]]), made([[0.5, 0.6], [0.2, 0.3]]))
    assert moved.loc[0].tolist() == ["q", "a", "b", 0.9, 0.6, pytest.approx(-0.3)]
    with pytest.raises(InputError, match="tokens of the queries differ"):
        explain_difference(made([[1.0]]), made([[1.0]], query="z"))


def test_a_difference_of_rankings_goes_down_to_tokens(model, tmp_path):
    """One model, two codecs: all documents of both top k appear, and the changes sum to the difference of scores."""
    (tmp_path / "folder").mkdir()
    rows = [json.dumps({"_id": f"d{number}", "text": text}) for number, text in enumerate(DOCUMENTS)]
    (tmp_path / "folder" / "corpus.jsonl").write_text("\n".join(rows) + "\n")
    documents = Collection(f"folder:{tmp_path / 'folder'}")
    exact, coarse = (
        Configuration(model, Searcher(index_by(model, codec, tmp_path / codec.label), Exhaustive()))
        for codec in (Float16Codec(), ResidualCodec(1))
    )
    found = difference(exact, coarse, QUERY, documents, k=5, depth=40)
    vectors = model.encode_queries([QUERY])
    tops = [{id for id, _ in one.searcher.search(vectors, 5)[0]} for one in (exact, coarse)]
    assert set(found.documents.index) == tops[0] | tops[1] and (found.documents["move"] != 0).any()
    changes = found.tokens.groupby("document")["change"].sum()
    scores = (found.documents["second_score"] - found.documents["first_score"]).astype(float)
    np.testing.assert_allclose(changes.loc[scores.index], scores, atol=1e-3)
    assert (difference(exact, exact, QUERY, documents, k=5, depth=40).tokens["change"] == 0).all()
    # A pruned document is missing from the ranking, and its tokens show that its score would have been the same.
    pruning = Configuration(model, Searcher(coarse.searcher.index, Plaid(nprobe=1, ndocs=8)))
    pruned = difference(coarse, pruning, QUERY, documents, k=5, depth=40)
    assert len(pruned.documents) > 2 == pruned.documents["second_rank"].notna().sum()
    assert (pruned.tokens["change"] == 0).all()


def test_an_index_that_has_not_one_vector_per_token_is_not_explained(model, tmp_path):
    """Its scores were compared with those of the single tokens, which did not sum to them."""
    index = index_by(model, Float16Codec(), tmp_path)
    document, stored = index.doc_ids[0], int(index.lengths[0])
    refuse_other_vectors(index, document, stored)
    with pytest.raises(InputError, match="set reduction=none"):
        refuse_other_vectors(index, document, stored + 1)


def test_maps_without_tokens_or_of_other_shapes_are_refused():
    with pytest.raises(InputError, match="expected \\[2, 1\\]"):
        MaxSimMap(["a", "b"], ["c"], np.zeros((1, 2)))
    with pytest.raises(InputError, match="at least one token"):
        MaxSimMap(["a"], [], np.zeros((1, 0)))


def test_a_literal_token_of_the_vocabulary_is_what_is_scored():
    tokenization = replace(TOKENIZATION, literal_tokens=True)
    tokenizer = Tokenizer(AutoTokenizer.from_pretrained(tiny_bert()), tokenization)
    model = model_of(TOKENIZATION)
    model.tokenizer = tokenizer
    assert "[unused1]" in explain(model, QUERY, "join [unused1] key").document_tokens[2:]


def test_rankings_differ_by_the_documents_of_either_top():
    first = Ranking({"q": [("a", 5.0), ("b", 4.0), ("c", 3.0), ("d", 2.0)]})
    second = Ranking({"q": [("c", 9.0), ("a", 8.0), ("e", 7.0), ("b", 6.0)]})
    table = ranking_difference(first, second, "q", k=2)
    assert table.index.tolist() == ["a", "b", "c"]
    assert table[["first_rank", "second_rank", "move"]].to_numpy().tolist() == [[1, 2, -1], [2, 4, -2], [3, 1, 2]]
    assert table.loc["c", ["first_score", "second_score"]].tolist() == [3.0, 9.0]
    missing = ranking_difference(first, second, "q", k=3).loc["e"]
    assert missing.isna().to_dict() == {
        "first_rank": True, "first_score": True, "second_rank": False, "second_score": False, "move": True,
    }  # fmt: skip
    with pytest.raises(InputError, match="second ranking has no query 'p'"):
        ranking_difference(Ranking({"p": [("a", 1.0)]}), second, "p", k=1)
    with pytest.raises(InputError, match="k is 0"):
        ranking_difference(first, second, "q", k=0)


def test_a_long_document_is_drawn_where_it_is_taken(tmp_path):
    similarities = np.random.default_rng(0).uniform(0, 0.5, (3, 100))
    similarities[[0, 1, 2], [0, 50, 51]] = 0.9
    found = MaxSimMap(["$a", "$b", "c"], [f"t{number}" for number in range(100)], similarities)
    assert shown_columns(found) == [0, 1, 49, 50, 51, 52]
    figure = draw_map(found, tmp_path / "map.of.it")
    assert (tmp_path / "map.of.it.png").stat().st_size > 5_000 and (tmp_path / "map.of.it.svg").exists()
    (tmp_path / "again").mkdir()
    draw_map(found, tmp_path / "again" / "map.of.it")
    for suffix in ("png", "svg"):
        assert (tmp_path / "again" / f"map.of.it.{suffix}").read_bytes() == (
            tmp_path / f"map.of.it.{suffix}"
        ).read_bytes()
    heat, bars = figure.axes[:2]
    corners = [patch.get_xy() for patch in heat.patches]
    assert corners == [(-0.5, -0.5), (3.5, 0.5), (4.5, 1.5)]  # query position 2 has no token, so it is a gap
    assert [bar.get_width() for bar in bars.patches] == pytest.approx(found.contributions)
    assert shown_columns(made(np.zeros((2, 8)))) == list(range(8))
