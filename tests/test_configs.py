"""Every file under conf/ and experiments/ composes, validates against the stages' signatures, and plans."""

from pathlib import Path

import pytest
from architectures import tiny_encoder
from hydra.utils import instantiate
from support import shrunk, tiny_bert, tiny_folder
from transformers import AutoModelForSequenceClassification

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.configuration.composition import CONF, EXPERIMENTS, build, compose, plan
from colbertv2.errors import InputError
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.search.plaid import Plaid

# Groups that another group mounts, or that a local folder replaces, need overrides of their own.
GROUPS = sorted(
    (file.parent.name, file.stem)
    for file in CONF.glob("*/*.yaml")
    if file.parent.name not in ("training", "collection", "validation", "suite")
)
SUITES = sorted(file.stem for file in CONF.glob("suite/*.yaml"))
MOUNTED = {
    "round": "round@pipeline.round2",
    "source": "source@pipeline.round2.candidates",
    "interaction": "interaction@training.round2.interaction",
    "debug": "+debug",
    "lora": "lora@training.round2.lora",
}
TRAINING = sorted(file.stem for file in CONF.glob("training/*.yaml"))
COLLECTIONS = sorted(file.stem for file in CONF.glob("collection/*.yaml"))
EXPERIMENT_FILES = sorted(EXPERIMENTS.glob("*/*.yaml"))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("configs")
    overrides = [*shrunk(tiny_folder(directory / "folder"), directory / "artifacts"), "runtime.device=cpu"]
    return overrides


def with_pools(small: list[str]) -> list[str]:
    """Uses the embedded collection, since a local folder has no pools."""
    return ["collection=stdlib_small", *(one for one in small if not one.startswith("collection"))]


@pytest.mark.parametrize(("group", "choice"), GROUPS)
def test_every_choice_of_every_group_plans(small, tmp_path, group, choice):
    key = MOUNTED.get(group, group)
    overrides = [f"{key}={choice}", "target=metrics", *(with_pools(small) if choice == "pooled" else small)]
    if choice.startswith("external"):  # any file will do
        nodes = {"external_examples": "pipeline.examples", "external": "pipeline.round2.candidates"}
        node = "first_stage" if group == "first_stage" else nodes[choice]
        overrides.append(f"{node}.file.path={__file__}")
    if choice == "dataset_examples":
        pytest.importorskip("datasets", reason="needs the extra datasets")
        (tmp_path / "train.jsonl").write_text('{"query_id": "q0", "document_ids": ["d0", "d1"]}\n')
        overrides.append(f"pipeline.examples.file.path={tmp_path}/train.jsonl")
    if (group, choice) == ("teacher", "msmarco_minilm"):  # its weights would be downloaded
        values = {"num_labels": 1, "max_position_embeddings": 512}
        released = tiny_encoder(tmp_path, "bert", AutoModelForSequenceClassification, **values)
        overrides.append(f"teacher.backbone.name={released}")
    if group == "model" and "tokenization: null" in (CONF / "model" / f"{choice}.yaml").read_text():
        released = tmp_path / "released"  # a ColBERT checkpoint, whose own tokenization is taken
        tokenization = Tokenization(12, 20, None, None, False, False, True, query_prompt="query: ")
        initial.colbert(Backbone(str(tiny_bert()), None), tokenization, 16, "linear", [], 0).save(released)
        overrides.append(f"model.backbone.name={released}")
    elif group == "model" and choice != "minilm":
        overrides.append("model.tokenization.query_maxlen=16")
    if group == "logger" and choice in ("tensorboard", "mlflow"):
        pytest.importorskip(choice, reason=f"logger={choice} needs {choice}, an extra")
    if group == "search":
        overrides.append("codec=residual")
    if choice == "matryoshka":
        overrides.append("training.round2.interaction.dims=[16,8]")
    if group == "first_stage":
        overrides.append("pipeline=two_stage")
    steps = plan(compose(overrides))
    assert steps[-1].key == "pipeline.metrics"


@pytest.mark.parametrize("choice", TRAINING)
@pytest.mark.parametrize("role", ["round1", "teacher", "round2"])
def test_every_training_fits_every_role_or_says_why_not(small, choice, role):
    overrides = [f"training@training.{role}={choice}", *small, f"training.{role}.n_way=3"]
    if role == "teacher" and "in_batch" in compose(overrides).training.teacher.objectives:
        with pytest.raises(InputError, match="in-batch negatives"):
            plan(compose(overrides))
    else:
        assert plan(compose(overrides))


def test_every_preset_trains(small, tmp_path):
    checkpoints = set()
    presets = ("colbertv2", "jacolbertv25", "pylate", "answerai_small", "colbert_zero", "lateon_code")
    for choice in presets:
        overrides = [
            f"training@training.round2={choice}",
            *small,
            "target=round2.checkpoint",
            "training.round2.n_way=3",
        ]
        overrides += ["denoising=none", "training.round2.optimization.steps=5", f"runtime.root={tmp_path}"]
        trained = build(compose(overrides))
        log = next(trained.path.glob("log*/metrics.csv")).read_text()
        assert ("train/in_batch" in log) == (choice in ("colbertv2", "lateon_code"))
        assert ("train/distillation" in log) == (choice != "lateon_code")
        checkpoints.add(trained.address)
    assert len(checkpoints) == len(presets)


@pytest.mark.parametrize("choice", COLLECTIONS)
def test_every_collection_composes(choice, tmp_path):
    required = {
        "ir_datasets": ["collection.id=stdlib-small/test"],
        "folder": [f"collection.path={tmp_path}"],
        "huggingface": [f"collection.path={tmp_path}"],
        "beir": ["collection.set=scifact/test"],
        "nano_beir": ["collection.set=scifact"],
        "bright": ["collection.set=biology"],
        "stdlib_topic": ["collection.topic=network"],
        "msmarco_local_eval": [f"collection.ids={tmp_path}/ids.txt"],
        **{name: [f"collection.questions={tmp_path}/qa.csv"] for name in ("nq", "triviaqa", "squad")},
    }
    config = compose([f"collection={choice}", *required.get(choice, [])])
    assert {"name", "documents", "train", "dev", "eval"} <= set(config.collection)


@pytest.mark.parametrize("choice", SUITES)
def test_every_suite_composes(choice):
    """Each of its names stands for a collection with documents and test queries, and no two are the same."""
    config = compose([f"suite={choice}"])
    if choice == "none":
        assert "listed" not in config.suite
        return
    ids = [one["eval"].id for one in config.suite.listed.values()]
    assert len(ids) == len(set(ids)) == len(config.suite.collections) >= 3
    assert all(one.documents.id for one in config.suite.listed.values())


@pytest.mark.parametrize("file", EXPERIMENT_FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_experiment_composes_and_plans(small, file: Path):
    # With any line above it, Hydra would ignore it and silently run the default.
    assert file.read_text().splitlines()[0] == "# @package _global_"
    text = file.read_text()
    overrides = with_pools(small) if "/pipeline: pooled" in text else small
    folder = next(word for word in small if word.startswith("collection.path=")).replace("collection.path=", "folder:")
    if "override /collection: mixture" in text:
        overrides = [word for word in small if not word.startswith("collection")]
        overrides.append(f"collection.collections=[{folder}]")
    if "/suite: " in text or "- common\n" in text or "suite:\n" in text:  # what it is evaluated on would be downloaded
        overrides = [*overrides, f"suite.collections=[{folder}]"]
    if ": matryoshka\n" in text:
        overrides = [*overrides, "training.round1.interaction.dims=[16,8]"]  # the preset's are those of a larger model
    assert plan(compose([f"+{file.parent.name}={file.stem}", *overrides]))


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("codec.nbits=4", set()),  # the centroids are shared
        ("codec=product", set()),
        ("clustering.group_search_radius=0.7", {"pipeline.index.centroids"}),
        ("clustering.centroid_bits=8", {"pipeline.index.centroids"}),
        ("kmeans_seed=7", {"pipeline.index.centroids"}),
    ],
)
def test_a_sweep_of_the_codec_moves_the_index_and_what_follows_only(small, override, first):
    def addresses(*overrides: str) -> dict[str, str]:
        return {step.key: step.address for step in plan(compose([*small, *overrides]))}

    before, after = addresses(), addresses(override)
    assert {key for key in before if before[key] != after[key]} == first | {
        "pipeline.index",
        "pipeline.ranking",
        "pipeline.metrics",
    }
    assert before == addresses("runtime.batch_tokens=64", "runtime.shard_documents=7")


def test_wrong_values_are_reported_together_before_any_work(small):
    with pytest.raises(InputError) as caught:
        plan(compose([*small, "codec.nbits=3", "denoising.action=erase", "training.round2.n_way=0"]))
    assert all(word in str(caught.value) for word in ("nbits", "erase", "n_way"))
    with pytest.raises(InputError, match="nbits"):
        plan(compose([*small, "model.dim=12", "codec.nbits=1"]))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.round1.gradient_accumulation_steps=two", "expected a whole number"),
        ("training.round1.precision=fp7", "32-true"),
        ("training.teacher.batch_size=0", "at least 1"),
        ("teacher.scoring_head=foo", "late_interaction"),
        ("teacher.temperature=0", "from 1e-06"),
        ("model.projection=foo", "orthogonal"),
        ("model.sample_documents=0", "sample_documents"),
        ("model.dim=33", "hidden size"),
        ("model.tokenization.document_maxlen=9999", "at most 512"),
        ("model.tokenization.query_marker='[nowhere]'", "vocabulary"),
        ("depth=0", "depth"),
        ("denoising.margin=abc", "margin"),
        ("runtime.device=gpu", "expected auto"),
        ("runtime.threads=0", "threads"),
        ("codec.bitz=2", "did you mean"),
        ("clustering.group_search_radius=0", "above 0 and of at most 2, or null"),
        ("clustering.centroid_bits=4", "one of 8, 16"),
    ],
)
def test_a_wrong_value_is_refused_before_any_work(small, override, expected):
    with pytest.raises(InputError, match=expected):
        plan(compose([*[one for one in small if one.split("=")[0] != override.split("=")[0]], f"++{override}"]))


@pytest.mark.parametrize("k", [10, 100, 1000])
def test_plaids_presets_are_the_rows_of_its_table_at_any_depth(k):
    chosen = instantiate(compose([f"search=plaid-k{k}"]).search)
    assert chosen.settings(20) == chosen.settings(5000) == Plaid().settings(k)


def test_an_engine_that_probes_needs_a_codec_with_centroids(small):
    with pytest.raises(InputError, match="search=exhaustive"):
        plan(compose(["codec=fp16", "search=plaid", *small]))
