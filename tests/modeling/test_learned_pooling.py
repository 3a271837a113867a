"""A fixed number of vectors per document: what the pooling computes, learns and stores, and what it goes with."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import WORDS, shrunk, tiny_bert, tiny_folder

from colbertv2.analysis.explain import explain
from colbertv2.checkpoints.layouts import read_checkpoint, write_checkpoint
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.commands.command_line import main
from colbertv2.configuration.composition import build, compose, plan
from colbertv2.errors import InputError
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.index import Index
from colbertv2.modeling import initial
from colbertv2.modeling.averaging import averaged
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.batch import Tuples
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.head import ConstantHead
from colbertv2.modeling.token_weights import token_weights
from colbertv2.training.interaction import LateInteraction

POSITIONS = 20
TOKENIZATION = Tokenization(12, POSITIONS, None, None, False, False, True)
TEXTS = ["a", "the python list , opened", "open a file . close it !", " ".join(WORDS * 3), ""]


def model(number: int = 4, projection: str = "orthogonal") -> ColBERT:
    shape = ConstantHead(number)
    return initial.colbert(Backbone(str(tiny_bert()), None), TOKENIZATION, 16, projection, [], 0, shape)


def by_formula(pooled: ColBERT, text: str) -> np.ndarray:
    """The vectors of a document, one position after another."""
    encoding, weight = pooled.tokenizer.documents([text]), pooled.pooling.stored()
    states = pooled.projected(encoding.attention_mask, input_ids=encoding.input_ids)[0].detach()
    found = torch.zeros(len(weight), pooled.dim)
    for vector, own in zip(found, weight, strict=True):
        for position in range(len(states)):
            if encoding.scored[0, position]:
                vector += own[position] * states[position]
    return torch.nn.functional.normalize(found, dim=-1).numpy()


@pytest.mark.parametrize("projection", ["orthogonal", "linear"])
def test_every_document_has_as_many_vectors_and_they_are_the_formula(projection):
    pooled = model(projection=projection).eval()
    for text, found in zip(TEXTS, pooled.encode_documents(TEXTS), strict=True):
        assert found.shape == (4, 16)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(found, by_formula(pooled, text), atol=1e-5)


def test_queries_and_their_number_of_vectors_stay_as_without_pooling():
    linear = initial.colbert(Backbone(str(tiny_bert()), None), TOKENIZATION, 16, "orthogonal", [], 0)
    for found, expected in zip(model().encode_queries(TEXTS), linear.encode_queries(TEXTS), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_document_has_the_same_vectors_alone_and_padded_in_any_group_and_chunk():
    pooled = model().eval()
    alone = pooled.encode_documents(TEXTS)
    documents = pooled.tokenizer.documents(TEXTS)
    for chunk in (None, 1, 2):
        pooled.gradient_cache_chunk = chunk
        together = pooled.document_vectors(documents)
        assert pooled.document_tokens(documents).scored.shape == together.shape[:2] == (len(TEXTS), 4)
        np.testing.assert_allclose(together.detach().numpy(), np.stack(alone), atol=1e-5)


def test_before_training_each_vector_is_about_the_mean_of_a_run_and_none_is_zero():
    weight = model().pooling.stored()
    assert torch.equal(weight.argsort(descending=True)[:, :5].sort().values, torch.arange(POSITIONS).view(4, 5))
    np.testing.assert_allclose(weight.sum(1), 1, atol=0.2)
    random = model(projection="linear").pooling.stored()
    assert random.abs().max() <= POSITIONS**-0.5 and abs(random.mean()) < 0.05


@pytest.mark.parametrize(
    "interaction", [LateInteraction(), LateInteraction(dims=[16, 8]), LateInteraction(num_tokens=3)]
)
def test_the_gradient_reaches_the_pooling_and_all_other_weights(interaction):
    pooled = model()
    inputs = pooled.collate(Tuples(["open", "list"], TEXTS[:4]))
    for own, pairs in interaction.scores(pooled, inputs, all_pairs=True):
        assert own.shape == (2, 2) and pairs.shape == (2, 4)
        pooled.zero_grad()
        (own.square().sum() + pairs.square().sum()).backward(retain_graph=True)
        assert pooled.pooling.linear.weight.grad.any() and pooled.projection.weight.grad.any()
    pooled.zero_grad()  # a score is of the best vectors only
    vectors = pooled.document_vectors(inputs[1])
    (vectors * torch.randn(vectors.shape)).sum().backward()
    assert pooled.pooling.linear.weight.grad[:, : inputs[1].scored.sum(1).max()].any(dim=1).all()


def test_scores_of_a_batch_are_maxsim_of_the_encoded_vectors():
    pooled = model().eval()
    queries, documents = ["open a file", "list"], TEXTS[:4]
    own, pairs = pooled.batch_scores(pooled.collate(Tuples(queries, documents)), all_pairs=True)
    encoded, asked = pooled.encode_documents(documents), pooled.encode_queries(queries)
    expected = [[(query @ one.T).max(1).sum() for one in encoded] for query in asked]
    np.testing.assert_allclose(pairs.detach(), expected, atol=1e-4)
    np.testing.assert_allclose(own.detach(), [expected[0][:2], expected[1][2:]], atol=1e-4)


def test_a_saved_model_is_loaded_converted_and_averaged(tmp_path):
    pooled = model()
    pooled.save(tmp_path / "saved")
    write_checkpoint(read_checkpoint(tmp_path / "saved"), tmp_path / "copied", "colbertv2")
    for directory in ("saved", "copied"):
        loaded = ColBERT.load(tmp_path / directory)
        assert loaded.vectors_per_document == 4
        np.testing.assert_array_equal(loaded.encode_documents(TEXTS), pooled.encode_documents(TEXTS))
    assert "learned pooling: 20 positions to 4 vectors" in read_checkpoint(tmp_path / "saved").describe()
    again = initial.colbert(Backbone(str(tmp_path / "saved"), None), TOKENIZATION, 16, "orthogonal", [], 0)
    assert torch.equal(again.pooling.stored(), pooled.pooling.stored())
    pooled.pooling.linear.weight.data *= 3
    pooled.save(tmp_path / "other")
    mean = averaged([tmp_path / "saved", tmp_path / "other"]).pooling.stored()
    torch.testing.assert_close(mean, loaded.pooling.stored() * 2)
    for layout, system in (("official", "colbert-ai"), ("pylate", "PyLate"), ("sentence_transformers", "sentence-tr")):
        with pytest.raises(InputError, match=f"{system}.* has one vector per token, but .* to 4 vectors per document"):
            write_checkpoint(read_checkpoint(tmp_path / "saved"), tmp_path / layout, layout)
        assert not (tmp_path / layout).exists()


def changed(directory: Path, settings: dict | None = None, weight: torch.Tensor | str = "as it is") -> Path:
    """The checkpoint with other settings or another tensor; None removes the entry ``pooling``, "" the tensor."""
    values = json.loads((directory / "colbert.json").read_text())
    values.pop("pooling") if settings is None else values.update(settings)
    (directory / "colbert.json").write_text(json.dumps(values))
    tensors = load_file(directory / "projection.safetensors")
    if isinstance(weight, torch.Tensor):
        tensors["pooling.weight"] = weight
    elif not weight:
        tensors.pop("pooling.weight")
    save_file(tensors, directory / "projection.safetensors")
    return directory


SIZES = {"num_vectors": 4, "positions": POSITIONS}
DAMAGE = [
    (None, "as it is", "pooling is None; expected positive numbers num_vectors and positions"),
    ({"pooling": SIZES}, "", r"pooling.weight is missing; expected \[4, 20\]"),
    ({"pooling": SIZES | {"num_vectors": 5}}, "as it is", r"pooling.weight is \[4, 20\]; expected \[5, 20\]"),
    ({"pooling": SIZES}, torch.ones(4), r"pooling.weight is \[4\]; expected \[4, 20\]"),
    ({"pooling": {"num_vectors": 4}}, "as it is", "expected positive numbers"),
    ({"pooling": SIZES | {"positions": True}}, "as it is", "expected positive numbers"),
    ({"pooling": [4, 20]}, "as it is", "expected positive numbers"),
    ({"pooling": SIZES | {"positions": 0}}, torch.ones(4, 0), "expected positive numbers"),
    ({"pooling": SIZES}, torch.full((4, 20), torch.nan), "NaN"),
    ({"pooling": SIZES, "document_maxlen": 21}, "as it is", "document_maxlen is 21, but the learned pooling .* 20"),
]


@pytest.mark.parametrize(("settings", "weight", "message"), DAMAGE, ids=[message[:40] for *_, message in DAMAGE])
def test_a_damaged_checkpoint_is_refused(tmp_path, settings, weight, message, capsys):
    model().save(tmp_path / "saved")
    directory = changed(tmp_path / "saved", settings, weight)
    with pytest.raises(InputError, match=message):
        ColBERT.load(directory)
    with pytest.raises(SystemExit) as ended:
        main(["convert", "checkpoint", str(directory), str(tmp_path / "out"), "--to", "colbertv2"])
    assert ended.value.code == 2 and "Traceback" not in capsys.readouterr().err


def test_longer_documents_and_what_needs_tokens_are_refused(tmp_path):
    pooled = model()
    pooled.save(tmp_path)
    assert ColBERT.load(tmp_path, document_maxlen=10).encode_documents(TEXTS)[3].shape == (4, 16)
    for refused in (
        lambda: ColBERT.load(tmp_path, document_maxlen=21),
        lambda: pooled.encode_documents(TEXTS, maxlen=21),
    ):
        with pytest.raises(InputError, match=r"document_maxlen is 21, but the learned pooling .* 20 positions"):
            refused()
    with pytest.raises(InputError, match="belong to no token"):
        explain(pooled, "open", "a file")
    with pytest.raises(InputError, match="ConstantHead: 'num_vectors' is 0"):
        ConstantHead(0)
    with pytest.raises(InputError, match=r"head.num_vectors is 20, but documents have at most 20 tokens"):
        model(POSITIONS)
    assert len(token_weights(pooled, TEXTS[:1], "norm")[0]) == 3  # of tokens, before the pooling


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("pooling")
    return [
        *shrunk(tiny_folder(directory / "folder"), directory / "artifacts"),
        *("head=constant", "head.num_vectors=4", "runtime.device=cpu"),
    ]


@pytest.mark.parametrize(
    ("overrides", "kept"),
    [
        (["codec=residual", "search=plaid"], 4),
        (["codec=product", "search=cascade", "reduction=hierarchical"], 2),
        (["codec=residual_1bit", "search=warp", "reduction=kmeans"], 2),
        (["codec=fp16", "reduction=random"], 2),
        (["codec=binary", "pipeline=streamed"], 4),
        (["codec=residual", "analysis=sliced", "target=sliced_metrics", "pipeline.sliced.dim=8"], 4),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_every_document_of_an_index_has_as_many_vectors(small, overrides, kept):
    pipeline = [] if any("pipeline=" in one for one in overrides) else ["pipeline=untrained"]
    metrics = build(compose([*small, *pipeline, "target=metrics", *overrides]))
    index = Index.open(metrics.ancestor("index").path)
    assert set(index.lengths.tolist()) <= {0, kept} and index.num_vectors
    if not pipeline:
        return
    encoded = Embeddings.open(metrics.ancestor("embeddings").path)
    assert {int(length) for shard in encoded.shards() for length in shard.lengths} <= {0, kept}


def test_it_is_trained_in_all_rounds_and_each_validation_searches_its_vectors(small):
    overrides = ["target=round2.checkpoint", "reduction=sequential"]
    overrides += ["interaction@training.round2.interaction=pooled", "+validation@training.round2.search_validation=dev"]
    trained = build(compose([*small, *overrides]))
    before = ColBERT.load(build(compose([*small, "target=initial"])).path)
    after = ColBERT.load(trained.path)
    assert after.vectors_per_document == 4 and not torch.equal(before.pooling.stored(), after.pooling.stored())


REFUSED = [
    (["head.num_vectors=500"], "head.num_vectors is 500, but documents have at most"),
    (["reduction=idf"], "IdfPruning chooses vectors by their tokens"),
    (["reduction=attention"], "AttentionPruning chooses vectors by their tokens"),
    (["reduction=kmeans", "reduction_factor=null", "reduction_num_vectors=4"], "documents have at most 4 vectors, so"),
    (["document_maxlen=200"], "documents are cut at 200 tokens, but the learned pooling"),
    (["collection.document_maxlen=200"], "documents are cut at 200 tokens, but the learned pooling"),
    (["analysis=centroids", "target=centroid_analysis"], "not those of single tokens; set head=linear"),
    (
        ["interaction@training.round1.interaction=pooled", "reduction@training.round1.interaction.reduction=idf"],
        "IdfPruning chooses vectors by their tokens",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), REFUSED, ids=[one[0][0] for one in REFUSED])
def test_what_does_not_fit_is_refused_before_any_work(small, overrides, message):
    with pytest.raises(InputError, match=message):
        plan(compose([*small, *overrides]))
