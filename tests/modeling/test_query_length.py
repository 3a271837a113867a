"""Queries that are padded to different lengths: JaColBERTv2.5's rule, in batches, training, search and conversion."""

import dataclasses

import numpy as np
import pytest
import torch
from support import shrunk, tiny_bert, tiny_folder

from colbertv2.artifacts.node import Component
from colbertv2.checkpoints.layouts import read_checkpoint, write_checkpoint
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.configuration.composition import build, compose, plan, target_node
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.batch import TextSettings, Tuples
from colbertv2.modeling.colbert import ColBERT

FIXED = Tokenization(24, 12, "[unused0]", "[unused1]", True, False, True)
DYNAMIC = dataclasses.replace(FIXED, query_length_multiple=8, minimum_mask_tokens=3)
QUERIES = ["open", "open a file", "sort the list in python", "join " * 9, "the " * 40, "open the", ""]
CHANGES = ("query_length_multiple", 8), ("minimum_mask_tokens", 3)


def model(tokenization: Tokenization) -> ColBERT:
    return initial.colbert(Backbone(str(tiny_bert()), None), tokenization, 8, "orthogonal", [], 0).eval()


@pytest.mark.parametrize(("multiple", "minimum"), [(32, 8), (1, 8), (32, 0), (5, 7), (None, 0), (None, 8)])
def test_the_length_is_the_next_multiple_with_enough_masks(multiple, minimum):
    tokenization = dataclasses.replace(
        FIXED, query_maxlen=70, query_length_multiple=multiple, minimum_mask_tokens=minimum
    )
    for length in range(4, 71):
        target = next(n for n in range(length, 200) if n % multiple == 0) if multiple else 70
        assert tokenization.padded_length(length) == (target if target - length >= minimum else length + minimum)
    longest = tokenization.padded_length(70)
    name = "query_maxlen with its [MASK] tokens" if longest > 70 else "query_maxlen"
    assert tokenization.longest == {name: longest, "document_maxlen": 12}


def test_the_rule_of_the_paper():
    paper = dataclasses.replace(FIXED, query_maxlen=500, query_length_multiple=32, minimum_mask_tokens=8)
    lengths = {5: 32, 24: 32, 25: 33, 31: 39, 32: 40, 33: 64, 56: 64, 57: 65, 64: 72}
    assert {length: paper.padded_length(length) for length in lengths} == lengths


@pytest.mark.parametrize("attend", [False, True])
def test_the_vectors_of_a_query_do_not_depend_on_its_batch(attend):
    colbert = model(dataclasses.replace(DYNAMIC, attend_to_mask_tokens=attend))
    together = colbert.encode_queries(QUERIES)
    for text, vectors in zip(QUERIES, together, strict=True):
        (alone,) = colbert.encode_queries([text])
        np.testing.assert_array_equal(vectors, alone)
        (row,) = colbert.tokenizer.query_ids([text])
        assert len(vectors) == DYNAMIC.padded_length(len(row))
    assert len({len(vectors) for vectors in together}) > 2
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(together), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("attend", [False, True])
@pytest.mark.parametrize("own", [False, True], ids=["one length", "collections' lengths"])
def test_scores_of_a_training_batch_are_those_of_each_query_alone(attend, own):
    colbert = model(dataclasses.replace(DYNAMIC, attend_to_mask_tokens=attend))
    documents = [f"{word} list" for word in ("open", "the", "file", "sort", "python", "join", "a")] * 2
    settings = [TextSettings(None, 6 if own and place % 2 else None) for place in range(len(QUERIES))]
    batch = Tuples(QUERIES, documents, settings if own else None)
    with torch.inference_mode():
        scores, all_pairs = colbert.batch_scores(colbert.collate(batch), True)
    assert all_pairs is not None
    encoded = colbert.encode_documents(documents)
    for place, (text, one) in enumerate(zip(QUERIES, settings, strict=True)):
        (query,) = colbert.encode_queries([text], maxlen=one.maxlen)
        expected = [sum(max(float(q @ d) for d in document) for q in query) for document in encoded]
        np.testing.assert_allclose(all_pairs[place], expected, rtol=1e-4)
        np.testing.assert_allclose(scores[place], expected[2 * place : 2 * place + 2], rtol=1e-4)


def test_without_the_settings_every_query_is_as_long_as_before():
    encoding = model(FIXED).tokenizer.queries(QUERIES)
    assert encoding.input_ids.shape[1] == 24 and encoding.scored.all()
    dynamic = model(DYNAMIC).tokenizer.queries(QUERIES)
    for row, text in enumerate(QUERIES):
        length = DYNAMIC.padded_length(len(model(DYNAMIC).tokenizer.query_ids([text])[0]))
        assert dynamic.scored[row].sum() == length and dynamic.scored[row, :length].all()
        assert not dynamic.attention_mask[row, length:].any(), "what is not scored is not attended to either"


@pytest.mark.parametrize(("key", "value"), CHANGES)
def test_each_key_moves_the_vectors_and_the_address_and_its_neutral_value_neither(tmp_path, key, value):
    plain = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path), "pipeline=untrained", "target=ranking"]
    plain.append("model.tokenization.query_augmentation=true")

    fields = [field.name for field in dataclasses.fields(FIXED)]

    def address(*more: str) -> str:
        return target_node(compose([*plain, *more])).address

    assert address() != address(f"model.tokenization.{key}={value}")
    target = "colbertv2.checkpoints.tokenization.Tokenization"
    values = {name: getattr(FIXED, name) for name in fields if name not in dict(CHANGES)}
    neutral = {"query_length_multiple": None, "minimum_mask_tokens": 0}
    assert Component("", target, values).identity == Component("", target, values | neutral).identity
    short = dataclasses.replace(FIXED, query_maxlen=12)
    lengths = [
        len(model(dataclasses.replace(short, **one)).encode_queries(["the " * 9])[0]) for one in ({}, {key: value})
    ]
    assert lengths[0] == 12 < lengths[1]


def test_a_saved_checkpoint_is_searched_as_it_was_encoded(tmp_path):
    overrides = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "root"), "pipeline=untrained", "target=ranking"]
    overrides += ["model.tokenization.query_augmentation=true", "model.tokenization.query_length_multiple=4"]
    overrides += ["model.tokenization.minimum_mask_tokens=2", "codec=fp16", "search=exhaustive"]
    ranking = build(compose(overrides))
    checkpoint = ranking.ancestor("checkpoint")
    found = Ranking.read(ranking.path / "run.trec")
    colbert = ColBERT.load(checkpoint.path)
    assert colbert.tokenizer.tokenization.query_length_multiple == 4
    documents, queries = Collection(f"folder:{tmp_path}/folder"), Queries(f"folder:{tmp_path}/folder/test")
    for query_id, ranked in [*found.items()][:4]:
        (query,) = colbert.encode_queries(queries.texts([query_id]))
        encoded = colbert.encode_documents(documents.texts([document for document, _ in ranked]))
        for vectors, (_, score) in zip(encoded, ranked, strict=True):
            assert (query @ vectors.T).max(1).sum() == pytest.approx(score, rel=2e-3)  # vectors are kept in 16 bits


@pytest.mark.parametrize("layout", ["official", "pylate", "sentence_transformers"])
@pytest.mark.parametrize(("key", "value"), CHANGES)
def test_layouts_of_other_systems_refuse_it(tmp_path, layout, key, value):
    model(dataclasses.replace(FIXED, **{key: value})).save(tmp_path / "own")
    checkpoint = read_checkpoint(tmp_path / "own")
    assert getattr(checkpoint.tokenization, key) == value
    with pytest.raises(InputError, match=r"different lengths|pads every query to the same length"):
        write_checkpoint(checkpoint, tmp_path / "out", layout)
    assert not (tmp_path / "out").exists()


def test_settings_without_augmentation_and_lengths_beyond_the_encoder_are_refused(tmp_path):
    with pytest.raises(InputError, match="query_length_multiple is 8 and minimum_mask_tokens is 0, but query_augment"):
        dataclasses.replace(FIXED, query_augmentation=False, query_length_multiple=8)
    dynamic = dataclasses.replace(DYNAMIC, query_maxlen=512)
    with pytest.raises(InputError, match=r"query_maxlen with its \[MASK\] tokens is 515; expected at most 512"):
        model(dynamic)
    colbert = model(DYNAMIC)
    with pytest.raises(InputError, match="query_maxlen is 515; expected at most 512"):
        colbert.encode_queries(["open"], maxlen=512)
    overrides = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "root"), "pipeline=untrained"]
    overrides += ["model.tokenization.query_augmentation=true", "model.tokenization.minimum_mask_tokens=8"]
    assert plan(compose([*overrides, "model.tokenization.query_maxlen=504"]))
    with pytest.raises(InputError, match=r"model\.tokenization\.query_maxlen with its \[MASK\] tokens is 518"):
        plan(compose([*overrides, "model.tokenization.query_maxlen=510"]))
    with pytest.raises(InputError, match=r"The collection's query_maxlen with its \[MASK\] tokens is 518"):
        plan(compose([*overrides, "collection.query_maxlen=510"]))
