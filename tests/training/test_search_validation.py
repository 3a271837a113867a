"""Validation by search: the values of the pipeline's own evaluation, and what they decide."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from support import shrunk, tiny_folder
from trainings import EXAMPLES, ranker, recipe, trained, weights

from colbertv2 import parallel
from colbertv2.configuration.composition import CONF, build, compose, plan, target_node
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.cross_encoder import CrossEncoder
from colbertv2.planning.prediction import estimate_nodes
from colbertv2.reduction.pooling import SequentialPooling
from colbertv2.reduction.reduction import NoReduction
from colbertv2.runtime import Runtime
from colbertv2.training import fit as fitting
from colbertv2.training.recipe import DEV_METRIC
from colbertv2.training.search_validation import SearchValidation, chosen, search_values
from colbertv2.training.stopping import BestAndLast, Patience

MEAN = "search/nDCG@10"
ON = "+validation@training.round1.search_validation=dev"
KEYS = "training.round1.search_validation"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("searched") / "folder")


@pytest.fixture(scope="module")
def small(folder) -> list[str]:
    return [*shrunk(folder, folder.parent / "artifacts"), "target=round1"]


@pytest.fixture(scope="module")
def collections(folder) -> dict:
    def one(split: str) -> dict:
        return {"documents": Collection(f"folder:{folder}"), "eval": Queries(f"folder:{folder}/{split}"), "train": None}

    return {"own": one("dev"), "other": one("test")}


def validation(collections: dict, **keys) -> SearchValidation:
    values = {"interval": None, "measure": "nDCG@10", "max_documents": 100, "max_queries": 100, "selects": False}
    return SearchValidation(collections, **{**values, **keys})


def values_of(model: ColBERT, wanted: SearchValidation) -> dict[str, float]:
    return search_values(model, wanted, wanted.sets(), 2048, "32-true", NoReduction())


def summary_of(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


def log(out: Path) -> pandas.DataFrame:
    return pandas.read_csv(next(iter(sorted(out.glob("log*/metrics.csv")))))


@pytest.mark.parametrize("measure", ["nDCG@10", "RR@3", "R@5", "AP", "RR(ties='expected')@10"])
def test_the_values_are_those_of_the_pipeline(folder, collections, measure):
    overrides = ["pipeline=untrained", "codec=fp16", "search=exhaustive", "target=metrics", "depth=30"]
    measured = build(compose([*shrunk(folder, folder.parent / "artifacts"), *overrides, f'measures=["{measure}"]']))
    model = ColBERT.load(measured.ancestor("checkpoint").path)
    found = values_of(model, validation({"test": collections["other"]}, measure=measure))
    expected = json.loads((measured.path / "metrics.json").read_text())[measure]
    assert 0 < expected < 1 and found == {f"search/test/{measure}": expected, f"search/{measure}": expected}


def test_documents_are_reduced_as_in_the_pipeline(folder, collections):
    overrides = ["pipeline=untrained", "codec=fp16", "target=metrics", "depth=30", "reduction=sequential"]
    measured = build(compose([*shrunk(folder, folder.parent / "artifacts"), *overrides, "measures=[nDCG@10]"]))
    model, wanted = ColBERT.load(measured.ancestor("checkpoint").path), validation({"test": collections["other"]})
    pooling = SequentialPooling(factor=2, num_vectors=None, protected="special", normalise=True)
    found = search_values(model, wanted, wanted.sets(), 2048, "32-true", pooling)
    assert found[MEAN] == json.loads((measured.path / "metrics.json").read_text())["nDCG@10"]
    assert found != values_of(model, wanted)


def test_parts_of_processes_make_up_the_whole(collections, monkeypatch):
    wanted, model = validation(collections), ranker()
    whole = values_of(model, wanted)
    recorded: dict[int, list] = {0: [], 1: []}
    for rank in (0, 1):  # what each would send
        monkeypatch.setattr(parallel, "rank_and_world", lambda rank=rank: (rank, 2))
        monkeypatch.setattr(
            parallel, "gathered_objects", lambda item, rank=rank: (recorded[rank].append(item), [item])[1]
        )
        assert values_of(model, wanted) != whole
    parts = iter(zip(*recorded.values(), strict=True))
    monkeypatch.setattr(parallel, "gathered_objects", lambda item: list(next(parts)))
    assert values_of(model, wanted) == whole


@pytest.mark.slow
def test_two_processes_log_what_one_does(collections, tmp_path):
    plan = recipe(search_validation=validation(collections, selects=True))
    logs = []
    for devices in (1, 2):
        trained(tmp_path / str(devices), plan, devices=devices)
        logs.append(log(tmp_path / str(devices))[MEAN].dropna().to_numpy())
    assert len(logs[0]) == 2 and np.allclose(logs[0], logs[1], atol=1e-6)


def test_of_a_large_collection_the_relevant_documents_and_a_fixed_choice_are_searched(collections):
    (own, _) = validation(collections, max_documents=15).sets()
    judged = {doc for query in own.query_ids for doc in own.queries.qrels.relevant(query)}
    assert len(own.doc_ids) == 15 and judged < set(own.doc_ids) and len(judged) == 10
    order = [doc_id for doc_id, _ in own.documents]
    assert own.doc_ids == sorted(own.doc_ids, key=order.index)
    fewer = validation(collections, max_documents=12).sets()[0].doc_ids
    assert set(fewer) < set(own.doc_ids)
    assert chosen(reversed(order), 15, judged) == own.doc_ids[::-1]
    (reason,) = validation({"own": collections["own"]}, max_documents=9).problems()
    assert "10 documents are relevant, more than max_documents=9" in reason
    assert not list(validation(collections, max_documents=10).problems())


def test_a_document_without_text_is_never_found(tmp_path):
    folder = tiny_folder(tmp_path / "folder")
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "empty", "title": "", "text": " "}\n')
    documents = Collection(f"folder:{folder}", empty="keep")
    wanted = validation({"own": {"documents": documents, "eval": Queries(f"folder:{folder}/dev")}}, measure="AP")
    with_it = values_of(ranker(), wanted)
    assert "empty" in wanted.sets()[0].doc_ids
    (folder / "corpus.jsonl").write_text("".join((folder / "corpus.jsonl").read_text().splitlines(True)[:-1]))
    without = {"documents": Collection(f"folder:{folder}"), "eval": Queries(f"folder:{folder}/dev")}
    assert with_it == values_of(ranker(), validation({"own": without}, measure="AP"))


def test_documents_that_a_protocol_removes_take_no_place(tmp_path):
    """BRIGHT removes what a query excludes (grade −100); these documents had taken the places of the others."""
    folder = tiny_folder(tmp_path / "folder")
    qrels = folder / "qrels" / "dev.tsv"
    lines = [qrels.read_text().splitlines()[0]]
    for number in range(1, 30, 3):  # of each query, one document counts, which is not the one that it asks for
        counts = (number + 15) % 30
        lines += [f"q{number}\td{other}\t{1 if other == counts else -100}" for other in range(30)]
    qrels.write_text("\n".join(lines) + "\n")
    queries = Queries(f"folder:{folder}/dev", protocol="bright")
    wanted = validation({"own": {"documents": Collection(f"folder:{folder}"), "eval": queries}}, measure="nDCG@1")
    assert values_of(ranker(), wanted)[wanted.metric] == 1.0


def test_the_own_document_that_beir_removes_takes_no_place(tmp_path):
    """A search to depth 1 had found only the document with the query's id, and nothing was left to judge."""
    folder = tiny_folder(tmp_path / "folder")
    (folder / "queries.jsonl").write_text((folder / "corpus.jsonl").read_text())  # each finds itself first
    numbers = range(1, 30, 3)
    rows = [f"d{number}\td{other}\t1" for number in numbers for other in range(30) if other != number]
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    one = {"documents": Collection(f"folder:{folder}"), "eval": Queries(f"folder:{folder}/dev", protocol="beir")}
    wanted = validation({"own": one}, measure="nDCG@1")
    assert values_of(ranker(), wanted)[wanted.metric] == 1.0


def test_the_log_has_every_collection_and_their_mean(collections, tmp_path):
    plain = trained(tmp_path / "plain", recipe())
    watched = trained(tmp_path / "watched", recipe(search_validation=validation(collections)))
    assert torch.equal(weights(plain), weights(watched)), "to watch changes no weights"
    found = log(tmp_path / "watched")
    both = found[["search/own/nDCG@10", "search/other/nDCG@10"]].dropna()
    assert list(found["step"][both.index]) == [1, 3]
    np.testing.assert_allclose(found[MEAN].dropna(), both.mean(axis=1), atol=1e-7)
    assert log(tmp_path / "plain")["dev/RR@10"].dropna().tolist() == found["dev/RR@10"].dropna().tolist()
    summary = summary_of(tmp_path / "watched")
    assert summary["dev_metric"] == "dev/RR@10"
    assert summary["before"] == pytest.approx({**values_of(ranker(), validation(collections)), "dev/RR@10": 1.0})


@pytest.mark.parametrize(("dev", "interval"), [(EXAMPLES, None), ([], 2)], ids=["each validation", "every second"])
def test_the_weights_of_the_best_mean_are_kept(collections, tmp_path, dev, interval):
    wanted = validation(collections, selects=True, interval=interval)
    model = trained(tmp_path / "run", recipe(8, 1, 1e-2, search_validation=wanted), dev)
    summary, found = summary_of(tmp_path / "run"), log(tmp_path / "run")
    means = found[MEAN].dropna()
    assert list(found["step"][means.index] + 1) == list(range(interval or 1, 9, interval or 1))
    assert summary["dev_metric"] == MEAN and summary["dev_best"] == pytest.approx(means.max())
    assert means.iloc[-1] < means.max() and summary["dev_before"] < means.max(), "else the test shows nothing"
    assert values_of(model, wanted)[MEAN] == pytest.approx(means.max(), abs=1e-6)


@pytest.fixture
def scripted(monkeypatch):
    """A function that makes the searches give these means, the first before training; None kills the training."""

    def follow(*means: float | None) -> None:
        left = list(means)

        def search(_, wanted, *__):
            if (mean := left.pop(0)) is None:
                raise RuntimeError("killed")
            return {wanted.metric: mean}

        monkeypatch.setattr(fitting, "search_values", search)

    return follow


def test_where_training_only_hurts_the_first_weights_are_kept(collections, tmp_path, scripted):
    scripted(0.5, 0.4, 0.5)
    model = trained(tmp_path / "run", recipe(search_validation=validation(collections, selects=True)), [])
    assert torch.equal(weights(ranker()), weights(model))


@pytest.mark.parametrize(
    ("interval", "means", "steps"),
    [
        (None, [0.5, 0.5, 0.4], 2),  # step 0 counts
        (None, [0.5, 0.4, 0.6, 0.6, 0.1], 4),
        (2, [0.5, 0.4, 0.3], 4),  # only validations with a search count
    ],
)
def test_patience_ends_a_training_that_gets_no_better(collections, tmp_path, scripted, interval, means, steps):
    scripted(*means)
    wanted = validation(collections, selects=True, interval=interval)
    trained(tmp_path / "run", recipe(6, 1, search_validation=wanted, patience=2), [])
    summary = summary_of(tmp_path / "run")
    assert summary["steps"] == steps and summary["dev_before"] == pytest.approx(means[0])
    assert summary["dev_best"] == pytest.approx(max(means[1:]))


def test_patience_also_waits_for_a_better_ranking_of_candidates(tmp_path):
    trained(tmp_path / "run", recipe(6, 1, 1.0, patience=2))  # 1.0 before training
    assert summary_of(tmp_path / "run")["steps"] == 2


def test_patience_that_ended_ends_again_after_resuming(collections, tmp_path, scripted, monkeypatch):
    plan = recipe(6, 1, search_validation=validation(collections, selects=True), patience=2)
    scripted(0.5, 0.6, 0.6, 0.6)
    whole = trained(tmp_path / "whole", plan, [])
    scripted(0.5, 0.6, 0.6, 0.6, 0.5, 0.9)  # again before training, and what would be if it trained on
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(ColBERT, "save", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        trained(tmp_path / "cut", plan, [])
    resumed = trained(tmp_path / "cut", plan, [])
    assert torch.equal(weights(whole), weights(resumed))
    assert summary_of(tmp_path / "whole") == summary_of(tmp_path / "cut") and summary_of(tmp_path / "cut")["steps"] == 3


def test_a_training_killed_in_a_search_resumes_from_the_last_one_to_the_same_weights(collections, tmp_path, scripted):
    plan = recipe(5, 1, search_validation=validation(collections, selects=True), patience=3)
    scripted(0.5, 0.6, 0.4, 0.7, 0.4, 0.3)
    whole = trained(tmp_path / "whole", plan, [])
    scripted(0.5, 0.6, 0.4, None)
    with pytest.raises(RuntimeError, match="killed"):
        trained(tmp_path / "cut", plan, [])
    scripted(0.5, 0.7, 0.4, 0.3)
    resumed = trained(tmp_path / "cut", plan, [])
    assert torch.equal(weights(whole), weights(resumed))
    assert summary_of(tmp_path / "whole") == summary_of(tmp_path / "cut")
    assert (tmp_path / "cut" / "log-from-step-2").is_dir(), "the last validation counts, not only the best"


def test_the_state_of_checkpoints_is_found_as_earlier_versions_wrote_it(tmp_path):
    before = ModelCheckpoint(
        tmp_path, "best", monitor=DEV_METRIC, mode="max", save_last=True, save_on_train_epoch_end=False
    )
    assert BestAndLast(tmp_path, DEV_METRIC, 1).state_key == before.state_key


def test_patience_starts_from_the_value_before_training():
    callback = Patience(MEAN, recipe(patience=1), 0.5)
    assert callback.best_score == 0.5 and callback._evaluate_stopping_criteria(torch.tensor(0.5))[0]


def test_wrong_settings_are_refused(collections, tmp_path):
    with pytest.raises(InputError, match="collections is empty"):
        validation({})
    with pytest.raises(InputError, match=r"collections.own: expected a collection .* found documents, name"):
        validation({"own": {"documents": collections["own"]["documents"], "name": "own", "eval": None}})
    with pytest.raises(InputError, match="found 'scifact'; a file of conf/collection is put there by"):
        validation({"own": "scifact"})
    with pytest.raises(InputError, match="has a slash"):
        validation({"a/b": collections["own"]})
    with pytest.raises(InputError, match="'nDCG@ten'"):
        validation(collections, measure="nDCG@ten")
    for interval in (3, 1):
        with pytest.raises(InputError, match=f"interval is {interval}; expected a multiple of validation_interval"):
            recipe(search_validation=validation(collections, interval=interval))
    teacher = CrossEncoder.pretrained(ranker_directory(tmp_path), 24, "late_interaction", 0.05)
    settings = Runtime(root=tmp_path, device="cpu", wandb="disabled", progress=False)
    with pytest.raises(InputError, match="cross-encoder"):
        fitting.fit(teacher, recipe(search_validation=validation(collections)), EXAMPLES, [], None, None,
                    seed=0, out=tmp_path, runtime=settings)  # fmt: skip  # pyright: ignore


def ranker_directory(path: Path) -> Path:
    ranker().save(path)
    return path


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([f"{KEYS}.max_documents=3"], "10 documents are relevant, more than max_documents=3"),
        ([f"{KEYS}.interval=3"], "interval is 3; expected a multiple"),
        ([f"{KEYS}.measure=nothing"], "'nothing'"),
        (["+validation@training.teacher.search_validation=dev", "target=teacher"], "a cross-encoder can't search"),
        (["+training.round1.patience=2", "pipeline.round1.validation=null"], "no metric chooses the weights"),
        (["+training.teacher.patience=2", "teacher.validation=null", "target=teacher"], "no dev queries"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(small, overrides, message):
    with pytest.raises(InputError, match=message):
        plan(compose([*small, *dict.fromkeys([ON, *overrides])]))


def test_it_is_part_of_the_address_by_content_and_absent_by_default(small, tmp_path):
    def address(*overrides: str) -> str:
        return target_node(compose([*small, *overrides])).address

    plain = target_node(compose(small)).identity["arguments"]["recipe"]
    assert not {"search_validation", "patience"} & set(plain)
    copy = tiny_folder(tmp_path / "copy")
    more = [ON, f"+collection@{KEYS}.collections.more=folder"]
    there, here = ([*more, f"{KEYS}.collections.more.path={place}"] for place in (copy, small[1].partition("=")[2]))
    assert address(*there) == address(*here) != address(ON) != address()
    assert len({address(ON, *word) for word in ([], [f"{KEYS}.selects=true"], [f"{KEYS}.max_documents=20"])}) == 3


def test_it_is_planned_built_and_counted(small, tmp_path):
    overrides = [*small, f"runtime.root={tmp_path}", ON, f"{KEYS}.selects=true"]
    node, runtime = target_node(compose(overrides)), Runtime(root=tmp_path, device="cpu")
    seconds = [estimate_nodes([target_node(compose(words))], runtime)[-1].seconds for words in (overrides, [*small])]
    assert seconds[0] is not None and seconds[1] is not None and seconds[0] > seconds[1]
    artifact = build(compose(overrides))
    assert artifact.address == node.address
    assert summary_of(artifact.path)["dev_metric"] == MEAN
    assert log(artifact.path)["search/own/nDCG@10"].count() == 2


def test_every_file_composes_and_every_key_is_known(collections):
    for file in (CONF / "validation").glob("*.yaml"):
        config = compose([f"+validation@training.round1.search_validation={file.stem}"])
        made = OmegaConf.to_container(config.training.round1.search_validation)
        assert set(made) - {"_target_"} == set(KNOBS) | {"selects"}
    nano = compose(["+validation@training.round2.search_validation=nano_beir"]).training.round2.search_validation
    ids = {instantiate(one.documents).id for one in nano.collections.values()}
    assert len(ids) == 13 and ids == {instantiate(one.eval).id for one in nano.collections.values()}


KNOBS = {"collections": None, "interval": 2, "measure": "RR@10", "max_documents": 11, "max_queries": 3}


@pytest.mark.parametrize("key", [key for key in KNOBS if key != "interval"])
def test_every_key_moves_the_values(collections, key):
    """``interval`` moves the log and ``selects`` the weights, see above."""
    plain = {"collections": {"own": collections["own"]}}
    moved = {**plain, key: KNOBS[key] or {"own": collections["other"]}}
    values = [[*values_of(ranker(), validation(**keys)).values()] for keys in (plain, plain, moved)]
    assert values[0] == values[1] != values[2]
