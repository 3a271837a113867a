"""Several collections as one: ids, texts, identity."""

import pickle

import pytest
from support import tiny_folder

from colbertv2.data.collection import Collection
from colbertv2.data.mixture import MixedCollection, MixedQueries, MixtureSampling, part_of
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("mixture")
    return {name: f"folder:{tiny_folder(directory / name, size)}" for name, size in (("a", 30), ("b", 20))}


@pytest.fixture(scope="module")
def documents(folders) -> MixedCollection:
    return MixedCollection({name: Collection(id, prompt=f"{name}: ") for name, id in folders.items()})


@pytest.fixture(scope="module")
def queries(folders) -> MixedQueries:
    return MixedQueries({name: Queries(f"{id}/train", maxlen=12) for name, id in folders.items()})


def test_equal_ids_of_two_collections_are_two_texts(documents, folders):
    own = {name: dict(Collection(id)) for name, id in folders.items()}
    assert dict(documents) == {f"{name}/{id}": text for name, texts in own.items() for id, text in texts.items()}
    assert len(documents) == 50 and documents.missing(["b/d29", "a/d29"]) == ["b/d29"]
    assert documents.texts(["b/d3", "a/d7", "b/d3"]) == [own["b"]["d3"], own["a"]["d7"], own["b"]["d3"]]
    with pytest.raises(InputError, match="no document 'd29'"):
        documents.texts(["b/d29"])
    with pytest.raises(InputError, match="begins with none of the mixture's collections: a, b"):
        documents.texts(["d3"])


def test_queries_keep_their_judgements(queries, folders):
    assert len(queries) == len(list(queries)) == 17
    assert queries.qrels.relevant("b/q3") == ["b/d3"]
    own = {name: dict(Queries(f"{id}/train")) for name, id in folders.items()}
    assert queries.texts(["b/q0", "a/q3"]) == [own["b"]["q0"], own["a"]["q3"]]
    assert pickle.loads(pickle.dumps(queries)).texts(["b/q0"]) == queries.texts(["b/q0"])


def test_a_setting_is_common_only_if_all_have_it(documents, queries):
    assert (documents.prompt, documents.maxlen, queries.prompt, queries.maxlen) == (None, None, None, 12)


def test_the_identity_covers_contents_names_and_sampling(folders):
    def identity(sampling=None, **parts):
        return MixedQueries(
            {name: Queries(f"{folders[one]}/train") for name, one in parts.items()}, sampling
        ).identity()

    assert identity(a="a", b="b") == identity(a="a", b="b")
    chosen = [MixtureSampling("proportional", 1.0, "mixed"), MixtureSampling("equal", 1.0, "mixed")]
    chosen += [MixtureSampling("temperature", 3.0, "mixed"), MixtureSampling("temperature", 3.0, "single")]
    found = [identity(one, a="a", b="b") for one in chosen] + [identity(a="b", b="a"), identity(c="a", b="b")]
    assert all(one != other for place, one in enumerate(found) for other in found[:place])
    same = MixtureSampling("temperature", 1.0, "mixed")
    assert identity(same, a="a", b="b") == found[0], "temperature 1 is proportional"


def test_sizes_are_those_of_all(documents):
    sizes = [one.size() for one in documents.parts.values()]
    size = documents.size()
    assert size["texts"] == 50 and len(size["lengths"]) == 9
    assert min(one["characters"] for one in sizes) <= size["characters"] <= max(one["characters"] for one in sizes)


def test_shares_by_hand():
    assert MixtureSampling("proportional", 5.0, "mixed").shares([30, 10]).tolist() == [0.75, 0.25]
    assert MixtureSampling("equal", 5.0, "mixed").shares([30, 10]).tolist() == [0.5, 0.5]
    assert MixtureSampling("temperature", 2.0, "mixed").shares([64, 16]).tolist() == [8 / 12, 4 / 12]


@pytest.mark.parametrize("values", [("often", 1.0, "mixed"), ("equal", 0.0, "mixed"), ("equal", 1.0, "both")])
def test_unknown_sampling_is_refused(values):
    with pytest.raises(InputError, match="expected"):
        MixtureSampling(*values)


def test_names_must_tell_ids_apart(folders):
    one = Collection(folders["a"])
    with pytest.raises(InputError, match="'x' and 'x/y' have names of which one begins with the other"):
        MixedCollection({"x/y": one, "x": one})
    assert part_of(MixedCollection({"x": one, "xy": one}).parts, "xy/1") == "xy"
    with pytest.raises(InputError, match="no collections"):
        MixedCollection({})
