"""Declared sizes: plans for collections and models that are not here, and only for these."""

import pytest
import released
from support import shrunk, tiny_folder

from colbertv2.commands.plan import main
from colbertv2.configuration.points import collect
from colbertv2.data.collection import Collection
from colbertv2.errors import InputError
from colbertv2.planning import declared
from colbertv2.planning.declared import DeclaredCollection, DeclaredQueries, folder_of, stand_ins, with_declared
from colbertv2.planning.prediction import estimate_nodes
from colbertv2.planning.transformers import transformer
from colbertv2.runtime import Runtime

MSMARCO = ["collection=msmarco", "model=colbertv2", "pipeline=untrained"]


def test_the_sizes_give_the_published_number_of_vectors(tmp_path, nothing_here):
    (point,) = collect([*MSMARCO, "target=embeddings"])
    point = with_declared(point)
    steps = estimate_nodes([point.node], Runtime(tmp_path, device="cpu"))
    assert steps[-1].disk / (2 * 128) == pytest.approx(597.9e6, rel=0.01)
    assert {type(one).__name__ for one in stand_ins(point.node)} == {"DeclaredCollection", "DeclaredBackbone"}


def test_queries_are_as_many_as_their_part():
    whole = DeclaredQueries("msmarco-passage/train/judged")
    train = DeclaredQueries("msmarco-passage/train/judged", "train", 0.25)
    dev = DeclaredQueries("msmarco-passage/train/judged", "dev", 0.25)
    assert len(whole) == 502_939 and abs(len(train) + len(dev) - len(whole)) <= 1 and len(train) > 2 * len(dev)
    assert len({str(one.identity()) for one in (whole, train, dev)}) == 3


def test_every_declaration_has_a_source_and_what_plans_need():
    for rows in declared.table().values():
        assert rows and all(len(row["source"]) > 10 for row in rows.values())
    for name in declared.table()["collections"]:
        assert len(DeclaredCollection(name)) > 1000 and DeclaredCollection(name).size()["lengths"]
    for name in declared.table()["models"]:
        assert (folder_of(name) / "config.json").is_file()


def test_the_weights_of_bert_are_counted(nothing_here):
    layers, size = transformer("bert-base-uncased")
    assert layers == 12 * (4 * 768**2 + 2 * 768 * 3072)
    assert size == pytest.approx(4 * 109.5e6, rel=0.01)  # 110 million parameters with the pooler


def test_a_suite_that_is_not_here_is_planned(tmp_path, capsys, nothing_here):
    """Nothing is trained on, so there are no training queries; the three collections have the same documents."""
    suite = ["suite=trec_dl", "collection=none", "pipeline=untrained", "model=colbertv2"]
    main([*suite, f"runtime.root={tmp_path}"])
    said = capsys.readouterr().out
    assert [said.count(f"pipeline.{key} (") for key in ("embeddings", "index", "ranking", "metrics")] == [1, 1, 3, 3]
    assert said.count("documents of 348 characters") == 1 and "trec-dl-2019/judged: 43 queries" in said


def test_an_id_without_training_queries_is_planned(tmp_path, capsys, nothing_here):
    folder = tiny_folder(tmp_path / "folder")
    for name in (f"folder:{folder}/test", "msmarco-passage/dev/small"):
        main(["collection=ir_datasets", f"collection.id='{name}'", *MSMARCO[1:], f"runtime.root={tmp_path}"])
        said = capsys.readouterr().out
        assert "pipeline.metrics" in said and ("declared, not here: msmarco" in said) == ("msmarco" in name)


def test_settings_of_texts_distinguish_stand_ins():
    plain, short = DeclaredCollection("msmarco-passage/dev"), DeclaredCollection("msmarco-passage/dev", maxlen=64)
    assert plain.identity() == DeclaredCollection("msmarco-passage/train").identity() != short.identity()
    queries, other = DeclaredQueries("msmarco-passage/dev/small"), DeclaredQueries("msmarco-passage/dev/judged")
    assert [*queries] == [], "so that no warning of leakage needs them"
    assert queries.identity()["queries"] == len(queries) and queries.content["sha256"] != other.content["sha256"]


def test_what_is_here_is_used(tmp_path):
    released.msmarco()
    (point,) = collect(["collection=msmarco", "model=minilm", "pipeline=untrained", "target=embeddings"])
    assert with_declared(point) is point, "nothing is missing"
    documents = with_declared(point).node.bound["documents"]
    assert type(documents) is Collection and len(documents) == 40


def test_a_local_folder_is_never_declared(tmp_path):
    (point,) = collect(shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"))
    assert with_declared(point) is point


def test_other_collections_that_are_not_here_are_refused_as_before(tmp_path):
    overrides = ["collection=beir", "collection.set=hotpotqa/test", "pipeline=untrained", f"runtime.root={tmp_path}"]
    with pytest.raises(InputError, match="could not be downloaded"):
        main(overrides)


def test_a_wrong_configuration_is_refused_as_before(tmp_path, capsys, nothing_here):
    with pytest.raises(InputError, match=r"model\.dim is 4000; expected 1 to 768"):
        main([*MSMARCO, "model.dim=4000", f"runtime.root={tmp_path}"])
    assert capsys.readouterr().out == ""


def test_only_plans_take_stand_ins(nothing_here):
    (point,) = collect(MSMARCO)
    assert stand_ins(point.node) == [] and stand_ins(with_declared(point).node) != []
    assert "Declared" not in str(point.config), "the configuration itself stays as it was"
