"""Training runs: batches by (seed, step), resume, step 0, the best checkpoint, both kinds of ranker."""

import json
import math
import os
import re
from pathlib import Path

import pytest
import torch
from pytorch_lightning.utilities import rank_zero_only
from support import tiny_bert

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.cross_encoder import CrossEncoder
from colbertv2.runtime import Runtime
from colbertv2.training.data import TextLookup, TrainingBatches, sampled
from colbertv2.training.examples import Example
from colbertv2.training.fit import fit, reciprocal_rank
from colbertv2.training.negatives import NegativeSampling
from colbertv2.training.objectives import CrossEntropy, InBatchNegatives, KLDivergence
from colbertv2.training.optimization import Optimization
from colbertv2.training.recipe import Recipe
from colbertv2.training.trainer import WholeCheckpoints, newest_checkpoint

WORDS = ["list", "string", "join", "sort", "open", "file", "read", "write", "number", "text", "parse", "return"]
UNIFORM = NegativeSampling("uniform", 1.0)
TOKENIZATION = Tokenization(12, 12, None, None, False, False, False)


class Texts:
    """Replaces a collection and queries: an id is its own text."""

    def texts(self, ids):
        return [one.split(":")[-1] for one in ids]


LOOKUP = TextLookup(Texts(), Texts())  # pyright: ignore
EXAMPLES = [
    Example(
        word, [f"d:{word} a", *[f"d:{other} a" for other in WORDS if other != word]], [1.0] + [0.0] * (len(WORDS) - 1)
    )
    for word in WORDS
]


def ranker() -> ColBERT:
    return initial.colbert(Backbone(str(tiny_bert()), None), TOKENIZATION, 16, "orthogonal", [], 0)


def recipe(steps: int = 6, learning_rate: float = 1e-3, interval: int = 3, **knobs) -> Recipe:
    objectives = knobs.pop("objectives", {"in_batch": InBatchNegatives(1.0, 1.0), "ce": CrossEntropy(1.0, 1.0)})
    values = {
        "objectives": objectives,
        "optimization": Optimization(learning_rate, 1, steps, 0.0, 0.0),
        "n_way": 3,
        "negatives": UNIFORM,
        "batch_size": 4,
        "gradient_accumulation_steps": 1,
        "in_batch_groups": 1,
        "precision": "32-true",
        "gradient_clip": 1.0,
        "validation_interval": interval,
        "validation_queries": 6,
        "gradient_cache_chunk": None,
        "gradient_checkpointing": False,
        "compile": False,
    }
    return Recipe(**{**values, **knobs})


def run(model, out: Path, plan: Recipe, validation=EXAMPLES, lookup=LOOKUP, dev_lookup=LOOKUP, seed: int = 0):
    out.mkdir(exist_ok=True)
    runtime = Runtime(root=out / "root", device="cpu", wandb="disabled", progress=False)
    fit(model, plan, EXAMPLES, validation, lookup, dev_lookup, seed=seed, out=out, runtime=runtime)
    return model


def weights(model) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def test_training_lowers_the_loss_and_writes_its_history(tmp_path):
    import pandas

    before = weights(ranker())
    model = run(ranker(), tmp_path, recipe(steps=30, interval=30), validation=[])
    history = pandas.read_csv(tmp_path / "log" / "metrics.csv")["train/loss"].dropna()
    assert history.iloc[-1] < history.iloc[0]
    assert not torch.equal(before, weights(model))
    assert json.loads((tmp_path / "summary.json").read_text())["examples"] == len(EXAMPLES)
    assert not (tmp_path / "checkpoints").exists(), "the artifact has the model, not the optimizer"


class Interrupted(TextLookup):
    """A lookup that raises at a given batch, where a killed process would stop."""

    def __init__(self, after: int):
        super().__init__(Texts(), Texts())  # pyright: ignore
        self.left = after

    def __call__(self, examples):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("killed")
        return super().__call__(examples)


def test_a_resumed_run_ends_with_the_same_weights(tmp_path):
    whole = run(ranker(), tmp_path / "whole", recipe(steps=8, interval=2), validation=[])
    with pytest.raises(RuntimeError, match="killed"):
        run(ranker(), tmp_path / "cut", recipe(steps=8, interval=2), validation=[], lookup=Interrupted(5))
    assert newest_checkpoint(tmp_path / "cut" / "checkpoints") is not None
    resumed = run(ranker(), tmp_path / "cut", recipe(steps=8, interval=2), validation=[])
    assert torch.equal(weights(whole), weights(resumed))


def test_step_zero_is_kept_where_training_only_hurts(tmp_path):
    start = weights(ranker())
    model = run(ranker(), tmp_path, recipe(learning_rate=1.0))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["dev_best"] <= summary["dev_before"]
    assert torch.equal(start, weights(model))


def test_a_run_killed_in_its_last_evaluation_resumes_to_the_same_weights(tmp_path):
    plan = recipe(steps=4, interval=2, learning_rate=3e-3)
    whole = run(ranker(), tmp_path / "whole", plan)
    with pytest.raises(RuntimeError, match="killed"):  # 6 queries at step 0, 6 at step 2, then in step 4's
        run(ranker(), tmp_path / "cut", plan, dev_lookup=Interrupted(14))
    resumed = run(ranker(), tmp_path / "cut", plan)
    assert torch.equal(weights(whole), weights(resumed))
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "cut")]
    assert summaries[0] == summaries[1]


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("validation", [EXAMPLES, []], ids=["dev", "no dev"])
@pytest.mark.parametrize(
    "which, spoil",
    [
        ("newest", cut_in_half),
        ("newest", flip_a_byte),
        ("oldest", lambda file: file.write_bytes(b"")),
        ("all", cut_in_half),
    ],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_taken(tmp_path, capsys, validation, spoil, which):
    plan = recipe(steps=6, interval=2, learning_rate=3e-3)
    whole = run(ranker(), tmp_path / "whole", plan, validation)
    with pytest.raises(RuntimeError, match="killed"):  # after two checkpoints, in the third validation or a batch
        run(
            ranker(), tmp_path / "cut", plan, validation,
            Interrupted(99 if validation else 5), Interrupted(20),
        )  # fmt: skip
    checkpoints = tmp_path / "cut" / "checkpoints"
    files = sorted(checkpoints.glob("*.ckpt"), key=lambda file: file.stat().st_mtime_ns)
    assert len(files) == 2
    spoilt = {"newest": files[1:], "oldest": files[:1], "all": files}[which]
    for file in spoilt:
        spoil(file)
    resumed = run(ranker(), tmp_path / "cut", plan, validation)
    assert torch.equal(weights(whole), weights(resumed))
    said = capsys.readouterr().out
    assert all(f"{file} is damaged (" in said and f"renamed to {file.name}.damaged" in said for file in spoilt)
    assert not checkpoints.exists()


def test_a_full_disk_names_the_checkpoint_and_keeps_the_one_before(tmp_path, monkeypatch):
    path, opened = tmp_path / "last.ckpt", Path.open
    checkpoint = {"global_step": 1, "state_dict": {"a": torch.zeros(9)}}
    WholeCheckpoints().save_checkpoint(checkpoint, path)
    before = path.read_bytes()
    full = Path("/dev/full")
    monkeypatch.setattr(Path, "open", lambda file, mode="r": opened(full if mode == "wb" else file, mode))
    with pytest.raises(OSError, match=r"No space left on device: .*last\.ckpt"):
        WholeCheckpoints().save_checkpoint(checkpoint, path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_NTASKS": "8"},  # in an allocation, without srun
        {"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "7", "SLURM_PROCID": "1"},
        {"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "4", "NODE_RANK": "1", "MASTER_PORT": "1"},
    ],
    ids=["allocation", "second task of srun", "torchrun"],
)
def test_a_cluster_s_variables_change_nothing(tmp_path, monkeypatch, recwarn, variables):
    plan = recipe(steps=2, interval=1)
    alone = run(ranker(), tmp_path / "alone", plan)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").touch(mode=0o755)  # installed but not used
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    rank = int(variables.get("SLURM_PROCID", variables.get("RANK", 0)))
    monkeypatch.setattr(rank_zero_only, "rank", rank)  # as Lightning sets it when it is imported
    within = run(ranker(), tmp_path / "within", plan)
    assert torch.equal(weights(alone), weights(within))
    assert not [text for one in recwarn if re.search("srun|SLURM|ntasks", text := str(one.message))]
    logs = [(tmp_path / name / "log" / "metrics.csv").read_text() for name in ("alone", "within")]
    assert logs[0] == logs[1]


def test_cross_encoder_trains_by_the_same_module(tmp_path):
    teacher = CrossEncoder.pretrained(tiny_bert(), 24, "late_interaction", 0.05)
    before = weights(teacher)
    run(teacher, tmp_path, recipe(objectives={"ce": CrossEntropy(1.0, 1.0)}), validation=[])
    assert not torch.equal(before, weights(teacher))


@pytest.mark.parametrize(
    "knobs", [{"gradient_cache_chunk": 1}, {"gradient_cache_chunk": 5}, {"gradient_checkpointing": True}]
)
def test_less_memory_gives_the_same_weights(tmp_path, knobs):
    plain = recipe(optimization=Optimization(1e-3, 1, 3, 0.0, 0.0))
    small = recipe(optimization=Optimization(1e-3, 1, 3, 0.0, 0.0), **knobs)
    whole, chunked = run(ranker(), tmp_path / "a", plain, []), run(ranker(), tmp_path / "b", small, [])
    torch.testing.assert_close(weights(whole), weights(chunked), atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_compiled_training_gives_the_same_weights(tmp_path):
    plain = recipe(optimization=Optimization(1e-3, 1, 2, 0.0, 0.0), interval=1)
    compiled = recipe(optimization=Optimization(1e-3, 1, 2, 0.0, 0.0), interval=1, compile=True)
    eager, fused = run(ranker(), tmp_path / "a", plain), run(ranker(), tmp_path / "b", compiled)
    torch.testing.assert_close(weights(eager), weights(fused), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("after", range(1, 8))
def test_resumed_at_any_step_with_dropout_and_accumulation(tmp_path, after):
    plan = recipe(optimization=Optimization(1e-3, 2, 4, 0.01, 0.3), gradient_accumulation_steps=2, interval=1)
    whole = run(ranker(), tmp_path / "whole", plan, validation=[])
    with pytest.raises(RuntimeError, match="killed"):
        run(ranker(), tmp_path / "cut", plan, validation=[], lookup=Interrupted(after))
    torch.rand(after)  # give the generator another state than the killed run had
    resumed = run(ranker(), tmp_path / "cut", plan, validation=[])
    assert torch.equal(weights(whole), weights(resumed))


def test_a_loss_that_turns_nan_stops_and_keeps_the_last_checkpoint(tmp_path):
    class Breaking(InBatchNegatives):
        calls = 0

        def __call__(self, scores):
            Breaking.calls += 1
            return super().__call__(scores) * (math.nan if Breaking.calls == 4 else 1)

    plan = recipe(objectives={"in_batch": Breaking(1.0, 1.0)}, steps=6, interval=2)
    with pytest.raises(InputError, match=r"loss of batch 3 is not finite \(in_batch nan\); its queries: \w+") as raised:
        run(ranker(), tmp_path, plan, validation=[])
    assert len(str(raised.value).split("queries: ")[1].split(". ")[0].split(", ")) == 4
    saved = torch.load(newest_checkpoint(tmp_path / "checkpoints"), weights_only=True)
    assert saved["global_step"] == 2 and all(tensor.isfinite().all() for tensor in saved["state_dict"].values())


def test_scores_that_are_not_finite_are_refused():
    wrong = [EXAMPLES[0]._replace(scores=[math.inf, *EXAMPLES[0].scores[1:]])]
    with pytest.raises(InputError, match="1 of 1 examples lack finite teacher scores"):
        recipe(objectives={"kl": KLDivergence(1.0, 1.0, 1.0)}).usable(wrong)


@pytest.mark.parametrize(
    "knobs",
    [
        {"n_way": 4},
        {"negatives": NegativeSampling("top", 1.0)},
        {"batch_size": 3},
        {"gradient_accumulation_steps": 2},
        {"gradient_clip": 0.01},
        {"objectives": {"ce": CrossEntropy(1.0, 1.0)}},
        {"objectives": {"in_batch": InBatchNegatives(0.5, 1.0), "ce": CrossEntropy(1.0, 1.0)}},
        {"optimization": Optimization(2e-3, 1, 6, 0.0, 0.0)},
        {"optimization": Optimization(1e-3, 3, 6, 0.0, 0.0)},
        {"optimization": Optimization(1e-3, 1, 3, 0.0, 0.0)},
        {"optimization": Optimization(1e-3, 1, 6, 0.5, 0.0)},
        {"optimization": Optimization(1e-3, 1, 6, 0.0, 0.2)},
        {"precision": "bf16-mixed"},
    ],
)
def test_every_knob_moves_the_weights(tmp_path, knobs):
    plain = run(ranker(), tmp_path / "plain", recipe(), validation=[])
    moved = run(ranker(), tmp_path / "moved", recipe(**knobs), validation=[])
    assert not torch.equal(weights(plain), weights(moved))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_in_every_precision(tmp_path, precision):
    def change(clip: float) -> float:
        before = weights(ranker())
        one_step = Optimization(1e-3, 0, 1, 0.0, 0.0)
        chosen = recipe(optimization=one_step, validation_interval=1, precision=precision, gradient_clip=clip)
        return (weights(run(ranker(), tmp_path / str(clip), chosen, validation=[])) - before).abs().mean().item()

    assert 0 < change(1e-6) < 0.8 * change(1.0)  # AdamW divides by the gradient + 1e-8, so only tiny ones tell


def test_seed_moves_the_batches_and_epochs_cover_every_example():
    def order(seed: int) -> list[list[str]]:
        batches = TrainingBatches(
            EXAMPLES,
            LOOKUP,
            lambda tuples: tuples,
            n_way=3,
            negatives=UNIFORM,
            batch_size=4,
            groups=1,
            steps=6,
            seed=seed,
        )  # pyright: ignore
        return [[example.query_id for example in batches.chosen(step)] for step in range(6)]

    assert order(0) == order(0) != order(1)
    queries = [query for batch in order(0) for query in batch]
    assert sorted(queries[:12]) == sorted(WORDS) == sorted(queries[12:])


def test_dev_sample_is_fixed():
    assert sampled(EXAMPLES, 4, 0) == sampled(EXAMPLES, 4, 0) != sampled(EXAMPLES, 4, 1)
    assert sampled(EXAMPLES, 99, 0) == EXAMPLES


def test_reciprocal_rank_counts_ties_against_the_ranker():
    scores = torch.tensor([[1.0, 1.0, 0.0], [2.0, 3.0, 1.0]])
    assert reciprocal_rank(scores, torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])).tolist() == [0.5, 0.5]
    assert reciprocal_rank(torch.arange(12.0)[None], torch.tensor([[1.0] + [0.0] * 11])).item() == 0


def test_bad_recipes_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least one loss"):
        recipe(objectives={})
    with pytest.raises(InputError, match="needs at least 2"):
        recipe(n_way=1)
    with pytest.raises(InputError, match="at least 2 queries in each part"):
        recipe(batch_size=1)
    with pytest.raises(InputError, match="does not divide"):
        recipe(steps=7, interval=3)
    with pytest.raises(InputError, match="32-true"):
        recipe(precision="fp7")
    with pytest.raises(InputError, match="gradient_accumulation_steps"):
        recipe(gradient_accumulation_steps=0)
    with pytest.raises(InputError, match="warmup_steps"):
        Optimization(1e-3, 9, 5, 0.0, None)
    unscored = [Example("q", ["a", "b", "c"], [1.0, None, None])]
    with pytest.raises(InputError, match="lack finite teacher scores"):
        recipe(objectives={"kl": KLDivergence(1.0, 1.0, 1.0)}).usable(unscored)
    with pytest.raises(InputError, match="only 0 training examples"):
        run(ranker(), tmp_path, recipe(n_way=50))


def test_examples_with_too_few_negatives_are_left_out_and_counted(caplog):
    examples = [Example("q", ["a", "b"], [1.0, 0.0]), Example("r", ["a", "b", "c"], [2.0, 1.0, 0.0])]
    assert list(recipe(n_way=3).usable(examples)) == examples[1:]
    assert "1 of 2 examples have fewer than 2 negatives and are left out (n_way=3)." in caplog.text
    caplog.clear()
    assert len(recipe(n_way=2).usable(examples)) == 2 and not caplog.text
