"""Batches of several collections: shares, epochs, prompts and lengths of each."""

from collections import Counter

import numpy as np
import pytest
import torch
from support import tiny_bert, tiny_folder

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.data.collection import Collection
from colbertv2.data.mixture import MixedCollection, MixedQueries, MixtureSampling
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.batch import TextSettings, excluded_in_batch
from colbertv2.modeling.colbert import ColBERT
from colbertv2.training.data import DevBatches, TextLookup, TrainingBatches, sampled_dev
from colbertv2.training.examples import Example
from colbertv2.training.mixture import EpochOrder, MixtureOrder, counts_of
from colbertv2.training.negatives import NegativeSampling

PROPORTIONAL = MixtureSampling("proportional", 1.0, "mixed")


def model(augmentation: bool = False, attend: bool = False) -> ColBERT:
    tokenization = Tokenization(8, 20, "[unused0]", "[unused1]", augmentation, attend, True)
    return initial.colbert(Backbone(str(tiny_bert()), None), tokenization, 16, "orthogonal", [], 0).eval()


@pytest.fixture(scope="module")
def lookup(tmp_path_factory) -> TextLookup:
    directory = tmp_path_factory.mktemp("mixture")
    ids = {name: f"folder:{tiny_folder(directory / name, size)}" for name, size in (("a", 36), ("b", 12))}
    queries = MixedQueries(
        {"a": Queries(f"{ids['a']}/train", maxlen=6), "b": Queries(f"{ids['b']}/train", prompt="value ", maxlen=10)},
        PROPORTIONAL,
    )
    documents = MixedCollection({"a": Collection(ids["a"], prompt="text "), "b": Collection(ids["b"], maxlen=7)})
    return TextLookup(queries, documents)


def examples(sizes: dict[str, int]) -> list[Example]:
    return [
        Example(f"{name}/q{3 * n}", [f"{name}/d{3 * n}", f"{name}/d{3 * n + 1}"], [None] * 2)
        for name, size in sizes.items()
        for n in range(size)
    ]


def parts(order: MixtureOrder, counts: list[int], number: int) -> list[int]:
    ends = np.cumsum(counts)
    return [int(np.searchsorted(ends, order.place(position), side="right")) for position in range(number)]


@pytest.mark.parametrize(
    ("sampling", "temperature", "share"), [("proportional", 1.0, 0.9), ("equal", 1.0, 0.5), ("temperature", 2.0, 0.75)]
)
@pytest.mark.parametrize("batches", ["mixed", "single"])
def test_collections_are_drawn_by_their_shares(sampling, temperature, share, batches):
    counts = [900, 100]
    order = MixtureOrder(counts, MixtureSampling(sampling, temperature, batches), 4, 1, 5000, seed=3)
    found = parts(order, counts, 20_000)
    deviation = np.sqrt(share * (1 - share) / (20_000 if batches == "mixed" else 5000))
    assert abs(found.count(0) / 20_000 - share) < 4 * deviation
    together = [len(set(found[start : start + 4])) for start in range(0, 20_000, 4)]
    assert (max(together) == 1) == (batches == "single")


def test_every_collection_has_epochs_of_its_own():
    counts = [5, 3]
    order = MixtureOrder(counts, MixtureSampling("equal", 1.0, "mixed"), 2, 1, 500, seed=1)
    drawn = [order.place(position) for position in range(1000)]
    for start, count in ((0, 5), (5, 3)):
        own = [place for place in drawn if start <= place < start + count]
        epochs = [own[at : at + count] for at in range(0, len(own) - count, count)]
        assert all(sorted(epoch) == list(range(start, start + count)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_position_is_the_same_whatever_came_before_and_however_many_follow():
    settings = [30, 10], MixtureSampling("temperature", 2.0, "mixed"), 4, 2
    long, short = MixtureOrder(*settings, steps=50, seed=0), MixtureOrder(*settings, steps=20, seed=0)
    later = MixtureOrder(*settings, steps=50, seed=0)
    found = [long.place(position) for position in range(200)]
    assert [short.place(position) for position in range(80)] == found[:80]
    assert [later.place(position) for position in range(77, 200)] == found[77:]
    assert [MixtureOrder(*settings, steps=50, seed=1).place(position) for position in range(200)] != found


def test_one_collection_is_drawn_as_before_mixtures():
    order = EpochOrder(7, [42])
    expected = [int(place) for epoch in (0, 1) for place in np.random.default_rng([42, epoch]).permutation(7)]
    assert [order.place(position) for position in range(14)] == expected


def test_a_collection_that_would_repeat_within_a_batch_is_refused():
    with pytest.raises(InputError, match="3 examples, but the 8 queries"):
        MixtureOrder([100, 3], MixtureSampling("equal", 1.0, "mixed"), 8, 1, 10, 0)
    with pytest.raises(InputError, match="7 examples, but the 8 queries"):
        MixtureOrder([100, 7], MixtureSampling("proportional", 1.0, "single"), 8, 1, 10, 0)
    MixtureOrder([100, 7], MixtureSampling("proportional", 1.0, "single"), 8, 2, 10, 0)


def test_counts_are_found_and_a_collection_without_examples_is_named():
    assert counts_of(examples({"a": 5, "b": 1, "c": 7}), ["a", "b", "c"]) == [5, 1, 7]
    with pytest.raises(InputError, match="'b' of the mixture has no examples with enough negatives"):
        counts_of(examples({"a": 5, "c": 7}), ["a", "b", "c"])


def test_equal_ids_of_two_collections_are_different_documents_in_a_batch():
    both = excluded_in_batch(["a/q", "b/q"], ["a/d", "a/e", "b/d", "b/e"])
    assert both.tolist() == [[True, True, False, False], [False, False, True, True]]


@pytest.mark.parametrize(("augmentation", "attend"), [(False, False), (True, False), (True, True)])
def test_every_text_is_read_with_its_collections_prompt_and_length(lookup, augmentation, attend):
    chosen = model(augmentation, attend)
    batch = lookup(examples({"a": 2, "b": 2}))
    queries, documents = chosen.collate(batch)
    with torch.inference_mode():
        vectors = chosen(queries)
    for row, (text, (prompt, maxlen)) in enumerate(zip(batch.queries, batch.query_settings, strict=True)):
        (alone,) = chosen.encode_queries([text], prompt=prompt, maxlen=maxlen)
        assert torch.allclose(vectors[row][queries.scored[row]], torch.from_numpy(alone), atol=1e-5)
        assert len(alone) == maxlen or not augmentation
    for row, (text, (prompt, maxlen)) in enumerate(zip(batch.documents, batch.document_settings, strict=True)):
        (alone,) = chosen.encode_documents([text], prompt=prompt, maxlen=maxlen)
        assert int(documents.scored[row].sum()) == len(alone)
    assert batch.query_settings == [TextSettings(None, 6)] * 2 + [TextSettings("value ", 10)] * 2


def batches(lookup: TextLookup, first: int = 0) -> TrainingBatches:
    return TrainingBatches(
        examples({"a": 12, "b": 4}), lookup, model().collate,
        n_way=2, negatives=NegativeSampling("uniform", 1.0), batch_size=4, groups=1, steps=9, seed=0, first=first,
    )  # fmt: skip


def test_a_resumed_training_continues_with_the_same_batches(lookup):
    everything, resumed = [*batches(lookup)], [*batches(lookup, first=4)]
    assert [one.query_ids for one in everything[4:]] == [one.query_ids for one in resumed]
    for one, other in zip(everything[4:], resumed, strict=True):
        for ours, theirs in zip(one.inputs, other.inputs, strict=True):
            assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert {id.split("/")[0] for one in everything for id in one.query_ids} == {"a", "b"}


def test_collections_count_the_same_in_the_dev_metric(lookup):
    dev = DevBatches(examples({"a": 6, "b": 2}), lookup, model().collate)
    weights = {name: [one.weight for one in map(dev.__getitem__, range(8)) if one.part == name] for name in "ab"}
    assert sum(weights["a"]) == pytest.approx(sum(weights["b"])) == pytest.approx(4)
    drawn = sampled_dev(examples({"a": 6, "b": 2}), lookup, 4, 0)
    assert Counter(one.query_id[0] for one in drawn) == {"a": 2, "b": 2}
