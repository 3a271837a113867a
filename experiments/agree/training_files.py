"""Training files: colbert-ai and PyLate read what we wrote, and we read what they wrote."""

import json
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.evaluation.ranking import Ranking
from colbertv2.interchange.conversion import convert_checkpoint, convert_examples, examples_of
from colbertv2.interchange.training_files import read_official_examples, read_ranking, write_ranking, write_triples
from colbertv2.modeling.colbert import ColBERT
from colbertv2.training.examples import Example, Examples, read_examples, write_examples
from experiments.agree.environments import Peer, Peers
from experiments.agree.report import Row
from experiments.agree.texts import model

COLBERT_AI, PYLATE = "colbert-ai 0.2.22", "PyLate 1.6.0"
DOCUMENTS, QUERIES, N, BATCH = "stdlib", "stdlib/test", 4, 2


def run(work: Path, peers: Peers) -> Iterator[Row]:
    """Compare in both directions with both peers."""
    shutil.rmtree(work)
    work.mkdir()
    made = examples()
    write_examples(work / "examples.jsonl", made)
    for layout in ("official", "pylate"):
        convert_examples(work / "examples.jsonl", work / layout, layout, DOCUMENTS, QUERIES)
    yield from with_colbert_ai(work, peers.colbert_ai, made)
    peers.pylate.run("training_files_pylate", work / "pylate", work / "pylate.json")
    texts, asked = dict(Collection(DOCUMENTS)), dict(Queries(QUERIES, None, 0.0))
    expected = [
        (
            example.query_id,
            asked[example.query_id],
            example.documents,
            [texts[doc] for doc in example.documents],
            example.scores,
        )
        for example in made
    ]
    found = [
        (row["query_id"], row["query"], row["document_ids"], row["documents"], row["scores"])
        for row in json.loads((work / "pylate.json").read_text())
    ]
    yield same(PYLATE, "our tables in its KDProcessing: ids, texts and scores", expected, found)
    yield same(PYLATE, "our tables, read by us", made, list(examples_of(work / "pylate")))
    (work / "pylate" / "train.parquet").unlink()
    yield same(PYLATE, "JSON lines of its rows, read by us", made, list(examples_of(work / "pylate")))


def with_colbert_ai(work: Path, colbert_ai: Peer, made: list[Example]) -> Iterator[Row]:
    """Read our files with colbert-ai's readers and batches, and its files with ours."""
    directory = work / "official"
    numbered = list(read_examples(directory / "examples.json"))
    write_triples(directory / "triples.jsonl", numbered)
    ranking = Ranking({one.query_id: list(zip(one.documents, one.scores, strict=True)) for one in numbered})
    write_ranking(directory / "ranking.tsv", ranking)
    (work / "ours").mkdir()
    model().save(work / "ours")
    convert_checkpoint(str(work / "ours"), work / "checkpoint", "official")
    colbert_ai.run("training_files_colbert_ai", directory, work / "checkpoint", work / "official.json")
    found = json.loads((work / "official.json").read_text())
    flat = [" ".join(text.split()) for _, text in Collection(DOCUMENTS)]
    yield same(COLBERT_AI, "our collection.tsv in its Collection", flat, found["collection"])
    asked = [" ".join(text.split()) for _, text in Queries(QUERIES, None, 0.0)]
    yield same(COLBERT_AI, "our queries.tsv in its Queries", asked, list(found["queries"].values()))
    expected = [
        [int(one.query_id), *([int(d), s] for d, s in zip(one.documents, one.scores, strict=True))] for one in numbered
    ]
    yield same(COLBERT_AI, "our examples.json in its Examples", expected, found["examples"])
    triples = [[one.query_id, one.documents[0], negative] for one in numbered for negative in one.documents[1:]]
    yield same(COLBERT_AI, "our triples in its Examples", triples, found["triples"])
    lines = [[int(q), int(d), rank, score] for q in ranking for rank, (d, score) in enumerate(ranking[q], start=1)]
    yield same(COLBERT_AI, "our ranking.tsv in its Ranking", rounded(lines), rounded(found["ranking"]))
    yield batches(directory, work / "checkpoint", numbered, found["batch"])
    yield same(
        COLBERT_AI, "its examples.json, read by us", numbered, list(Examples(Path(found["saved"]["examples.json"])))
    )
    again = read_ranking(Path(found["saved"]["ranking.tsv"]))
    ids = [[doc for doc, _ in one[q]] for one in (ranking, again) for q in one]
    yield same(COLBERT_AI, "its ranking.tsv, read by us", ids[: len(ranking)], ids[len(ranking) :])
    yield same(COLBERT_AI, "there and back: string ids", made, list(read_official_examples(directory)))


def batches(directory: Path, checkpoint: Path, numbered: list[Example], found: dict) -> Row:
    """Compare the token ids and scores of the first batch of its LazyBatcher."""
    ours = ColBERT.load(checkpoint)
    documents, queries = ((directory / name).read_text().splitlines() for name in ("collection.tsv", "queries.tsv"))
    chosen = numbered[:BATCH]
    passages = [documents[int(doc)].split("\t")[1] for one in chosen for doc in one.documents[:N]]
    asked = [queries[int(one.query_id)].split("\t")[1] for one in chosen]
    expected = [
        ours.tokenizer.queries(asked).input_ids.tolist(),
        ours.tokenizer.documents(passages).input_ids.tolist(),
        [one.scores[:N] for one in chosen],
    ]
    return same(
        COLBERT_AI,
        "our files in its LazyBatcher: ids and scores of a batch",
        expected,
        [found["queries"], found["passages"], np.array(found["scores"]).reshape(BATCH, N).tolist()],
    )


def examples() -> list[Example]:
    """Examples with scores, of documents that are drawn at random."""
    generator = np.random.default_rng(0)
    ids = [doc_id for doc_id, _ in Collection(DOCUMENTS)]
    return [
        Example(
            query_id,
            [ids[place] for place in generator.choice(len(ids), 2 * N, replace=False)],
            sorted(generator.normal(size=2 * N).round(4).tolist(), reverse=True),
        )
        for query_id, _ in islice(Queries(QUERIES, None, 0.0), 100)
    ]


def rounded(rows: list) -> list:
    """The rows with their scores rounded to float32."""
    return [[*ids, float(np.float32(score))] for *ids, score in rows]


def same(peer: str, what: str, expected: list, found: list) -> Row:
    """A row with the number of items that differ."""
    differing = sum(a != b for a, b in zip(expected, found, strict=False)) + abs(len(expected) - len(found))
    return Row("training_files", peer, f"{what}: items of {len(expected)} that differ", differing, 0)
