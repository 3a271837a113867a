"""Data sets of the hub, from a stand-in that speaks its HTTP interface; no network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from dataset_hub import COMMIT, serving

pytest.importorskip("datasets", reason="needs the extra datasets: pip install 'colbertv2[datasets]'")
PROJECT = Path(__file__).resolve().parents[3]
READ = """
import json
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.interchange.tuple_tables import TupleTable
documents, queries = Collection("hf:mteb/tiny"), Queries("hf:mteb/tiny/test")
wrong = {}
for name in ("mteb/gone", "mteb/tiny@v9", "mteb/tiny/dev", "mteb/tiny+de"):
    try:
        Queries(f"hf:{name}").identity()
    except InputError as error:
        wrong[name] = str(error)
source = documents.dataset.docs_handler().identity()
table = TupleTable("some/triplets@COMMIT+triplet/train")
found = {
    "documents": dict(documents), "same": dict(Collection("hf:mteb/tiny@COMMIT")) == dict(documents),
    "queries": dict(queries), "qrels": queries.qrels.judgements, "missing": queries.qrels.unknown(documents),
    "wrong": wrong, "identity": table.identity(), "source": source,
    "examples": [example.documents for example in table], "texts": dict(Collection("hf:some/triplets+triplet/train")),
}
print("found:" + json.dumps(found))
""".replace("COMMIT", COMMIT)
HEADER = """---
configs:
- config_name: {name}
  data_files:
  - {{split: {split}, path: {folder}/*}}
"""


def parquet(path: Path, **columns: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def test_data_sets_of_the_hub(tmp_path):
    tiny, triplets = tmp_path / "tiny", tmp_path / "triplets"
    parquet(tiny / "corpus" / "0000.parquet", _id=["d1", "d1", "d2"], title=["", "", "T"], text=["first", "one", "two"])
    parquet(tiny / "queries" / "0000.parquet", _id=["q1", "q2"], text=["which", "what"])
    parquet(tiny / "data" / "0000.parquet", **{"query-id": ["q1", "q1"], "corpus-id": ["d2", "gone"], "score": [2, 1]})
    tables = (("default", "test", "data"), ("corpus", "corpus", "corpus"), ("queries", "queries", "queries"))
    parts = [HEADER.format(name=name, split=split, folder=folder) for name, split, folder in tables]
    (tiny / "README.md").write_text(parts[0] + "".join(part.partition("configs:\n")[2] for part in parts[1:]) + "---\n")
    parquet(triplets / "triplet" / "0000.parquet", anchor=["q"], positive=["a"], negative=["b"])
    (triplets / "README.md").write_text(HEADER.format(name="triplet", split="train", folder="triplet") + "---\n")
    with serving({"mteb/tiny": tiny, "some/triplets": triplets}) as (address, requests):
        settings = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(PROJECT)}
        environment = {**os.environ, **settings, "IR_DATASETS_HOME": str(tmp_path / "ir"), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", READ], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.rpartition("found:")[2])
    assert found["documents"] == {"d1": "one", "d2": "T two"} and found["same"]  # as released: the last of two counts
    assert found["queries"] == {"q1": "which"} and found["qrels"] == {"q1": {"d2": 2, "gone": 1}}
    assert found["missing"] == ["gone"]
    assert "neither here nor on the hub, or is not public (RepositoryNotFoundError)" in found["wrong"]["mteb/gone"]
    assert "neither here nor on the hub, or is not public (RevisionNotFoundError)" in found["wrong"]["mteb/tiny@v9"]
    assert "no split dev; name one of them as /split: test" in found["wrong"]["mteb/tiny/dev"]
    assert "no table de, nor de-corpus; name one of its tables as +subset" in found["wrong"]["mteb/tiny+de"]
    assert found["identity"] == {"dataset": "some/triplets, table triplet, split train", "revision": COMMIT}
    assert found["source"] == {"dataset": "mteb/tiny, table corpus, split corpus", "revision": COMMIT}
    assert [len(documents) for documents in found["examples"]] == [2]
    assert set(found["texts"]) == set(found["examples"][0]) and sorted(found["texts"].values()) == ["a", "b"]
    assert any("/resolve/" in request and COMMIT in request for request in requests)
    cached = [file.name for file in (tmp_path / "hf" / "datasets").rglob("*.arrow")]
    assert "tiny-queries.arrow" in cached and not any("corpus" in name for name in cached)  # documents are streamed
