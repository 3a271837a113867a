from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from peerqa_sample import write_sample

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.evaluation.measures import parse

CONF = Path(__file__).resolve().parents[2] / "conf"
SHARED = {"scifact", "cranfield", "vaswani"}
RELEASED = {"beir", "lotte", "msmarco", "msmarco_local_eval", "nq", "triviaqa", "squad"}  # tested in test_released.py
RELEASED |= {"nano_beir", "bright"}  # tested in test_nano_beir_and_bright.py
# These two extend another file; test_configs composes them.
NAMES = sorted(
    path.stem for path in (CONF / "collection").glob("*.yaml") if path.stem not in ("scifact_dev", "msmarco_local_eval")
)


def group(name: str, **values: str):
    config = OmegaConf.create({"collection": OmegaConf.load(CONF / "collection" / f"{name}.yaml")})
    for key, value in values.items():
        config.collection[key] = value
    return config.collection


def parts(config) -> dict:
    return {key: instantiate(config[key]) for key in ("documents", "train", "dev", "eval") if config[key] is not None}


@pytest.mark.parametrize("name", NAMES)
def test_every_collection_has_the_same_keys(name):
    assert {"name", "documents", "train", "dev", "eval"} <= set(group(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_collection_can_be_mounted_anywhere(name):
    """As in a validation by search: it refers to its own keys by relative paths, not to those of ``collection``."""
    lines = (CONF / "collection" / f"{name}.yaml").read_text().splitlines()
    assert [line for line in lines if "${collection" in line and not line.startswith("#")] == []


@pytest.mark.parametrize(
    "name",
    sorted(
        set(NAMES)
        - RELEASED
        - {"ir_datasets", "folder", "huggingface", "packages", "peerqa", "stdlib_topic", "none", "mixture"}
    ),
)
def test_splits_are_disjoint_and_judge_the_documents(name, request):
    if name in SHARED:
        request.getfixturevalue("shared_collections")
    found = parts(group(name))
    documents: Collection = found.pop("documents")
    seen: set[str] = set()
    for queries in found.values():
        ids = {query_id for query_id, _ in queries}
        assert ids and not ids & seen
        seen |= ids
        assert queries.qrels.unknown(documents) == []


@pytest.mark.parametrize("topic", ["network", "language", "data", "system"])
def test_a_topic_of_the_library_keeps_its_splits(topic):
    """Its test queries are test queries of the complete collection, so that nothing trained on that has seen them."""
    found = parts(group("stdlib_topic", topic=topic))
    complete = parts(group("stdlib"))
    for split in ("train", "dev", "eval"):
        ids = {query_id for query_id, _ in found[split]}
        assert len(ids) > 50 and ids < {query_id for query_id, _ in complete[split]}
        assert found[split].qrels.unknown(found["documents"]) == []


def test_any_id_of_ir_datasets():
    found = parts(group("ir_datasets", id="stdlib/test", train_id="stdlib/train", dev_id="stdlib/dev"))
    assert found["eval"].id == "stdlib/test" and len(found["documents"]) > len(found["train"])


def test_a_local_folder(tmp_path):
    (tmp_path / "collection.tsv").write_text("a\tone\n")
    (tmp_path / "queries.tsv").write_text("q\tfirst\n")
    for split in ("train", "dev", "test"):
        (tmp_path / f"qrels.{split}.tsv").write_text("q 0 a 1\n")
    found = parts(group("folder", path=str(tmp_path)))
    assert isinstance(found["dev"], Queries) and len(found["eval"]) == 1


def test_a_data_set_of_hugging_face(tmp_path):
    pytest.importorskip("datasets", reason="needs the extra datasets")
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "one"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "first"}\n')
    for split in ("train", "dev", "test"):
        (tmp_path / f"qrels-{split}.jsonl").write_text('{"query-id": "q", "corpus-id": "a", "score": 1}\n')
    found = parts(group("huggingface", path=str(tmp_path)))
    assert dict(found["documents"]) == {"a": "one"} and all(len(found[key]) == 1 for key in ("train", "dev", "eval"))


def test_peerqa(tmp_path):
    found = parts(group("peerqa", path=str(write_sample(tmp_path)), unit="sentence"))
    assert set(found) == {"documents", "eval"} and found["eval"].qrels.unknown(found["documents"]) == []


def test_measures_exist():
    assert parse(OmegaConf.load(CONF / "config.yaml").measures)
