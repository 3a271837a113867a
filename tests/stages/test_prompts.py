"""Prompts of a model and of a collection reach training, encoding and search, and count in the address."""

import json
from pathlib import Path

import numpy as np
import pytest
from support import shrunk, tiny_folder

from colbertv2.checkpoints.layouts import read_checkpoint
from colbertv2.configuration.composition import build, compose, target_node
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.modeling.colbert import ColBERT

MODEL = ["model.tokenization.query_prompt='value: '", "model.tokenization.document_prompt='text: '"]
COLLECTION = ["collection.query_prompt='value: '", "collection.document_prompt='text: '"]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("prompts")
    return [*shrunk(tiny_folder(directory / "folder"), directory / "artifacts"), "codec=fp16"]


def address(overrides: list[str]) -> str:
    return target_node(compose(overrides)).address


def vectors_of(embeddings: Path) -> np.ndarray:
    return np.concatenate([shard.vectors for shard in Embeddings.open(embeddings).shards()])


def test_no_prompt_leaves_the_addresses_of_before(small):
    plain = ["pipeline=untrained", "target=ranking", *small]
    without = [*plain, "~model.tokenization.query_prompt", "~model.tokenization.document_prompt"]
    assert address(plain) == address(without)
    addresses = {address([*plain, *more]) for more in ([], MODEL[:1], MODEL[1:], MODEL, *map(list, zip(COLLECTION)))}
    assert len(addresses) == 6, "every prompt is part of the address"


def test_prompts_of_model_and_collection_encode_and_search_alike(small):
    ranks, vectors = {}, {}
    for name, overrides in (("none", []), ("model", MODEL), ("collection", COLLECTION)):
        artifact = build(compose(["pipeline=untrained", "target=ranking", *overrides, *small]))
        ranks[name] = Ranking.read(artifact.path / "run.trec")
        embeddings = artifact.ancestor("embeddings")
        vectors[name] = vectors_of(embeddings.path)
        checkpoint = read_checkpoint(embeddings.ancestor("checkpoint").path).tokenization
        assert checkpoint.document_prompt == ("text: " if name == "model" else "")
    # The principal components are learned without a collection's prompt, so the same model must be compared.
    assert len(vectors["none"]) < len(vectors["model"]) == len(vectors["collection"])
    assert {q: dict(found) for q, found in ranks["none"].items()} != {
        q: dict(found) for q, found in ranks["collection"].items()
    }


def test_a_collections_prompt_is_what_the_model_would_do(small):
    """The vectors of a collection with a prompt are those of the same weights with that prompt."""
    overrides = ["pipeline=untrained", "target=embeddings", "model.projection=orthogonal", *small]
    of_model = build(compose([*overrides, *MODEL])).path
    of_collection = build(compose([*overrides, *COLLECTION])).path
    assert np.array_equal(vectors_of(of_model), vectors_of(of_collection))


def test_a_trained_checkpoint_keeps_the_prompts_it_was_trained_with(small):
    trained = build(compose(["target=round1", *COLLECTION, *small]))
    settings = json.loads((trained.path / "colbert.json").read_text())
    assert (settings["query_prompt"], settings["document_prompt"]) == ("value: ", "text: ")
    ids = ColBERT.load(trained.path).tokenizer
    assert ids.query_ids(["sort"]) != ColBERT.load(trained.path, query_prompt="").tokenizer.query_ids(["sort"])


def test_training_and_validation_must_agree_on_the_prompt(small):
    with pytest.raises(InputError, match=r"collection\.dev\.prompt is 'other: '"):
        build(compose(["target=round1", *COLLECTION, "collection.dev.prompt='other: '", *small]))


@pytest.mark.parametrize("target", ["embeddings", "ranking", "round1"])
def test_a_prompt_that_leaves_no_room_is_refused_before_any_work(small, target):
    key = "document" if target == "embeddings" else "query"
    long = f"collection.{key}_prompt='{'sort the list ' * 60}'"
    with pytest.raises(InputError, match=rf"The collection's {key}_prompt fills all"):
        build(compose([f"target={target}", long, *([] if target == "round1" else ["pipeline=untrained"]), *small]))


def test_a_prompt_of_one_call_is_checked_too(small):
    model = ColBERT.load(build(compose(["pipeline=untrained", "target=initial", *small])).path)
    assert len(model.encode_queries(["sort"], prompt="the ")[0]) == len(model.encode_queries(["the sort"])[0])
    with pytest.raises(InputError, match="query_prompt fills all"):
        model.encode_queries(["sort"], prompt="sort the list " * 60)
