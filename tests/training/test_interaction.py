"""How training scores are computed: each setting against a loop and a peer, alone and within a training."""

import json
import math

import pandas
import pytest
import torch
from sentence_transformers.multi_vector_encoder.scoring import colbert_scores, xtr_kd_scores, xtr_scores
from support import shrunk, tiny_bert, tiny_folder
from torch.nn.functional import normalize
from trainings import EXAMPLES, LOOKUP, Texts, ranker, recipe, trained, weights

from colbertv2.artifacts.node import Component
from colbertv2.configuration.composition import build, compose, plan, target_node
from colbertv2.errors import InputError
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.cross_encoder import CrossEncoder
from colbertv2.modeling.maxsim import best_similarities
from colbertv2.reduction.pooling import SequentialPooling
from colbertv2.reduction.pruning import FirstPruning
from colbertv2.runtime import Runtime
from colbertv2.training.data import TextLookup, TrainingBatches
from colbertv2.training.fit import RankingModule, fit
from colbertv2.training.interaction import LateInteraction, mean_maxsim, sliced, xtr
from colbertv2.training.objectives import InBatchNegatives, KLDivergence, Scores

POOLED = SequentialPooling(factor=2, num_vectors=None, protected="special", normalise=True)


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """3 queries of 5 tokens, 6 documents of 7, and their masks."""
    query_mask = torch.arange(5) < torch.tensor([[5], [3], [4]])
    document_mask = torch.arange(7) < torch.tensor([[7], [4], [1], [6], [5], [7]])
    document_mask[3, 1] = False  # such as punctuation
    return vectors(3, 5, 8).requires_grad_(), vectors(6, 7, 8, seed=1).requires_grad_(), query_mask, document_mask


def naive_xtr(queries, documents, query_mask, document_mask, k):
    """Retrieve, then score, token by token: a table of differentiable scalars."""
    table = []
    for query, real in zip(queries, query_mask, strict=True):
        best: list[dict[int, torch.Tensor]] = []  # of each query token: document -> highest retrieved similarity
        for token in query[real]:
            pool = [(token @ d, j) for j, one in enumerate(documents) for d in one[document_mask[j]]]
            pool.sort(key=lambda pair: -pair[0].item())
            best.append({j: similarity for similarity, j in reversed(pool[:k])})
        row = []
        for j in range(len(documents)):
            found = [one[j] for one in best if j in one]
            row.append(sum(found) / len(found) if found else torch.zeros((), dtype=torch.float64))
        table.append(torch.stack(row))
    return torch.stack(table)


@pytest.mark.parametrize("k", [1, 2, 6, 17, 29, 1000])
def test_xtr_is_that_of_a_loop_with_its_gradients_and_of_sentence_transformers(batch, k):
    queries, documents, query_mask, document_mask = batch
    found = xtr(queries, documents.unsqueeze(0), query_mask, document_mask.unsqueeze(0), k)
    expected = naive_xtr(*batch, k)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    gradients = [torch.autograd.grad((weight * one).sum(), (queries, documents)) for one in (found, expected)]
    torch.testing.assert_close(*gradients)
    grouped = documents.view(3, 2, 7, 8), query_mask, document_mask.view(3, 2, 7)
    torch.testing.assert_close(found.float(), xtr_scores(queries, *grouped, top_k=k))
    own = found.view(3, 3, 2)[torch.arange(3), torch.arange(3)]
    torch.testing.assert_close(own.float(), xtr_kd_scores(queries, *grouped, top_k=k))
    assert (found == 0).any() == (k <= 6), "few tokens leave documents without one"


def test_xtr_with_all_tokens_is_maxsim_per_query_token(batch):
    queries, documents, query_mask, document_mask = batch
    arguments = queries, documents.unsqueeze(0), query_mask, document_mask.unsqueeze(0)
    torch.testing.assert_close(xtr(*arguments, 999), mean_maxsim(*arguments))


def test_copies_of_a_document_get_the_same_xtr_score_in_any_order(batch):
    queries, documents, query_mask, document_mask = (one[:1] if one.shape[0] == 3 else one for one in batch)
    twice, mask = documents[[0, 1, 0, 2]], document_mask[[0, 1, 0, 2]]
    for k in (1, 3, 5):
        scores = xtr(queries, twice.unsqueeze(0), query_mask, mask.unsqueeze(0), k)[0]
        assert scores[0] == scores[2]
        other = xtr(queries, twice[[3, 2, 1, 0]].unsqueeze(0), query_mask, mask[[3, 2, 1, 0]].unsqueeze(0), k)[0]
        torch.testing.assert_close(other.flip(0), scores)


def test_the_kth_similarity_has_no_gradient_and_changes_none(batch):
    queries, documents, _, mask = batch
    (best, none), (same, kth) = (best_similarities(queries, documents[None], mask[None], k) for k in (None, 4))
    assert none is None and kth is not None and not kth.requires_grad and torch.equal(best, same)
    expected = (queries @ documents[mask].T).sort(-1, descending=True).values[..., 3]
    torch.testing.assert_close(kth, expected)
    assert torch.autograd.gradcheck(lambda *two: best_similarities(*two, mask[None], 4)[0], (queries, documents[None]))


def test_maxsim_by_length_is_that_of_a_loop_and_of_sentence_transformers(batch):
    queries, documents, query_mask, document_mask = (one.detach() for one in batch)
    found = mean_maxsim(queries, documents.unsqueeze(0), query_mask, document_mask.unsqueeze(0))
    for i, query in enumerate(queries):
        for j, document in enumerate(documents):
            tokens = [max(float(q @ d) for d in document[document_mask[j]]) for q in query[query_mask[i]]]
            assert float(found[i, j]) == pytest.approx(sum(tokens) / len(tokens))
    grouped = documents.view(3, 2, 7, 8), query_mask, document_mask.view(3, 2, 7)
    torch.testing.assert_close(found.float(), colbert_scores(queries, *grouped, length_normalize=True))
    nothing = torch.zeros_like(query_mask)
    assert not mean_maxsim(queries, documents[None], nothing, document_mask[None]).any()


def scored(model: ColBERT, interaction: LateInteraction, all_pairs: bool = True):
    examples = [one._replace(documents=one.documents[:3], scores=one.scores[:3]) for one in EXAMPLES[:4]]
    inputs = model.collate(LOOKUP(examples))
    return inputs, interaction.scores(model.eval(), inputs, all_pairs)


@pytest.mark.parametrize("all_pairs", [True, False])
def test_the_default_is_the_model_s_own_maxsim(all_pairs):
    model = ranker()
    inputs, ((own, every),) = scored(model, LateInteraction(), all_pairs)
    expected, expected_every = model.batch_scores(inputs, all_pairs)
    assert torch.equal(own, expected)
    if all_pairs:
        assert every is not None and expected_every is not None and torch.equal(every, expected_every)
    else:
        assert every is expected_every is None
    assert torch.equal(LateInteraction().validation_scores(model, inputs), model.batch_scores(inputs, False)[0])


def test_each_dimension_scores_the_first_dimensions_of_reduced_documents():
    model, interaction = ranker(), LateInteraction(dims=[16, 8], reduction=POOLED)
    inputs, found = scored(model, interaction)
    queries, documents = inputs
    with torch.no_grad():
        q, d = model(queries), model.document_vectors(documents)
    special = torch.tensor(model.tokenizer.tokenizer.all_special_ids)
    for dim, (own, every) in zip([16, 8], found, strict=True):
        assert every is not None and every.shape == (4, 12) and own.shape == (4, 3)
        for i in range(4):
            query = normalize(q[i, queries.scored[i], :dim], dim=-1)
            for j in range(12):
                one, ids = (part[j, documents.scored[j]] for part in (normalize(d[..., :dim], dim=-1), documents[0]))
                free = one[~torch.isin(ids, special)]
                number = max(1, len(free) // 2)
                places = torch.arange(len(free)) * number // len(free)
                pooled = [normalize(free[places == place].mean(0), dim=0) for place in range(number)]
                fewer = torch.stack([*one[torch.isin(ids, special)], *pooled])
                assert float(every[i, j]) == pytest.approx(float((query @ fewer.T).max(1).values.sum()), abs=1e-5)
        torch.testing.assert_close(own, every.view(4, 4, 3)[torch.arange(4), torch.arange(4)])
    whole = LateInteraction(reduction=POOLED).scores(model, inputs, False)[0][0]
    torch.testing.assert_close(interaction.validation_scores(model, inputs), whole)
    assert torch.equal(sliced(q, 16), q)


def step(module: RankingModule) -> dict[str, float]:
    """What a training step logs; ``loss`` keeps its graph in ``module.result``."""
    logged: dict[str, float] = {}
    module.log = lambda name, value, **_: logged.__setitem__(name, float(value))  # pyright: ignore
    (one,) = batches(module)
    module.result = module.training_step(one)  # pyright: ignore
    return logged


def batches(module: RankingModule):
    made = TrainingBatches(
        EXAMPLES, LOOKUP, module.ranker.collate, n_way=2, negatives=module.recipe.negatives, batch_size=4, groups=1,
        steps=1, seed=0,
    )  # fmt: skip
    return list(made)


@pytest.mark.parametrize("dim_weights", [None, [3.0, 1.0]])
def test_the_loss_is_the_weighted_mean_over_dimensions(dim_weights):
    chosen = recipe(interaction=LateInteraction(dims=[16, 8], dim_weights=dim_weights))
    module = RankingModule(ranker(), chosen, 0)
    found = step(module)["train/in_batch"]
    (one,) = batches(module)
    scores = [Scores(own, None, every, one.excluded) for own, every in module.scores(one)]
    whole, half = (float(InBatchNegatives(1.0, 1.0)(each)) for each in scores)
    assert whole != pytest.approx(half)
    assert found == pytest.approx((3 * whole + half) / 4 if dim_weights else (whole + half) / 2)


def log(out) -> pandas.DataFrame:
    return pandas.read_csv(next(iter(sorted(out.glob("log*/metrics.csv")))))


class Interrupted(TextLookup):
    """Raises at a given batch, where a killed process would stop."""

    def __init__(self, after: int):
        super().__init__(Texts(), Texts())  # pyright: ignore
        self.left = after

    def __call__(self, examples):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("killed")
        return super().__call__(examples)


def run(out, chosen, lookup=LOOKUP):
    out.mkdir(exist_ok=True)
    runtime = Runtime(root=out.parent, device="cpu", wandb="disabled", progress=False)
    fit(model := ranker(), chosen, EXAMPLES, [], lookup, LOOKUP, seed=0, out=out, runtime=runtime)
    return model


def test_the_temperature_is_learned_logged_kept_above_its_minimum_and_not_saved(tmp_path):
    found = {}
    for least in (0.01, 0.15):
        learning = LateInteraction(initial_temperature=0.2, minimum_temperature=least, temperature_learning_rate=0.1)
        model = run(tmp_path / str(least), recipe(10, 10, interaction=learning))
        found[least] = log(tmp_path / str(least))["train/temperature"].dropna().tolist()
    free, clamped = found.values()
    assert 0.15 > free[0] > free[1] > 0.01 and clamped == pytest.approx([0.15, 0.15])
    plain = run(tmp_path / "plain", recipe(10, 10))
    assert not torch.equal(weights(model), weights(plain))
    names = [{file.name for file in (tmp_path / name).iterdir()} for name in ("0.15", "plain")]
    assert names[0] == names[1] and model.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("after", [3, 6])
def test_a_resumed_training_has_the_same_temperature(tmp_path, after):
    learning = recipe(8, 2, interaction=LateInteraction(initial_temperature=0.2, temperature_learning_rate=0.05))
    whole = run(tmp_path / "whole", learning)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "cut", learning, Interrupted(after))
    assert torch.equal(weights(whole), weights(run(tmp_path / "cut", learning)))
    ends = [log(tmp_path / name)["train/temperature"].dropna().iloc[-1] for name in ("whole", "cut")]
    assert ends[0] == ends[1] != pytest.approx(0.2)


def test_the_gradient_of_the_temperature_is_that_of_differences():
    def loss(initial: float) -> RankingModule:
        module = RankingModule(ranker(), recipe(interaction=LateInteraction(initial_temperature=initial)), 0)
        step(module)
        return module

    module = loss(0.5)
    module.result.backward()  # pyright: ignore
    higher, lower = (float(loss(0.5 * math.exp(shift)).result) for shift in (1e-2, -1e-2))  # pyright: ignore
    assert float(module.log_temperature.grad) == pytest.approx((higher - lower) / 2e-2, rel=1e-2)  # pyright: ignore


EVERYTHING = LateInteraction(
    num_tokens=9, dims=[16, 8], dim_weights=[2.0, 1.0], reduction=POOLED, initial_temperature=0.1
)  # fmt: skip


def test_a_gradient_cache_gives_the_same_weights(tmp_path):
    found = [
        weights(run(tmp_path / str(chunk), recipe(3, 3, interaction=EVERYTHING, gradient_cache_chunk=chunk)))
        for chunk in (None, 3)
    ]
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_two_processes_learn_the_same_weights_as_one(tmp_path):
    objectives = {"kl": KLDivergence(1.0, 1.0, 1.0)}  # XTR looks at all documents, though this loss needs its own alone
    chosen = recipe(objectives=objectives, interaction=EVERYTHING)
    one, two = (weights(trained(tmp_path / str(devices), chosen, devices=devices)) for devices in (1, 2))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
    ends = [log(tmp_path / str(devices))["train/temperature"].dropna().iloc[-1] for devices in (1, 2)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("interaction")
    return [*shrunk(tiny_folder(directory / "folder"), directory / "artifacts"), "runtime.device=cpu"]


def test_neutral_settings_leave_addresses_as_they_were(small):
    def address(*overrides: str) -> str:
        return target_node(compose([*small, "target=round2.checkpoint", *overrides])).address

    default, preset = address(), ["training@training.round2=pylate", "training.round2.n_way=3"]
    assert default == address("~training.round2.interaction", "~training.round1.interaction")
    choice = "interaction@training.round2.interaction"
    others = [
        address(*preset),
        address(*preset, f"{choice}=xtr", "reduction@training.round2.interaction.reduction=first"),
        address(f"{choice}=pooled", "training.round2.interaction.reduction.factor=3"),
        address("training.round2.interaction.dims=[16,8]"),
    ]
    assert len({default, *others}) == 5
    target = "colbertv2.training.interaction.LateInteraction"
    identity = Component("interaction", target, {"num_tokens": 5, "dims": None, "minimum_temperature": 0.01}).identity
    assert identity == {"_target_": target, "num_tokens": 5}


def test_a_training_learns_its_reduction_from_its_documents_and_validates_with_it(small):
    idf = "reduction@training.round1.interaction.reduction=idf"
    found = build(compose([*small, "target=round1", idf, "training.round1.interaction.reduction.factor=3"]))
    other = build(compose([*small, "target=round1"]))
    summaries = [json.loads((one.path / "summary.json").read_text())["dev_before"] for one in (found, other)]
    assert found.address != other.address and None not in summaries and summaries[0] != summaries[1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dims": []}, "different multiples of 8"),
        ({"dims": [16, 16]}, "different multiples of 8"),
        ({"dims": [16, 12]}, "different multiples of 8"),
        ({"dims": [16, 8], "dim_weights": [1.0]}, "a weight for each of dims"),
        ({"dims": [16, 8], "dim_weights": [1.0, 0.0]}, "'dim_weights' is"),
        ({"dim_weights": [1.0]}, "a weight for each of dims"),
        ({"num_tokens": 3, "length_normalisation": True}, "XTR's score is divided already"),
        ({"initial_temperature": 0.005}, "expected at least minimum_temperature, 0.01"),
        ({"num_tokens": 0}, "'num_tokens' is 0"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        LateInteraction(**keys)


def test_recipes_and_rankers_that_do_not_fit_are_refused(tmp_path):
    for keys in ({"batch_size": 4, "in_batch_groups": 2}, {"batch_size": 1}):
        objectives = {"kl": KLDivergence(1.0, 1.0, 1.0)}
        with pytest.raises(InputError, match="the documents of the complete batch compete"):
            recipe(interaction=LateInteraction(num_tokens=9), objectives=objectives, **keys)
    flat = {"kl": KLDivergence(1.0, 1.0, 1.0, student_normalisation="minmax")}
    for interaction in (LateInteraction(length_normalisation=True), LateInteraction(initial_temperature=1.0)):
        with pytest.raises(InputError, match="every objective normalises the student's scores"):
            recipe(objectives=flat, interaction=interaction)
        assert recipe(objectives=flat | {"in_batch": InBatchNegatives(1.0, 1.0)}, interaction=interaction)
    teacher = CrossEncoder.pretrained(tiny_bert(), 24, "late_interaction", 0.05)
    chosen = recipe(interaction=LateInteraction(num_tokens=9))
    with pytest.raises(InputError, match="a cross-encoder needs maxsim"):
        fit(
            teacher, chosen, EXAMPLES, [], LOOKUP, LOOKUP, seed=0, out=tmp_path,
            runtime=Runtime(root=tmp_path, device="cpu", wandb="disabled"),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["interaction@training.round2.interaction=matryoshka"], "expected 16, the model's dimensions, and lower ones"),
        (["training.round2.interaction.dims=[8]"], "expected 16, the model's dimensions"),
        (
            ["interaction@training.round1.interaction=xtr",
             "training.round1.batch_size=4",
             "training.round1.in_batch_groups=2"],
            "expected in_batch_groups=1",
        ),
        (
            ["reduction@training.round2.interaction.reduction=first",
             "training.round2.interaction.reduction.factor=null",
             "training.round2.interaction.reduction.num_vectors=200"],
            "none would lose a vector",
        ),
        (["reduction@training.round2.interaction.reduction=attention"], "needs the attention of each token"),
        (["+interaction@training.teacher.interaction=xtr"], "a cross-encoder has no token vectors"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_model_is_refused_before_any_work(small, overrides, message):
    with pytest.raises(InputError, match=message):
        plan(compose([*small, *overrides]))


def test_fewer_vectors_are_trained_as_they_are_indexed():
    """With ``first``, the tokens after the budget get no gradient in training, as they are not in the index."""
    model, reduction = ranker(), FirstPruning(factor=None, num_vectors=1, protected="none")
    (queries, documents), _ = scored(model, LateInteraction())
    document_vectors = model.document_vectors(documents).detach().requires_grad_()
    model.document_vectors = lambda _: document_vectors  # pyright: ignore
    ((own, _),) = LateInteraction(reduction=reduction).scores(model, (queries, documents), False)
    own.sum().backward()
    assert document_vectors.grad is not None
    assert document_vectors.grad[:, 0].any(-1).all() and not document_vectors.grad[:, 1:].any()
