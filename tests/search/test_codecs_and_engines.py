"""Every codec with every engine: what is found is MaxSim of the decoded vectors, by a loop; or the pair is refused."""

import numpy as np
import pytest
from support import CODECS

from colbertv2.errors import InputError
from colbertv2.search.cascade import Cascade
from colbertv2.search.device_search import DeviceCascade, DeviceExhaustive
from colbertv2.search.exhaustive import Exhaustive, search_decoded
from colbertv2.search.plaid import Plaid
from colbertv2.search.vanilla_colbertv2 import VanillaColBERTv2

ENGINES = {  # with settings that leave nothing out, and one that does
    "exhaustive": Exhaustive(),
    "plaid": Plaid(nprobe=10_000, centroid_score_threshold=-2.0, ndocs=600),
    "vanilla": VanillaColBERTv2(nprobe=10_000, ncandidates=150),
    "cascade": Cascade(ndocs=None),
    "cascade of two stages": Cascade(ndocs=140),
}


@pytest.fixture(scope="module", params=CODECS)
def index(world, request):
    return world.index(CODECS[request.param](2), name=f"engines-{request.param}")


@pytest.fixture(scope="module")
def expected(index, queries, naive):
    """The ten best documents of each query, by a loop over documents."""
    decoded = [index.decode(np.array([position])).vectors for position in range(index.num_documents)]
    found = [naive(decoded.__getitem__, len(decoded), query, 10) for query in queries]
    return [(np.array([place for place, _ in one]), np.array([score for _, score in one]), None) for one in found]


@pytest.fixture(scope="module")
def queries(world):
    return world.queries(6)


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_finds_maxsim_of_the_decoded_vectors_or_says_why_not(index, queries, expected, same_results, name):
    engine, codec = ENGINES[name], index.codec
    if engine.needs_centroids and not codec.has_centroids:
        assert [*engine.check(codec)]
        with pytest.raises(InputError, match="has no centroids"):
            engine.search(index, queries, 10)
        return
    assert not [*engine.check(codec)]
    same_results(engine.search(index, queries, 10), expected)


def test_on_a_device_the_same_is_found(index, queries, expected, same_results):
    same_results(DeviceExhaustive(index, "cpu").search(queries, 10), expected)
    if index.codec.has_centroids:
        same_results(DeviceCascade(index, "cpu", lambda k: (10_000, None)).search(queries, 10), expected)


def test_with_tables_nothing_is_decoded(index, queries, same_results, monkeypatch):
    expected = search_decoded(index, queries, 10)
    if index.codec.has_tables:
        monkeypatch.setattr(type(index), "decode_rows", None)  # so that decoding cannot be used
    same_results(Exhaustive().search(index, queries, 10), expected)
