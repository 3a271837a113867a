"""NanoBEIR and BRIGHT, read from small files in their released format."""

import ir_datasets
import pytest
import released
from hydra.utils import instantiate
from omegaconf import OmegaConf
from support import shrunk

from colbertv2.configuration.composition import CONF, build, compose
from colbertv2.data.collection import Collection
from colbertv2.data.opening import places
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.measures import evaluate
from colbertv2.evaluation.protocols import judged, most_removed
from colbertv2.evaluation.ranking import Ranking
from colbertv2.files import read_json
from colbertv2.stages.evaluate import counted_depth

pytestmark = pytest.mark.usefixtures("any_disk")
any_disk = released.any_disk


def chosen(collection: str, name: str) -> tuple[Collection, Queries]:
    config = OmegaConf.create({"collection": OmegaConf.load(CONF / "collection" / f"{collection}.yaml")}).collection
    config.set = name
    assert config.train is None and config.dev is None
    return instantiate(config.documents), instantiate(config.eval)


def test_every_set_of_nano_beir_has_documents_queries_and_judgements():
    names = [name for name in ir_datasets.registry if name.startswith("nano-beir/")]
    assert len(names) == 13
    for name in names:
        released.nano_beir(name.partition("/")[2])
        documents, queries = chosen("nano_beir", name.partition("/")[2])
        assert dict(documents) == released.NANO_PASSAGES and len(documents) == 3
        assert dict(queries) == {"q1": "which one", "q2": "the second"}
        assert {key: dict(queries.qrels[key]) for key, _ in queries} == {"q1": {"q1": 1}, "q2": {"d1": 1, "d2": 1}}
        assert queries.qrels.mismatch(documents) == []


def test_nano_beir_counts_a_document_with_the_id_of_its_query():
    released.nano_beir("arguana")
    _, queries = chosen("nano_beir", "arguana")
    ranking = Ranking({"q1": [("q1", 2.0), ("d1", 1.0)], "q2": [("q1", 2.0), ("d1", 1.0)]})
    found = evaluate(*judged(ranking, queries), ["RR@10"])["RR@10"]
    assert found.to_dict() == {"q1": 1.0, "q2": 0.5}


def test_every_set_of_bright():
    names = sorted(name.partition("/")[2] for name in ir_datasets.registry if name.startswith("bright/"))
    assert len(names) == 20
    for name in names:
        short = name.removesuffix("-long")
        released.bright(short)
        documents, queries = chosen("bright", name)
        assert dict(queries) == {"0": "why 0?", "1": "why 1?"}
        gold = {"0": {"web/a.txt": 1}, "1": {"web/b.txt": 1}}
        if name == short:
            gold = {"0": {"web/a_0.txt": 1}, "1": {"web/b_1.txt": 1}}
        gold["0"] |= {"posts/0.txt": -100, "posts/1.txt": -100}
        assert {key: dict(queries.qrels[key]) for key, _ in queries} == gold  # those of the queries' handler differ
        assert len(documents) == (4 if name == short else 3)
        what = "text" if name == short else "all"
        assert dict(documents) == {doc: f"{what} of {doc}" for doc in dict(documents)}


def test_bright_removes_what_a_query_excludes():
    released.bright("biology")
    _, queries = chosen("bright", "biology")
    order = ["posts/1.txt", "posts/0.txt", "web/b_1.txt", "web/a_0.txt"]
    ranking = Ranking({key: [(doc, -float(place)) for place, doc in enumerate(order)] for key in ("0", "1")})
    kept, qrels = judged(ranking, queries)
    assert [doc for doc, _ in kept["0"]] == order[2:] and [doc for doc, _ in kept["1"]] == order
    assert {key: dict(grades) for key, grades in qrels.items()} == {"0": {"web/a_0.txt": 1}, "1": {"web/b_1.txt": 1}}
    found = evaluate(kept, qrels, ["nDCG@10", "RR@10"])
    assert found["RR@10"].to_dict() == pytest.approx({"0": 1 / 2, "1": 1 / 3})
    assert found.loc["0", "nDCG@10"] == pytest.approx(0.63093, abs=1e-5)  # 1 / log2(3)
    plain = evaluate(*judged(ranking, Queries("bright/biology")), ["RR@10"])["RR@10"]
    assert plain["0"] == 1 / 4  # without its protocol the excluded documents count as wrong answers
    assert Queries("bright/biology").identity() != queries.identity()


def test_the_depth_of_a_ranking_is_what_counts_of_it(tmp_path):
    released.bright("biology")
    assert most_removed(Queries("bright/biology", protocol="bright")) == 2 and most_removed(Queries("stdlib/test")) == 0
    assert [counted_depth(depth, 2) for depth in (12, 1, None)] == [10, 0, None]
    small = shrunk(tmp_path, tmp_path / "artifacts")
    overrides = [one for one in small if not one.startswith("collection")]
    overrides += ["collection=bright", "collection.set=biology", "pipeline=untrained", "measures=[nDCG@10,nDCG@2]"]
    with pytest.raises(InputError, match=r"the ranking keeps 1 documents per query"):
        build(compose([*overrides, "depth=3"]))
    metrics = read_json(build(compose([*overrides, "depth=4"])).path / "metrics.json")
    assert metrics["nDCG@10"] is None and 0 < metrics["nDCG@2"] <= 1 and metrics["queries"] == 2
    assert metrics["unknown"] == {"nDCG@10": "the ranking keeps 2 documents per query"}


def test_missing_files_are_all_named():
    handler = ir_datasets.load("bright/pony").queries_handler()
    urls = [place.url for place in places(handler)]
    assert len(urls) == 6 and len(set(urls)) == 6  # the questions, and the reasoning of five models
    assert all("/BRIGHT/" in url for url in urls)
