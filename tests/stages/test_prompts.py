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


def test_a_collections_lengths_are_what_the_model_would_do(small):
    """The vectors and the ranking are those of the same weights with these lengths."""
    overrides = ["pipeline=untrained", "model.projection=orthogonal", *small]
    lengths = {"query_maxlen": 5, "document_maxlen": 6}
    of_model = build(compose([*overrides, *(f"model.tokenization.{key}={one}" for key, one in lengths.items())]))
    of_collection = build(compose([*overrides, *(f"collection.{key}={one}" for key, one in lengths.items())]))
    first, second = (one.ancestor("embeddings").path for one in (of_model, of_collection))
    assert np.array_equal(vectors_of(first), vectors_of(second))
    ranks = [Ranking.read(one.ancestor("ranking").path / "run.trec") for one in (of_model, of_collection)]
    assert dict(ranks[0]) == dict(ranks[1])
    assert len({address([*overrides, f"collection.{key}={one}"]) for key, one in lengths.items()}) == 2


def test_the_length_at_the_top_wins_over_that_of_a_collection(small):
    overrides = ["pipeline=untrained", "target=embeddings", *small, "document_maxlen=8"]
    chosen = build(compose([*overrides, "collection.document_maxlen=6"])).path
    assert np.array_equal(vectors_of(chosen), vectors_of(build(compose(overrides)).path))


@pytest.mark.parametrize(("key", "target"), [("query", "ranking"), ("document", "embeddings")])
def test_a_length_that_the_model_cannot_read_is_refused(small, key, target):
    with pytest.raises(InputError, match=rf"The collection's {key}_maxlen is 900; expected at most 512"):
        build(compose(["pipeline=untrained", *small, f"collection.{key}_maxlen=900", f"target={target}"]))
