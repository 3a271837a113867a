"""A collection from outside the package: its documents and queries are a class each, the rest is one YAML file."""

import pickle
from collections.abc import Iterator
from functools import cached_property

import pytest
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseQrels, BaseQueries, GenericDoc, GenericQuery, TrecQrel
from support import WORDS, shrunk

from colbertv2.commands import plan, report
from colbertv2.configuration.composition import build
from colbertv2.configuration.points import collect
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.data.sources.stores import MemoryDocs


class PairsOfWords(Collection):
    """Documents of two words each; the first ``number`` of all pairs."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"pairs of words: {number}")

    @cached_property
    def dataset(self) -> Dataset:
        pairs = [f"{one} {other}" for one in WORDS for other in WORDS][: self.number]
        return Dataset(MemoryDocs(GenericDoc, lambda: [GenericDoc(f"d{i}", text) for i, text in enumerate(pairs)]))


class SecondWords(Queries):
    """The second word of each of the first ten pairs is asked for."""

    def __init__(self) -> None:
        super().__init__("second words")

    @cached_property
    def dataset(self) -> Dataset:
        class Asked(BaseQueries):
            def queries_iter(self) -> Iterator[GenericQuery]:
                return (GenericQuery(f"q{place}", word) for place, word in enumerate(WORDS[:10]))

        class Judged(BaseQrels):
            def qrels_iter(self) -> Iterator[TrecQrel]:
                return (TrecQrel(f"q{place}", f"d{place}", 1, "0") for place in range(10))

        return Dataset(Asked(), Judged())


FILE = f"""
name: pairs
number: 30
documents: {{_target_: {__name__}.PairsOfWords, number: "${{collection.number}}"}}
train: null
dev: null
eval: {{_target_: {__name__}.SecondWords}}
"""


@pytest.fixture
def arguments(tmp_path) -> list[str]:
    """A sweep over the size of the collection."""
    (tmp_path / "conf" / "collection").mkdir(parents=True)
    (tmp_path / "conf" / "collection" / "pairs.yaml").write_text(FILE)
    small = [word for word in shrunk(tmp_path, tmp_path / "artifacts") if not word.startswith("collection")]
    chosen = ["pipeline=untrained", "collection=pairs", "codec=fp16", "depth=10", f"report.out={tmp_path / 'report'}"]
    return ["--config-dir", str(tmp_path / "conf"), "-m", "collection.number=20,40", *small, *chosen]


def test_it_is_planned_built_swept_and_reported(arguments, capsys):
    plan.main(arguments)
    planned = capsys.readouterr().out
    assert "from a default" in planned and " unknown" not in planned  # its size is known before any work
    artifacts = [build(point.config) for point in collect(arguments)]
    embeddings = [artifact.ancestor("embeddings") for artifact in artifacts]
    assert [one.record["inputs"]["documents"]["texts"] for one in embeddings] == [20, 40]
    report.main(arguments)
    assert "collection.number=40 against 20" in capsys.readouterr().out


def test_its_content_is_its_identity_and_another_process_can_read_it():
    few, many = PairsOfWords(20), PairsOfWords(40)
    assert few.identity() == PairsOfWords(20).identity() != many.identity()
    again = pickle.loads(pickle.dumps(many))
    assert list(again) == list(many) and again.texts(["d21"]) == ["a a"] and again.missing(["d40"]) == ["d40"]
    asked = SecondWords()
    assert dict(pickle.loads(pickle.dumps(asked))) == dict(asked) and asked.qrels.relevant("q3") == ["d3"]
