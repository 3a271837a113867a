"""The model with a tiny random BERT: tokenization, batching, checkpoints."""

import dataclasses

import numpy as np
import pytest
import torch
from support import shrunk, tiny_bert, tiny_folder

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.interchange.conversion import convert_checkpoint
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.batch import Tuples, excluded_in_batch
from colbertv2.modeling.colbert import ColBERT, batches_by_length

PAPER = Tokenization(
    query_maxlen=12,
    document_maxlen=16,
    query_marker="[unused0]",
    document_marker="[unused1]",
    query_augmentation=True,
    attend_to_mask_tokens=False,
    skip_punctuation=True,
)
PLAIN = dataclasses.replace(
    PAPER, query_marker=None, document_marker=None, query_augmentation=False, skip_punctuation=False
)
TEXTS = ["sort the list, in python.", "", "open a file", "join " * 40, "ünïcode\ttab\nline"]


def model(tokenization: Tokenization = PAPER, dim: int = 8, projection: str = "orthogonal", seed: int = 0) -> ColBERT:
    return initial.colbert(Backbone(str(tiny_bert()), None), tokenization, dim, projection, TEXTS * 3, seed).eval()


def test_query_layout_follows_the_paper():
    colbert = model()
    tokens = colbert.tokenizer.tokenizer.convert_ids_to_tokens
    encoding = colbert.tokenizer.queries(["open a file", "join " * 40])
    assert tokens(encoding.input_ids[0]) == ["[CLS]", "[unused0]", "open", "a", "file", "[SEP]", *["[MASK]"] * 6]
    assert encoding.attention_mask[0].tolist() == [1] * 6 + [0] * 6
    assert encoding.scored.all(), "masks enter MaxSim"
    assert tokens(encoding.input_ids[1])[-1] == "[SEP]" and encoding.attention_mask[1].all()
    attending = model(dataclasses.replace(PAPER, attend_to_mask_tokens=True)).tokenizer.queries(["open a file"])
    assert attending.attention_mask.all()


def test_document_layout_follows_the_paper():
    colbert = model()
    encoding = colbert.tokenizer.documents(TEXTS)
    first = colbert.tokenizer.tokenizer.convert_ids_to_tokens(encoding.input_ids[0])
    kept = [token for token, scored in zip(first, encoding.scored[0].tolist(), strict=True) if scored]
    assert kept == ["[CLS]", "[unused1]", "sort", "the", "list", "in", "python", "[SEP]"]
    assert encoding.input_ids.shape[1] == 16, "cut at document_maxlen, marker included"


def test_masks_do_not_change_real_query_vectors_unless_attended():
    augmented, plain = model(), model(dataclasses.replace(PAPER, query_augmentation=False))
    a, b = augmented.encode_queries(["open a file"])[0], plain.encode_queries(["open a file"])[0]
    assert len(a) == 12 and len(b) == 6
    np.testing.assert_allclose(a[:6], b, atol=1e-5)


def test_vectors_do_not_depend_on_batching():
    colbert = model()
    alone = [colbert.encode_documents([text])[0] for text in TEXTS]
    for batch_tokens in (1, 40, 10_000):
        for one, other in zip(alone, colbert.encode_documents(TEXTS, batch_tokens), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(alone), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "knob",
    [
        {"query_maxlen": 10},
        {"query_marker": None},
        {"query_augmentation": False},
        {"attend_to_mask_tokens": True},
        {"query_length_multiple": 8},
        {"minimum_mask_tokens": 9},
        {"document_maxlen": 6},
        {"document_marker": None},
        {"skip_punctuation": False},
    ],
)
def test_every_convention_moves_the_vectors(knob):
    def fingerprint(colbert: ColBERT) -> list[float]:
        return [float(rows.sum()) for rows in colbert.encode_queries(TEXTS) + colbert.encode_documents(TEXTS)]

    assert fingerprint(model()) != fingerprint(model(dataclasses.replace(PAPER, **knob)))


@pytest.mark.parametrize("projection", initial.PROJECTIONS)
def test_projections(projection):
    colbert = model(PLAIN, projection=projection)
    assert colbert.projection.weight.shape == (8, 32)
    if projection != "linear":
        torch.testing.assert_close(
            colbert.projection.weight @ colbert.projection.weight.T, torch.eye(8), atol=1e-4, rtol=0
        )
    same, other = model(PLAIN, projection=projection), model(PLAIN, projection=projection, seed=1)
    assert torch.equal(colbert.projection.weight, same.projection.weight)
    assert torch.equal(colbert.projection.weight, other.projection.weight) == (projection == "pca"), (
        "only a random projection depends on the seed"
    )


def test_pca_keeps_similarities_better_than_a_rotation():
    whole = model(PLAIN, dim=32, projection="orthogonal").encode_documents(TEXTS)

    def error(projection: str) -> float:
        reduced = model(PLAIN, dim=4, projection=projection).encode_documents(TEXTS)
        return sum(float(np.square(a @ a.T - b @ b.T).sum()) for a, b in zip(whole, reduced, strict=True))

    assert error("pca") < error("orthogonal")


def test_checkpoint_round_trip(tmp_path):
    colbert = model()
    colbert.save(tmp_path)
    loaded = ColBERT.load(tmp_path)
    assert loaded.tokenizer.tokenization == PAPER
    for a, b in zip(colbert.encode_documents(TEXTS), loaded.encode_documents(TEXTS), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layout", ["colbertv2", "official", "pylate"])
def test_trained_projection_of_a_released_checkpoint_is_kept(tmp_path, layout):
    trained = model(seed=7)
    trained.save(tmp_path / "ours")
    convert_checkpoint(str(tmp_path / "ours"), tmp_path / "released", layout)
    backbone = Backbone(str(tmp_path / "released"), None)
    start = initial.colbert(backbone, initial.tokenization(backbone, None), 8, "orthogonal", [], 0)
    assert torch.equal(start.projection.weight, trained.projection.weight)
    for a, b in zip(trained.encode_documents(TEXTS), start.encode_documents(TEXTS), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="8 dims"):
        initial.colbert(backbone, initial.tokenization(backbone, None), 16, "orthogonal", [], 0)


def test_tokenization_of_a_released_checkpoint_are_overridden_only_on_purpose(tmp_path):
    model().save(tmp_path)
    released, plain = Backbone(str(tmp_path), None), Backbone(str(tiny_bert()), None)
    assert initial.tokenization(released, None) == PAPER and not list(initial.conflicts(released, PAPER, 8))
    longer = dataclasses.replace(PAPER, document_maxlen=99)
    assert initial.tokenization(released, longer) == longer
    (line,) = initial.conflicts(released, longer, 8)
    assert "document_maxlen is 99" in line and "16 (colbert.json)" in line and "overrides=[document_maxlen]" in line
    with pytest.raises(InputError, match="document_maxlen"):
        initial.colbert(released, longer, 8, "linear", [], 0)
    allowed = Backbone(str(tmp_path), None, ["document_maxlen"])
    assert initial.colbert(allowed, longer, 8, "linear", [], 0).tokenizer.tokenization == longer
    assert not list(initial.conflicts(plain, longer, 99))
    with pytest.raises(InputError, match="not a ColBERT checkpoint"):
        initial.tokenization(plain, None)
    with pytest.raises(InputError, match="overrides names 'length'"):
        Backbone(str(tmp_path), None, ["length"])


def test_the_stage_reports_every_contradiction_with_a_released_checkpoint(tmp_path):
    from colbertv2.configuration.composition import compose, plan

    model(dataclasses.replace(PAPER, attend_to_mask_tokens=True)).save(tmp_path / "released")
    overrides = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "root"), "model=colbertv2", "target=initial"]
    overrides += [f"model.backbone.name={tmp_path / 'released'}", "model.dim=8"]
    with pytest.raises(InputError) as caught:
        plan(compose(overrides))
    assert all(name in str(caught.value) for name in ("query_maxlen", "document_maxlen", "attend_to_mask_tokens"))
    assert plan(compose([*overrides, "model.tokenization=null"]))
    names = "query_maxlen,document_maxlen,attend_to_mask_tokens"
    assert plan(compose([*overrides, f"model.backbone.overrides=[{names}]"]))


def test_what_the_spelling_of_special_tokens_means():
    texts = ["[PAD] sort [unused0] [MASK]"]
    official, pylate = model(), model(dataclasses.replace(PAPER, literal_tokens=True))
    vocabulary = official.tokenizer.tokenizer.get_vocab()
    pad, marker, mask = (vocabulary[token] for token in ("[PAD]", "[unused0]", "[MASK]"))
    query, document = official.tokenizer.queries(texts), official.tokenizer.documents(texts)
    assert pad not in query.input_ids and query.attention_mask[0, 2] and query.input_ids[0, 2] == mask
    assert not document.scored[0, 2] and document.attention_mask[0, 2] and marker not in document.input_ids
    query, document = pylate.tokenizer.queries(texts), pylate.tokenizer.documents(texts)
    assert query.input_ids[0, :6].tolist() == [vocabulary["[CLS]"], marker, pad, vocabulary["sort"], marker, mask]
    assert document.scored.all() and marker in document.input_ids


def test_skiplist_leaves_further_words_out():
    colbert = model(dataclasses.replace(PAPER, skiplist=("list",)))
    encoding = colbert.tokenizer.documents(["sort the list"])
    words = colbert.tokenizer.tokenizer.convert_ids_to_tokens(encoding.input_ids[0])
    assert [word for word, scored in zip(words, encoding.scored[0].tolist(), strict=True) if not scored] == ["list"]
    with pytest.raises(InputError, match=r"tokenization\.skiplist"):
        model(dataclasses.replace(PAPER, skiplist=("nowhere",)))


def test_errors_name_the_remedy(tmp_path):
    with pytest.raises(InputError, match="vocabulary"):
        model(dataclasses.replace(PAPER, query_marker="[nowhere]"))
    with pytest.raises(InputError, match="hidden size 32"):
        model(dim=64)
    with pytest.raises(InputError, match="SHA-256"):
        Backbone(str(tiny_bert()), "0" * 64)
    with pytest.raises(InputError, match="pip install"):
        Backbone("pypi:no-such-package-here", None)
    with pytest.raises(InputError, match=r"config\.json"):
        Backbone(str(tmp_path), None)
    with pytest.raises(InputError, match="no such directory"):
        Backbone("./nowhere", None)
    with pytest.raises(InputError, match=r"colbert\.json"):
        ColBERT.load(tmp_path)


def test_identity_is_the_content_not_the_path(tmp_path):
    for file in tiny_bert().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert Backbone(str(tmp_path), None).identity() == Backbone(str(tiny_bert()), None).identity()


def test_batch_scores_agree_with_encoding(tmp_path):
    colbert = model()
    queries, documents = ["open a file", "sort the list"], ["open", "a file, read", "sort list", "the"]
    inputs = colbert.collate(Tuples(queries, documents))
    own, all_pairs = colbert.batch_scores(inputs, all_pairs=True)
    own_alone, _ = colbert.batch_scores(inputs, all_pairs=False)
    torch.testing.assert_close(own, own_alone)
    q, d = colbert.encode_queries(queries), colbert.encode_documents(documents)
    expected = [[(a @ b.T).max(1).sum() for b in d] for a in q]
    assert all_pairs is not None
    np.testing.assert_allclose(all_pairs.detach().numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(own.detach().numpy(), [expected[0][:2], expected[1][2:]], atol=1e-4)


def test_excluded_in_batch_spares_copies_of_the_positive():
    assert excluded_in_batch(["q", "r"], ["a", "b", "c", "a"]).tolist() == [
        [True, True, False, True],
        [False, False, True, True],
    ]
    assert excluded_in_batch(["q", "q"], ["a", "b", "c", "d"]).all(), "one query with two positives"


def test_batches_by_length_hold_everything_within_the_budget():
    lengths = [5, 1, 9, 30, 2, 2]
    batches = batches_by_length(lengths, 10)
    assert sorted(position for batch in batches for position in batch) == list(range(6))
    assert all(max(lengths[i] for i in batch) * len(batch) <= 10 or len(batch) == 1 for batch in batches)
    assert all(len({lengths[i] for i in batch}) == 1 for batch in batches), "nothing is padded"


def test_a_document_has_the_same_vectors_whatever_it_is_encoded_with():
    texts = [f"{'open a file ' * (number % 5)}{'sort' if number % 3 else 'join'} the list" for number in range(40)]
    colbert = model()
    whole = colbert.encode_documents(texts, batch_tokens=64)
    for chosen in (range(0, 40, 7), range(39, 3, -4), [5]):
        part = colbert.encode_documents([texts[number] for number in chosen], batch_tokens=1000)
        for number, vectors in zip(chosen, part, strict=True):
            # On some processors products of other shapes differ in the last bits; padding would add far more.
            np.testing.assert_allclose(vectors, whole[number], rtol=0, atol=1e-6)
    copies = {text: {whole[number].tobytes() for number, one in enumerate(texts) if one == text} for text in texts}
    assert all(len(found) == 1 for found in copies.values()) and len(copies) < len(texts)
