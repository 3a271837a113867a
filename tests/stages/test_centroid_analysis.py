"""The report on the tokens in the clusters of an index."""

import json
import string
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from support import shrunk, tiny_folder

from colbertv2.configuration.composition import build, compose, plan
from colbertv2.errors import InputError
from colbertv2.indexing.index import Index
from colbertv2.modeling.colbert import ColBERT


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("centroids")
    overrides = shrunk(tiny_folder(directory / "folder"), directory / "artifacts")
    return [*overrides, "pipeline=untrained", "analysis=centroids", "target=centroid_analysis"]


@pytest.mark.parametrize("maxlen", [None, 7])
@pytest.mark.parametrize("sample_vectors", [100, 10_000])
def test_every_vector_is_counted_at_its_centroid(small, sample_vectors, maxlen):
    overrides = [f"pipeline.centroid_analysis.sample_vectors={sample_vectors}", f"document_maxlen={maxlen or 'null'}"]
    report = build(compose([*small, *overrides]))
    table = pd.read_csv(report.path / "centroids.csv", index_col="centroid", keep_default_na=False)
    index = Index.open(report.parents["index"].path)
    sizes = np.bincount(index.codes(np.arange(index.num_documents)), minlength=len(table))
    assert table["size"].tolist() == sizes.tolist()
    assert (table["distinct_tokens"] <= table["size"]).all()
    held = [set() for _ in sizes]
    tokenizer = ColBERT.load(report.ancestor("checkpoint").path).tokenizer.tokenizer
    for position, (_, text) in enumerate(report.ancestor("embeddings").component("documents")):
        ids = tokenizer(text, truncation=True, max_length=maxlen or 180)["input_ids"]
        kept = [token for token in tokenizer.convert_ids_to_tokens(ids) if token not in string.punctuation]
        for code, token in zip(index.codes(np.array([position])), kept, strict=True):
            held[code].add(token)
    assert table["distinct_tokens"].tolist() == [len(tokens) for tokens in held]
    full = table[table["size"] > 0]
    assert all(token in held[centroid] for centroid, token in full["majority_token"].items())
    spread = pd.read_csv(report.path / "tokens.csv", index_col="token", keep_default_na=False)
    assert spread["clusters"].to_dict() == Counter(token for tokens in held for token in tokens)
    assert spread["vectors"].sum() == index.num_vectors
    shares = pd.read_csv(report.path / "shares.csv", header=[0, 1], index_col=0)
    whole = sample_vectors > index.num_vectors
    kinds = ["all vectors", *([] if whole else [shares.columns[1][1]]), "random vectors"]
    assert shares.columns.tolist() == [(of, kind) for of in ("clusters", "tokens") for kind in kinds]
    assert shares.loc[2, ("clusters", "all vectors")] == pytest.approx((full["distinct_tokens"] <= 2).mean())
    assert shares.loc[8, ("tokens", "all vectors")] == pytest.approx((spread["clusters"] <= 8).mean())
    assert shares.loc[1, ("clusters", "random vectors")] < 1
    key = json.loads((report.path / "metrics.json").read_text())
    held = table[table["size"] > 0]
    assert key["at_most_16_tokens"] == (pd.to_numeric(held["distinct_tokens"]) <= 16).mean()
    assert key["median_tokens"] == pd.to_numeric(held["distinct_tokens"]).median()
    assert key["median_majority_share"] == pytest.approx(pd.to_numeric(held["majority_share"]).median())
    assert key["random_at_most_16_tokens"] == pytest.approx(shares.loc[16, ("clusters", "random vectors")])
    residuals = pd.read_csv(report.path / "residuals.csv", index_col=["vectors", "dimension"])
    assert residuals.index.get_level_values(0).unique().tolist() == kinds[-2:] and len(residuals) == 2 * 16
    np.testing.assert_allclose(residuals.filter(regex="^bucket_").sum(axis=1), 1)
    for name in ("centroids", "residuals"):
        for suffix in ("png", "svg"):
            assert (report.path / f"{name}.{suffix}").stat().st_size > 10_000
    text = (report.path / "centroids.md").read_text()
    assert f"{len(table):,} centroids" in text and f"{index.num_vectors:,} vectors" in text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["codec=fp16"], "not a residual codec"),
        (["codec=product", "codec.queries=null"], "not a residual codec"),
        (["pipeline.centroid_analysis.sample_vectors=0"], "'sample_vectors' is 0"),
    ],
)
def test_what_cannot_be_analysed_is_refused_before_work(small, overrides, message):
    with pytest.raises(InputError, match=message):
        plan(compose([*small, *overrides]))


def test_documents_of_another_collection_are_refused(small):
    config = compose(small)
    OmegaConf.set_struct(config, False)
    config.pipeline.centroid_analysis.documents = {
        "_target_": "colbertv2.data.collection.Collection",
        "id": "stdlib-small",
    }
    with pytest.raises(InputError, match="not those of the index"):
        plan(config)
