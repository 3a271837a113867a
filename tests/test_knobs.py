"""No key of a codec, a search engine or a training is dead: each changes the result, not only its address.

The tables name, for every key, the file it is tried in, another value, and what else must be set for it to matter.
A key that is in a file but not in a table fails a test: whoever adds a key must state here what it changes.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from support import WORDS, index_of, shrunk, tiny_bert, tiny_folder, unit

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.residual import ResidualCodec
from colbertv2.configuration.composition import CONF, build, compose
from colbertv2.indexing.index import Index
from colbertv2.indexing.packed import Packed
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.learned_pooling import LearnedPooling
from colbertv2.modeling.projection import ProjectionLayers
from colbertv2.modeling.tokenizer import Tokenizer
from colbertv2.reduction.reduction import special_ids
from colbertv2.runtime import Runtime
from colbertv2.training.data import TextLookup
from colbertv2.training.examples import Example
from colbertv2.training.fit import RankingModule, fit
from colbertv2.training.recipe import Recipe


def keys(group: str, choice: str) -> Iterator[str]:
    """The dotted keys of a file after composition; a key whose value is a component (``queries``) counts as one."""
    config = compose([f"+{group}@chosen={choice}"]).chosen
    stack = [("", OmegaConf.to_container(config))]
    while stack:
        prefix, values = stack.pop()
        for name, value in values.items():
            if isinstance(value, dict) and value:
                stack.append((f"{prefix}{name}.", value))
            elif name != "_target_":
                yield f"{prefix}{name}"


def files(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


# file, key, another value, further overrides
FEW = {"clustering.num_centroids": 32}
CLUSTERING = [
    ("num_centroids", 16, FEW),
    ("centroid_factor", 0.25, {}),
    ("kmeans_iterations", 1, FEW),
    ("max_points_per_centroid", 2, FEW),
    ("group_search_radius", 0.1, FEW),
    ("centroid_bits", 8, FEW),
    ("sample_documents", 5, {}),
]
CODEC = [
    *(
        (codec, f"clustering.{key}", value, beside)
        for codec in ("residual", "product")
        for key, value, beside in CLUSTERING
    ),
    ("residual", "codec.nbits", 4, FEW),
    ("lloyd", "codec.buckets", "quantile", FEW),
    ("product", "codec.nbits", 4, FEW),
    ("product", "codec.queries", None, FEW),
    ("product", "codec.num_queries", 1, FEW),
    ("product", "codec.shrinkage", 5.0, FEW),
    ("product", "codec.seed", 7, FEW | {"codec.num_queries": 3}),
    ("centroids", "clustering.num_centroids", 16, FEW),
    ("ternary", "clustering.num_centroids", 16, FEW),
    ("rotated", "codec.nbits", 4, {}),
    ("rotated", "codec.rotate", False, {}),
    ("rotated", "codec.center", True, {}),
    ("rotated", "codec.seed", 7, {}),
    ("residual", "kmeans_iterations", 1, FEW),
    ("product", "kmeans_iterations", 1, FEW),
]

# file, key, another value
REDUCTION = [
    *(
        (file, *case)
        for file in ("hierarchical", "kmeans", "sequential", "idf", "first", "random", "attention", "norm")
        for case in (("factor", 3), ("num_vectors", 2), ("protected", "first"))
    ),
    *((file, "normalise", False) for file in ("hierarchical", "kmeans", "sequential")),
    ("kmeans", "iterations", 1),
    ("kmeans", "seed", 7),
    ("random", "seed", 7),
    ("stop_words", "words", ["python", "list"]),
]

HEAD = {"factor": 3.0, "depth": 3, "activation": "ReLU", "residual": False, "bias": True}

PLAID = [
    ("nprobe", 2, {"nprobe": 1, "centroid_score_threshold": -1.0, "ndocs": 600}),
    ("centroid_score_threshold", 0.5, {"nprobe": 4, "centroid_score_threshold": -1.0, "ndocs": 40}),
    ("ndocs", 80, {"nprobe": 4, "centroid_score_threshold": -1.0, "ndocs": 40}),
]
SEARCH = [
    *((file, *case) for file in ("plaid", "plaid-k10", "plaid-k100", "plaid-k1000") for case in PLAID),
    ("vanilla_colbertv2", "nprobe", 2, {"nprobe": 1, "ncandidates": 150}),
    ("vanilla_colbertv2", "ncandidates", 15, {"ncandidates": 5}),
    *(
        (file, *case)
        for file in ("xtr", "warp")
        for case in (
            ("nprobe", 2, {"nprobe": 1}),
            ("num_tokens", 5, {"num_tokens": 100}),
            ("imputation_tokens", 400, {"imputation_tokens": 1, "nprobe": 4}),
            ("imputation_tokens", "sqrt", {"imputation_tokens": None, "num_tokens": 5}),
            ("normalise", file == "warp", {}),
        )
    ),
    ("cascade", "nprobe", 1, {}),
    ("cascade", "ndocs", 10, {}),
    ("cascade", "recall", 0.5, {}),
]

MUVERA = {"repetitions": 2, "hyperplanes": 1, "projection_dim": 4, "final_dim": 32, "fill_empty": False, "centre": True}
SMVE = {"anchors": 40, "kept": 8, "pooling": "sum", "centre": True}
ENCODINGS = {  # choice of first_stage: another value of each key, and the values that all have in this test
    "muvera": (MUVERA, {"repetitions": 3, "hyperplanes": 3, "projection_dim": 8}),
    "smve": (SMVE, {"anchors": 64, "kept": 4}),
}

WEIGHTS = {  # the key changes the learned weights: file, another value, further overrides
    "objectives.in_batch.weight": ("distillation", 0.0, {}),
    "objectives.in_batch.temperature": ("distillation", 0.5, {}),
    "objectives.in_batch.own_negatives": ("colbert_zero_supervised", False, {}),
    "objectives.distillation.weight": ("distillation", 0.5, {}),
    "objectives.distillation.temperature": ("distillation", 0.5, {}),
    "objectives.distillation.teacher_scale": ("distillation", 0.5, {}),
    "objectives.distillation.student_normalisation": ("jacolbertv25", "none", {}),
    "objectives.distillation.teacher_normalisation": ("jacolbertv25", "none", {}),
    "objectives.margin_mse.weight": ("margin_mse", 0.5, {}),
    "objectives.margin_mse.teacher_scale": ("margin_mse", 0.5, {}),
    "objectives.list_mle.weight": ("list_mle", 1e-6, {}),
    "objectives.list_mle.temperature": ("list_mle", 0.5, {}),
    "objectives.ranknet.weight": ("ranknet", 1e-6, {}),
    "objectives.ranknet.temperature": ("ranknet", 0.5, {}),
    "objectives.approx_ndcg.weight": ("approx_ndcg", 1e-6, {}),
    "objectives.approx_ndcg.temperature": ("approx_ndcg", 0.5, {}),
    "objectives.approx_ndcg.highest_grade": ("approx_ndcg", 1.0, {}),
    "objectives.cross_entropy.weight": ("cross_encoder", 0.5, {}),
    "objectives.cross_entropy.temperature": ("cross_encoder", 0.5, {}),
    "optimization.learning_rate": ("distillation", 2e-3, {}),
    "optimization.warmup_steps": ("distillation", 3, {}),
    "optimization.steps": ("distillation", 2, {}),
    "optimization.weight_decay": ("distillation", 0.5, {}),
    "optimization.dropout": ("distillation", 0.2, {}),
    "optimization.schedule": ("distillation", "cosine", {}),
    "optimization.decay_fraction": ("distillation", 0.75, {"optimization.schedule": "wsd"}),
    "optimization.moving_average_decay": ("distillation", 0.5, {}),
    "optimization.optimizer": ("distillation", "muon", {}),
    "n_way": ("distillation", 4, {}),
    "negatives.strategy": ("distillation", "top", {}),
    "negatives.temperature": ("distillation", 0.1, {"negatives.strategy": "teacher"}),
    "batch_size": ("distillation", 3, {}),
    "gradient_accumulation_steps": ("distillation", 2, {}),
    "in_batch_groups": ("distillation", 2, {}),
    "precision": ("distillation", "bf16-mixed", {}),
    "gradient_clip": ("distillation", 0.01, {}),
}
INTERACTION = {  # likewise, of the group that is mounted on every training
    "num_tokens": ("xtr", 3, {}),
    "length_normalisation": ("maxsim", True, {}),
    "dims": ("maxsim", [16, 8], {}),
    "dim_weights": ("maxsim", [1.0, 3.0], {"dims": [16, 8]}),
    "initial_temperature": ("learned_temperature", 0.5, {}),
    "minimum_temperature": ("learned_temperature", 1.0, {"temperature_learning_rate": 0.5}),
    "temperature_learning_rate": ("learned_temperature", 0.5, {}),
    "reduction.factor": ("pooled", 3, {}),
    "reduction.num_vectors": ("pooled", 2, {}),
    "reduction.protected": ("pooled", "first", {}),
    "reduction.normalise": ("pooled", False, {}),
}
LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.5, "target_modules": ["query", "value"]}
LOG = {"validation_interval": 1, "validation_queries": 2}  # what is measured during training
WORK = {"gradient_cache_chunk": 1, "gradient_checkpointing": True, "compile": True}  # how the same result is computed


@pytest.mark.parametrize("choice", files("codec"))
def test_every_key_of_a_codec_is_tried(choice):
    name = choice.partition("_")[0]
    family = {"residual", "lloyd"} if name in ("residual", "lloyd") else {name}
    known = {key for file, key, *_ in CODEC if file in family}
    assert {f"codec.{key}" for key in keys("codec", choice)} <= known


@pytest.mark.parametrize("choice", files("clustering"))
def test_every_key_of_a_clustering_is_tried(choice):
    assert set(keys("clustering", choice)) == {key for key, *_ in CLUSTERING}


@pytest.mark.parametrize("choice", files("reduction"))
def test_every_key_of_a_reduction_is_tried(choice):
    assert set(keys("reduction", choice)) == {key for file, key, _ in REDUCTION if file == choice}


@pytest.mark.parametrize("choice", files("search"))
def test_every_key_of_a_search_engine_is_tried(choice):
    assert set(keys("search", choice)) == {key for file, key, *_ in SEARCH if file == choice}


@pytest.mark.parametrize("choice", files("training"))
def test_every_key_of_a_training_is_tried(choice):
    assert set(keys("training", choice)) <= {*WEIGHTS, *LOG, *WORK}


@pytest.mark.parametrize("choice", files("interaction"))
def test_every_key_of_an_interaction_is_tried(choice):
    assert set(keys("interaction", choice)) <= {*INTERACTION, "reduction"}


@pytest.fixture(scope="module")
def decoded(tmp_path_factory):
    """The decoded vectors of a small index with a codec, built with all stages as in a run."""
    directory = tmp_path_factory.mktemp("knobs")
    small = shrunk(tiny_folder(directory / "folder"), directory / "artifacts")

    @cache
    def vectors(choice: str, settings: frozenset) -> np.ndarray:
        overrides = [f"{key}={'null' if value is None else value}" for key, value in settings]
        index = build(compose([f"codec={choice}", "pipeline=untrained", "target=index", *overrides, *small]))
        opened = Index.open(index.path)
        return opened.decode(np.arange(opened.num_documents)).vectors

    return lambda choice, settings: vectors(choice, frozenset(settings.items()))


@pytest.mark.parametrize(("choice", "key", "value", "beside"), CODEC, ids=[".".join(case[:2]) for case in CODEC])
def test_every_key_of_a_codec_moves_the_decoded_vectors(decoded, choice, key, value, beside):
    assert not np.array_equal(decoded(choice, beside), decoded(choice, beside | {key: value}))


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    config = compose(["model.backbone.sha256=null", f"model.backbone.name={tiny_bert()}"])
    return initial.tokenizer_of(instantiate(config.model.backbone), instantiate(config.model.tokenization))


@pytest.mark.parametrize(("choice", "key", "value"), REDUCTION, ids=[".".join(case[:2]) for case in REDUCTION])
def test_every_key_of_a_reduction_moves_the_vectors(words, choice, key, value):
    vocabulary = words.tokenizer.get_vocab()
    ids = np.array([vocabulary[word] for word in ["[CLS]", "[unused1]", *WORDS[:17], "the", "[SEP]"]])
    vectors = unit(np.random.default_rng(0).normal(size=(len(ids), 8)))
    weights = np.random.default_rng(2).random(len(ids), np.float32)

    def reduced(changed: dict[str, Any]) -> np.ndarray:
        reduction = instantiate({"_convert_": "all", **compose([f"reduction={choice}"]).reduction, **changed})
        reduction.learn(words, [np.unique(ids[start:]) for start in range(len(ids))])
        return reduction.reduce(vectors, ids, reduction.protects(ids, special_ids(words)), weights)

    found = [reduced({}), reduced({}), reduced({key: value} | ({"factor": None} if key == "num_vectors" else {}))]
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


@pytest.mark.parametrize("choice", ["feed_forward", "glu"])
def test_every_key_of_a_head_moves_the_vectors(choice):
    config = compose([f"head={choice}"]).head
    tried = HEAD | {"gated": not config.gated}
    states = torch.randn(9, 12, generator=torch.Generator().manual_seed(1))

    def vectors(changed: dict[str, Any]) -> torch.Tensor:
        shape = instantiate(OmegaConf.merge(config, changed))
        return ProjectionLayers(shape.layers(12, 4, None, torch.Generator().manual_seed(0)))(states)

    assert set(keys("head", choice)) == set(tried) and torch.equal(vectors({}), vectors({}))
    for key, value in tried.items():
        assert config[key] != value and not torch.equal(vectors({}), vectors({key: value})), key


def test_every_key_of_the_constant_head_moves_the_vectors_and_no_head_is_forgotten():
    assert [*keys("head", "constant")] == ["num_vectors"]
    assert not [*keys("head", "linear")] and files("head") == ["constant", "feed_forward", "glu", "linear"]
    config = compose(["head=constant"]).head
    tokens = torch.ones(1, 40, dtype=torch.bool)

    def vectors(number: int) -> torch.Tensor:
        head = instantiate(OmegaConf.merge(config, {"num_vectors": number}))
        weight = head.pooling(40, True, torch.Generator().manual_seed(0))
        return LearnedPooling(weight)(torch.eye(40)[None], tokens)[0]

    assert len(vectors(8)) == 8 and len(vectors(9)) == 9 and not torch.equal(vectors(8), vectors(9)[:8])


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Index:
    clustering = Clustering(num_centroids=32, kmeans_iterations=4)
    return index_of(tmp_path_factory.mktemp("knobs"), ResidualCodec(2), [8] * 150, 16, 0, clustering)


@pytest.mark.parametrize(("choice", "key", "value", "beside"), SEARCH, ids=[".".join(case[:2]) for case in SEARCH])
def test_every_key_of_a_search_engine_moves_the_ranking(index, choice, key, value, beside):
    queries = [unit(np.random.default_rng(seed).normal(size=(6, 16))) for seed in range(8)]

    def ranking(settings: dict[str, Any]) -> list[list[int]]:
        engine = instantiate(OmegaConf.merge(compose([f"search={choice}"]).search, settings))
        return [positions.tolist() for positions, _, _ in engine.search(index, queries, 10)]

    assert ranking(beside) == ranking(beside) != ranking(beside | {key: value})


@pytest.mark.parametrize("choice", ENCODINGS)
def test_every_key_of_an_encoding_of_documents_is_tried(choice):
    own = {key.removeprefix("encoding.") for key in keys("first_stage", choice) if key.startswith("encoding.")}
    assert own == {*ENCODINGS[choice][0]} and {"seed", "depth", "embeddings"} <= {*keys("first_stage", choice)}


@pytest.mark.parametrize(("choice", "key"), [(one, key) for one in ENCODINGS for key in (*ENCODINGS[one][0], "seed")])
def test_every_key_of_an_encoding_of_documents_moves_the_ranking(choice, key):
    random, (values, small) = np.random.default_rng(0), ENCODINGS[choice]
    documents = Packed(unit(random.normal(size=(800, 16)) + 0.5), np.full(100, 8))
    queries = [unit(random.normal(size=(6, 16))) for _ in range(8)]

    def ranking(settings: dict[str, Any], seed: int) -> list[list[int]]:
        encoding = OmegaConf.merge(compose([f"first_stage={choice}"]).first_stage.encoding, small, settings)
        index = instantiate(encoding).index([documents], [f"d{place}" for place in range(100)], 16, seed)
        return [index.find(query, 10).positions.tolist() for query in queries]

    other = ranking({}, 1) if key == "seed" else ranking({key: values[key]}, 0)
    assert ranking({}, 0) == ranking({}, 0) != other


class Texts:
    """Replaces a collection and queries: each id is also its text."""

    def texts(self, ids: list[str]) -> list[str]:
        return [one.split(":")[-1] for one in ids]


LOOKUP = TextLookup(Texts(), Texts())  # pyright: ignore
EXAMPLES = [
    Example(
        word,
        [f"d:{word} a", *(f"d:{other} a" for other in WORDS[:12] if other != word)],
        [3.0, *np.random.default_rng(place).normal(size=11).tolist()],
    )
    for place, word in enumerate(WORDS[:12])
]
DEV = [  # the relevant document of each query has a different text
    Example(one.query_id, [EXAMPLES[place - 5].documents[0], *one.documents[:5]], [1.0] + [0.0] * 5)
    for place, one in enumerate(EXAMPLES)
]


@cache
def training(choice: str) -> DictConfig:
    """A file of ``conf/training``, reduced to a size for tests."""
    config = compose([f"training@training.round1={choice}"]).training.round1.copy()
    small = {
        "optimization": {"learning_rate": 1e-3, "warmup_steps": 1, "steps": 4, "weight_decay": 0.0, "dropout": 0.0},
        **{"n_way": 3, "batch_size": 4, "in_batch_groups": 1, "precision": "32-true"},
        **{"validation_interval": 2, "validation_queries": 6},
    }
    return OmegaConf.merge(config, small)  # pyright: ignore


def recipe(choice: str, settings: dict[str, Any]) -> Recipe:
    config = training(choice).copy()
    for key, value in settings.items():
        assert OmegaConf.select(config, key, default="absent") not in ("absent", value), "another value is needed"
        OmegaConf.update(config, key, value)
    return instantiate(config, _convert_="all")


def ranker() -> ColBERT:
    tokenization = Tokenization(12, 12, None, None, False, False, False)
    return initial.colbert(Backbone(str(tiny_bert()), None), tokenization, 16, "orthogonal", [], 0)


def trained(chosen: Recipe, out: Path, validation: list[Example], lookup: TextLookup = LOOKUP) -> ColBERT:
    out.mkdir()
    model = ranker()
    runtime = Runtime(root=out / "root", device="cpu", wandb="disabled", progress=False)
    fit(model, chosen, EXAMPLES, validation, lookup, lookup, seed=0, out=out, runtime=runtime)
    return model


def weights(model: ColBERT) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """The weights after a training without dev queries."""

    @cache
    def one(choice: str, settings: frozenset) -> torch.Tensor:
        out = tmp_path_factory.mktemp("knobs") / "run"
        return weights(trained(recipe(choice, dict(settings)), out, []))

    return lambda choice, settings: one(choice, frozenset(settings.items()))


@pytest.mark.parametrize("key", WEIGHTS)
def test_every_key_of_a_training_moves_the_weights(learnt, key):
    choice, value, beside = WEIGHTS[key]
    assert not torch.equal(learnt(choice, beside), learnt(choice, beside | {key: value}))


class Longer(Texts):
    """Texts with enough tokens to reduce."""

    def texts(self, ids: list[str]) -> list[str]:
        return [f"{text} {' '.join(WORDS[len(text) :][:7])}" for text in super().texts(ids)]


@pytest.mark.parametrize("key", INTERACTION)
def test_every_key_of_an_interaction_moves_the_weights(tmp_path, key):
    choice, value, beside = INTERACTION[key]
    config = training("distillation").copy()
    config.interaction = compose([f"interaction@training.round1.interaction={choice}"]).training.round1.interaction
    lookup, found = TextLookup(Longer(), Longer()), []  # pyright: ignore
    other = {key: value} | ({"reduction.factor": None} if key == "reduction.num_vectors" else {})
    for number, settings in enumerate((beside, other)):
        for name, one in settings.items():
            OmegaConf.update(config.interaction, name, one)
        chosen = instantiate(config, _convert_="all")
        found.append(weights(trained(chosen, tmp_path / str(number), [], lookup)))
    assert not torch.equal(*found)


def test_every_key_of_lora_moves_the_weights(tmp_path):
    pytest.importorskip("peft", reason="needs the extra lora")
    assert set(keys("lora", "default")) == set(LORA)
    config, found = compose(["+lora@chosen=default"]).chosen, []
    for place, changed in enumerate([{}, {}, *({key: value} for key, value in LORA.items())]):
        lora = instantiate(OmegaConf.merge(config, changed), _convert_="all")
        chosen = replace(recipe("distillation", {"optimization.steps": 2}), lora=lora)
        found.append(weights(trained(chosen, tmp_path / str(place), [])))
    assert torch.equal(found[0], found[1]) and not any(torch.equal(found[0], one) for one in found[2:])


@pytest.mark.parametrize("key", LOG)
def test_what_is_measured_on_the_way_moves_the_log(tmp_path, key):
    logs = []
    for settings in ({}, {}, {key: LOG[key]}):
        out = tmp_path / str(len(logs))
        trained(recipe("distillation", settings), out, DEV)
        logs.append((out / "log" / "metrics.csv").read_text())
    assert logs[0] == logs[1] != logs[2]


def work(settings: dict[str, Any]) -> tuple[int, int, bool]:
    """The number of runs of the transformer and its first attention in one step, and whether it is compiled."""
    model, calls = ranker(), {"transformer": 0, "attention": 0}
    module = RankingModule(model, recipe("distillation", settings), 0)
    compiled = model.transformer._compiled_call_impl is not None
    model.transformer._compiled_call_impl = None  # compiling takes half a minute; test_fit does it
    for name, part in (("transformer", model.transformer), ("attention", model.transformer.encoder.layer[0].attention)):
        part.register_forward_pre_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    three = [Example(one.query_id, one.documents[:3], one.scores[:3]) for one in EXAMPLES[:4]]
    own, all_pairs = model.batch_scores(model.collate(LOOKUP(three)), module.all_pairs)
    assert all_pairs is not None
    (own.sum() + all_pairs.sum()).backward()
    return calls["transformer"], calls["attention"], compiled


@pytest.mark.parametrize("key", WORK)
def test_how_it_is_computed_moves_what_is_called(key):  # test_fit checks that the weights stay the same
    assert work({}) == work({}) != work({key: WORK[key]})


def test_an_objective_of_weight_zero_is_not_computed():
    chosen = recipe("distillation", {"objectives.in_batch.weight": 0.0})
    assert [*chosen.losses] == ["distillation"] and not RankingModule(ranker(), chosen, 0).all_pairs
