"""Measures of one run file with many ties: ours, and those of ir_measures, pytrec_eval and colbert-ai's script."""

import re
import shutil
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path

import ir_measures
import pytrec_eval

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.evaluation.measures import evaluate
from colbertv2.evaluation.ranking import Ranking
from colbertv2.interchange.training_files import write_ranking
from colbertv2.search.bm25 import BM25
from experiments.agree.environments import Peer, Peers
from experiments.agree.report import Row

DEPTH, PLACES = 300, 5e-5
BY_COLBERT_AI = {"RR@10": "MRR@10", "R@50": "Recall@50", "R@200": "Recall@200"}
BY_PYTREC_EVAL = {"nDCG@10": "ndcg_cut_10", "R@50": "recall_50", "R@200": "recall_200", "AP": "map"}


def run(work: Path, peers: Peers) -> Iterator[Row]:
    """Compare means over the test queries of the built-in collection, with BM25 scores cut to whole numbers."""
    shutil.rmtree(work)
    work.mkdir()
    ranking, qrels = tied_run()
    tied = sum(len({score for _, score in found}) < len(found) for found in ranking.values())
    note = f"{len(ranking)} queries, {tied} with ties"
    names = ["RR@10", *BY_PYTREC_EVAL]
    ours = evaluate(ranking, qrels, names).mean().to_dict()
    file = work / "run.trec"
    ranking.write(file, "tied")
    read = list(ir_measures.read_trec_run(str(file)))
    theirs = ir_measures.calc_aggregate([ir_measures.parse_measure(name) for name in names], qrels, read)
    values = {str(measure): float(value) for measure, value in theirs.items()}
    yield from compared("ir_measures", ours, values, note)
    yield from compared("pytrec_eval", ours, by_pytrec_eval(file, qrels), note)
    yield from compared("colbert-ai 0.2.22", ours, by_colbert_ai(work, peers.colbert_ai, ranking, qrels), note)


def tied_run() -> tuple[Ranking, Mapping[str, Mapping[str, int]]]:
    """A BM25 ranking with scores cut to whole numbers, and the judgements. Ids are numbers, for colbert-ai's script."""
    queries, collection = Queries("stdlib/test", None, 0.0), Collection("stdlib")
    index = BM25(k1=1.2, b=0.75, tokenizer="words").index(collection)
    query_numbers = {query_id: str(number) for number, (query_id, _) in enumerate(queries)}
    doc_numbers = {doc_id: str(number) for number, (doc_id, _) in enumerate(collection)}
    results = {
        query_numbers[query_id]: [
            (doc_numbers[doc_id], float(int(score))) for doc_id, score in index.search_one(text, DEPTH)
        ]
        for query_id, text in queries
    }
    qrels = {
        number: {doc_numbers[doc_id]: grade for doc_id, grade in queries.qrels[query_id].items()}
        for query_id, number in query_numbers.items()
    }
    return Ranking(results), qrels


def compared(peer: str, ours: Mapping[str, float], theirs: Mapping[str, float], note: str) -> Iterator[Row]:
    """A row for every measure that both have."""
    for name in theirs:
        yield Row("metrics", peer, name, abs(ours[name] - theirs[name]), PLACES, note)


def by_pytrec_eval(file: Path, qrels: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """The means that pytrec_eval computes from the run file; a judged query without results counts as 0."""
    with file.open() as stream:
        run = pytrec_eval.parse_run(stream)
    judged = {query_id: dict(grades) for query_id, grades in qrels.items()}
    found = pytrec_eval.RelevanceEvaluator(judged, set(BY_PYTREC_EVAL.values())).evaluate(run)
    return {
        name: statistics.fmean(found.get(query_id, {}).get(theirs, 0.0) for query_id in qrels)
        for name, theirs in BY_PYTREC_EVAL.items()
    }


def by_colbert_ai(work: Path, colbert_ai: Peer, ranking: Ranking, qrels: Mapping) -> dict[str, float]:
    """The means that colbert-ai's script computes; it takes the order of the lines as the ranking."""
    relevant = [
        f"{query_id}\t0\t{doc_id}\t1\n"
        for query_id, grades in qrels.items()
        for doc_id, grade in grades.items()
        if grade > 0
    ]
    (work / "qrels.tsv").write_text("".join(relevant))
    write_ranking(work / "ranking.tsv", ranking)
    colbert_ai.run("metrics_colbert_ai", work / "qrels.tsv", work / "ranking.tsv", work / "metrics.txt")
    printed = dict(re.findall(r"(\S+@\d+) = (\S+)", (work / "metrics.txt").read_text()))
    return {name: float(printed[theirs]) for name, theirs in BY_COLBERT_AI.items()}
