import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.build import build_node
from colbertv2.artifacts.reader import parse
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.runtime import Runtime
from colbertv2.search.bm25 import BM25
from colbertv2.stages import bm25, evaluate, table

MEASURES = ["RR@10", "nDCG@10", "R@10", "R@100"]


@dataclass
class Made:
    """An artifact as the stages see it."""

    path: Path
    stage: str
    parents: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        return self.path / name

    @property
    def provides(self) -> tuple[str, ...]:
        return Artifact(self.path, {"stage": self.stage}).provides

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()


@pytest.fixture
def make(tmp_path):
    """Runs a stage in a directory of its own."""
    runtime = Runtime(root=tmp_path, device="cpu", progress=False)

    def run(stage, name, parents=None, arguments=None, **values):
        out = tmp_path / name
        out.mkdir()
        stage.run(**(parents or {}), **values, out=out, runtime=runtime)
        return Made(out, stage.__name__.rpartition(".")[2], parents or {}, arguments or {})

    return run


def searched(tmp_path, queries):
    """A ranking through an index, as the search stage would leave it."""
    (tmp_path / "index").mkdir()
    statistics = {"codec": "residual, 2 bits", "bytes_per_token": 36.0, "bytes_per_document": 3600.0}
    (tmp_path / "index" / "statistics.json").write_text(
        json.dumps({**statistics, "num_documents": 2651, "num_vectors": 265100})
    )
    (tmp_path / "search").mkdir()
    perfect = {query_id: [(queries.qrels.relevant(query_id)[0], 1.0)] for query_id, _ in queries}
    Ranking(perfect).write(tmp_path / "search" / "run.trec", tag="perfect")
    (tmp_path / "search" / "timing.json").write_text('{"ms_per_query": 12.5}')
    engine = {"engine": {"_target_": "colbertv2.search.plaid.Plaid"}}
    return Made(tmp_path / "search", "search", {"index": Made(tmp_path / "index", "index")}, engine)


def test_from_bm25_to_the_table(make, tmp_path):
    documents, queries = Collection("stdlib-small"), Queries("stdlib-small/dev")
    model = BM25(k1=1.2, b=0.75, tokenizer="words")
    ranking = make(bm25, "bm25", documents=documents, queries=queries, bm25=model, depth=20)
    assert json.loads((ranking.path / "timing.json").read_text())["ms_per_query"] > 0
    systems = {
        "BM25": make(evaluate, "one", {"ranking": ranking}, queries=queries, measures=MEASURES),
        "index": make(evaluate, "two", {"ranking": searched(tmp_path, queries)}, queries=queries, measures=MEASURES),
    }
    means = json.loads((systems["BM25"].path / "metrics.json").read_text())
    values = pd.read_csv(systems["BM25"].path / "per_query.csv", index_col="query_id")
    assert means["queries"] == len(values) == len(queries)
    assert means["RR@10"] == pytest.approx(values["RR@10"].mean()) and 0.2 < means["RR@10"] < 0.5
    assert means["R@100"] == pytest.approx(values["R@100"].mean())

    made = make(
        table, "table", systems=systems, title="T", baseline="BM25", measures=MEASURES, notes=["A note."], seed=0
    )
    rows = pd.read_csv(made.path / "table.csv", index_col="system")
    assert rows.loc["index", ["codec", "bytes_per_token", "ms_per_query", "engine", "RR@10"]].tolist() == [
        *["residual, 2 bits", 36.0, 12.5, "Plaid", 1.0]
    ]
    assert rows.loc["BM25", "engine"] == "bm25" and rows.loc["BM25", "codec"] == "–"
    assert rows.loc["BM25", "bytes_per_document"] > 0 and pd.isna(rows.loc["BM25", "bytes_per_token"])
    markdown = (made.path / "table.md").read_text()
    assert "2,651 documents, 265,100 vectors" in markdown and "A note." in markdown
    assert (made.path / "quality_bytes.png").stat().st_size > 10_000


def test_problems_that_are_known_before_any_work(tmp_path):
    queries = Queries("stdlib-small/dev")
    assert list(evaluate.check(ranking=None, queries=queries, measures=["RR@10"])) == []
    with pytest.raises(InputError, match="'RR@ten'"):
        evaluate.check(ranking=None, queries=queries, measures=["RR@ten"])
    (tmp_path / "collection.tsv").write_text("a\tone\n")
    (tmp_path / "queries.tsv").write_text("q\tone\n")
    unjudged = Queries(f"folder:{tmp_path}")
    assert "no relevance judgements" in next(iter(evaluate.check(ranking=None, queries=unjudged, measures=["RR@10"])))
    values = {"title": "", "measures": ["RR@10"], "notes": [], "seed": 0}
    evaluation = parse({"_target_": "colbertv2.stages.evaluate.run", "measures": ["RR@10", "R@10"]})
    assert list(table.check(systems={"a": evaluation}, baseline="a", **values)) == []
    assert "is not a row" in next(iter(table.check(systems={"a": evaluation}, baseline="b", **values)))
    other = {**values, "measures": ["RR@10", "nDCG@10"]}
    (problem,) = table.check(systems={"a": evaluation}, baseline="a", **other)
    assert problem == "'a' is not evaluated by nDCG@10, only by RR@10, R@10."


def test_as_nodes_of_a_pipeline(tmp_path):
    collection = {"_target_": "colbertv2.data.collection.Collection", "id": "stdlib-small"}
    queries = {
        "_target_": "colbertv2.data.queries.Queries",
        "id": "stdlib-small/dev",
        "part": None,
        "dev_fraction": 0.0,
    }

    def metrics(tokenizer):
        model = {"_target_": "colbertv2.search.bm25.BM25", "k1": 1.2, "b": 0.75, "tokenizer": tokenizer}
        ranking = {"documents": collection, "queries": queries, "bm25": model, "depth": 10}
        return {
            "_target_": "colbertv2.stages.evaluate.run",
            "ranking": {"_target_": "colbertv2.stages.bm25.run", **ranking},
            "queries": queries,
            "measures": ["RR@10"],
        }

    values = {"title": "T", "baseline": "words", "measures": ["RR@10"], "notes": [], "seed": 0}
    systems = {"words": metrics("words"), "code": metrics("code")}
    node = parse({"_target_": "colbertv2.stages.table.run", "systems": systems, **values})
    made = build_node(node, Runtime(root=tmp_path, device="cpu", progress=False))
    rows = pd.read_csv(made.path / "table.csv", index_col="system")
    assert rows.loc["code", "RR@10"] > rows.loc["words", "RR@10"] and rows.loc["code", "p_RR@10"] < 0.01
    assert (rows["engine"] == "bm25").all() and (rows["ms_per_query"] > 0).all()


def test_a_system_that_is_not_ranked_deep_enough_has_dashes(make):
    documents, queries = Collection("stdlib-small"), Queries("stdlib-small/dev")
    model = BM25(k1=1.2, b=0.75, tokenizer="words")
    systems = {}
    for name, depth in (("short", 5), ("long", 200)):
        ranking = make(bm25, name, documents=documents, queries=queries, bm25=model, depth=depth)
        ranking.arguments["depth"] = depth
        systems[name] = make(evaluate, f"of {name}", {"ranking": ranking}, queries=queries, measures=["R@5", "R@100"])
    measures = ["R@100", "R@5"]
    made = make(table, "table", systems=systems, title="T", baseline="long", measures=measures, notes=[], seed=0)
    rows = pd.read_csv(made.path / "table.csv", index_col="system")
    assert pd.isna(rows.loc["short", ["R@100", "R@100_low", "p_R@100"]]).all() and rows.loc["long", "R@100"] > 0.5
    assert rows.loc["short", "R@5"] == rows.loc["long", "R@5"]  # ties are broken alike at every depth
    markdown = (made.path / "table.md").read_text()
    assert "- R@100 –: the ranking keeps 5 documents per query (short)." in markdown and "nan" not in markdown
