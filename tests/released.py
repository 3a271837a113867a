"""Tiny data sets in exactly the files of the released ones, written to where ``ir_datasets`` would download those.

Each function may be called again; files that it wrote before are kept.
"""

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import ir_datasets
import pyarrow
import pyarrow.parquet
import pytest
from ir_datasets.util import Download, RequestsDownload

from colbertv2.data.opening import places


def home() -> Path:
    return ir_datasets.util.home_path()


def tsv(rows: Iterable[tuple]) -> str:
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def jsonl(rows: Iterable[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(content)


def write_tar(path: Path, members: Mapping[str, str]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    write(path, buffer.getvalue())


def write_zip(path: Path, members: Mapping[str, str]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    write(path, buffer.getvalue())


def here(path: Path) -> Download:
    """Write a file as if it had been downloaded before."""
    return Download([RequestsDownload("https://example.org/file")], cache_path=str(path), size_hint=1_000_000)


def msmarco(passages: int = 40) -> None:
    """Passage i answers query 10·i: the first ten queries are in dev/small, twenty in dev, the others in train."""
    texts = [f"passage number {number} is about topic{number}" for number in range(passages)]
    texts[1] += " in the cafÃ©"  # broken encoding, as in the collection itself
    queries = {10 * number: f"what is topic{number}" for number in range(passages)}
    small, dev, train = (list(queries)[part] for part in (slice(10), slice(20), slice(20, None)))
    unlabelled = {99_999: "a training query that nobody labelled"}
    base = home() / "msmarco-passage"
    write_tar(
        base / "collectionandqueries.tar.gz",
        {
            "collection.tsv": tsv(enumerate(texts)),
            "qrels.dev.small.tsv": tsv((query, 0, query // 10, 1) for query in small),
            "queries.dev.small.tsv": tsv((query, queries[query]) for query in small),
        },
    )
    write_tar(
        base / "queries.tar.gz",
        {
            "queries.dev.tsv": tsv((query, queries[query]) for query in dev),
            "queries.eval.tsv": tsv([(1_000_000, "a query whose labels are secret")]),
            "queries.train.tsv": tsv([*((query, queries[query]) for query in train), *unlabelled.items()]),
        },
    )
    write(base / "dev" / "qrels", tsv((query, 0, query // 10, 1) for query in dev).encode())
    write(base / "train" / "qrels", tsv((query, 0, query // 10, 1) for query in train).encode())


def beir(name: str, documents: Mapping[str, tuple[str, str]], queries: Mapping[str, str], qrels: dict) -> None:
    """``documents``: id → title and text; ``qrels``: split → (query, document, grade)."""
    folder = name.partition("/")[0]
    write_zip(home() / "beir" / name / "source.zip", beir_files(folder, documents.items(), queries, qrels))


METADATA = {  # the fields that occur in some of the sets
    **{"url": "", "pubmed_id": "", "stance": "PRO", "tags": [], "description": "", "narrative": "", "query": ""},
    **{"authors": [], "year": 2016, "cited_by": [], "references": []},
}


def beir_files(folder: str, documents: Iterable[tuple], queries: Mapping[str, str], qrels: dict) -> dict[str, str]:
    """The files of one set; ``documents`` are (id, (title, text))."""
    rows = [{"_id": key, "title": title, "text": text, "metadata": METADATA} for key, (title, text) in documents]
    asked = [{"_id": key, "text": text, "metadata": METADATA} for key, text in queries.items()]
    members = {f"{folder}/corpus.jsonl": jsonl(rows), f"{folder}/queries.jsonl": jsonl(asked)}
    for split, judgements in qrels.items():
        members[f"{folder}/qrels/{split}.tsv"] = tsv([("query-id", "corpus-id", "score"), *judgements])
    return members


ODD_DOCUMENTS = [  # oddities of released sets, each of which occurs in some set
    ("0007", ("", "the python list")),
    ("<dbpedia:Café_(bar)>", ("A title", "")),
    ("c67482ba-2019-04-18T13:32:05Z-00000-000", ("Both", "the python list")),
    ("x" * 300, ("", "a file")),
    ("empty", ("", "")),
    ("blank", ("", " \n")),
    ("twice", ("", "the first of two")),
    ("twice", ("", "the last of two")),
    ("q1", ("", "a document with the id of a query")),
]
ODD_QUERIES = {"q1": "a file", "7": "the list", "07": "a string", "unjudged": "what", "nothing-relevant": "where"}
ODD_QRELS = [("q1", "q1", 1), ("q1", "0007", 2), ("7", "twice", 1), ("7", "empty", -2), ("07", "not-in-the-corpus", 1)]
ODD_QRELS += [("nothing-relevant", "0007", 0), ("not-among-the-queries", "0007", 1)]


ODD_PASSAGES = ["one", "", " ", "same", "same"]


def odd_passages() -> None:
    """LoTTE's writing and MS MARCO with empty and equal passages, and a query whose only answer is missing."""
    folder, asked = "lotte/writing/test", {0: "zero", 2: "two", 3: "nothing answers it"}
    answers = {0: [0, 0, 1], 2: [99], 3: []}
    members = {
        f"{folder}/collection.tsv": tsv(enumerate(ODD_PASSAGES)),
        f"{folder}/metadata.jsonl": jsonl({"dataset": "writing", "pid": pid} for pid in range(len(ODD_PASSAGES))),
        f"{folder}/questions.search.tsv": tsv(asked.items()),
        f"{folder}/qas.search.jsonl": jsonl(
            {"qid": query, "query": text, "url": "", "answer_pids": answers[query]} for query, text in asked.items()
        ),
    }
    write_tar(home() / "lotte" / "lotte.tar.gz", members)
    judged = tsv((query, 0, pid, 1) for query, pids in answers.items() for pid in pids)
    members = {"collection.tsv": tsv(enumerate(ODD_PASSAGES)), "qrels.dev.small.tsv": judged}
    members["queries.dev.small.tsv"] = tsv(asked.items())
    write_tar(home() / "msmarco-passage" / "collectionandqueries.tar.gz", members)


def every_beir_set() -> list[str]:
    """All BEIR sets in ir_datasets, each with the oddities of released sets; returns their ids without ``beir/``."""
    judged = [
        name.removeprefix("beir/")
        for name in ir_datasets.registry
        if name.startswith("beir/") and ir_datasets.load(name).has_qrels()
    ]
    archives: dict[Path, dict[str, str]] = {}
    for name in judged:
        handler = ir_datasets.load(f"beir/{name}").docs_handler()
        (place,) = places(handler)
        folder = name if name.startswith("cqadupstack") else name.split("/")[0]
        splits = dict.fromkeys(("train", "dev", "test"), ODD_QRELS)
        archives.setdefault(place.path, {}).update(beir_files(folder, ODD_DOCUMENTS, ODD_QUERIES, splits))
    for path, members in archives.items():
        write_zip(path, members)
    return judged


def arguana() -> None:
    """Each argument is a query and a document with the same id; the document that counters it is relevant."""
    names = [f"test-topic-{number}-con0{side}a" for number in range(3) for side in (1, 2)]
    texts = {name: (name[:-4], f"argument about subject{number // 2}") for number, name in enumerate(names)}
    counters = [(name, names[number ^ 1], 1) for number, name in enumerate(names)]
    beir("arguana", texts, {name: text for name, (_, text) in texts.items()}, {"test": counters})


def lotte() -> None:
    """Writing and pooled, dev and test: query q of a form has answers 2q and 2q + 1."""
    members = {}
    for topic in ("writing", "pooled"):
        for split in ("dev", "test"):
            folder = f"lotte/{topic}/{split}"
            members[f"{folder}/collection.tsv"] = tsv((pid, f"{topic} {split} answer{pid // 2}") for pid in range(8))
            members[f"{folder}/metadata.jsonl"] = jsonl({"dataset": topic, "pid": pid} for pid in range(8))
            for form, count in (("search", 2), ("forum", 3)):
                questions = [f"{form} answer{query}" for query in range(count)]
                members[f"{folder}/questions.{form}.tsv"] = tsv(enumerate(questions))
                members[f"{folder}/qas.{form}.jsonl"] = jsonl(
                    {"qid": query, "query": text, "url": "", "answer_pids": [2 * query, 2 * query + 1]}
                    for query, text in enumerate(questions)
                )
    write_tar(home() / "lotte" / "lotte.tar.gz", members)


PASSAGES = [
    ("1", '"Aaron ( or ; ""Ahärôn"" ) is a prophet, and the brother of Moses"', "Aaron"),
    ("2", "The opera was first heard in New York in 1893", '"""Weird Al"" Yankovic"'),
    ("3", "Yorkshire is new to him", "New York"),
]
QUESTIONS = """who was the brother of moses\t['Aharon', 'Ahärôn']
where was the opera heard\t['New York', "New York's Met"]
who sings\t['"Weird Al" Yankovic']
"how many ""angels"" dance"\t['seven']
"""


def dpr() -> Path:
    """Three passages, one question with a gold passage; returns the path of a file with four questions."""
    base = home() / "dpr-w100"
    write(base / "docs.tsv.gz", gzip.compress(("id\ttext\ttitle\n" + tsv(PASSAGES)).encode()))
    context = {"title": "Aaron", "text": "Aaron …", "title_score": 1}
    gold = {
        "dataset": "nq_dev_psgs_w100",
        "question": "who was the brother of moses",
        "answers": ["Aharon", "Ahärôn"],
        "positive_ctxs": [{**context, "score": 1000, "passage_id": "1"}],
        "negative_ctxs": [{**context, "score": 0, "passage_id": "3"}],
        "hard_negative_ctxs": [{**context, "score": 12.5, "passage_id": "2"}],
    }
    write(base / "nq-dev.json.gz", gzip.compress(json.dumps([gold]).encode()))
    write(base / "nq-dev.qa.csv", QUESTIONS.encode())
    return base / "nq-dev.qa.csv"


NANO_PASSAGES = {"d1": "the first passage", "d2": "the second passage", "q1": "a passage with the id of a query"}


def nano_beir(name: str) -> None:
    """Three passages; the relevant passage of q1 has the query's own id."""
    dataset = ir_datasets.load(f"nano-beir/{name}")
    texts = pyarrow.schema({"_id": pyarrow.string(), "text": pyarrow.string()})
    write_parquet(dataset.docs_handler(), [{"_id": key, "text": text} for key, text in NANO_PASSAGES.items()], texts)
    asked = {"q1": "which one", "q2": "the second"}
    write_parquet(dataset.queries_handler(), [{"_id": key, "text": text} for key, text in asked.items()], texts)
    judged = [{"query-id": query, "corpus-id": doc} for query, doc in (("q1", "q1"), ("q2", "d2"), ("q2", "d1"))]
    write_parquet(
        dataset.qrels_handler(), judged, pyarrow.schema(dict.fromkeys(("query-id", "corpus-id"), pyarrow.string()))
    )


def bright(name: str) -> None:
    """Four passages; query 0 excludes two of them, query 1 none (``N/A``); the long documents are other ones."""
    ids = pyarrow.list_(pyarrow.string())
    strings = dict.fromkeys(("query", "reasoning", "id"), pyarrow.string())
    examples = pyarrow.schema(
        {**strings, "excluded_ids": ids, "gold_ids_long": ids, "gold_ids": ids, "gold_answer": pyarrow.string()}
    )
    excluded, gold = [["posts/0.txt", "posts/1.txt"], ["N/A"]], [["web/a_0.txt"], ["web/b_1.txt"]]
    whole_gold = [["web/a.txt"], ["web/b.txt"]]
    rows = [
        {
            **{"query": f"why {number}?", "reasoning": "because", "id": str(number), "gold_answer": "so"},
            **{"excluded_ids": excluded[number], "gold_ids": gold[number], "gold_ids_long": whole_gold[number]},
        }
        for number in range(2)
    ]
    dataset = ir_datasets.load(f"bright/{name}")
    contents = pyarrow.schema({"id": pyarrow.string(), "content": pyarrow.string()})
    parts = ["posts/0.txt", "posts/1.txt", "web/a_0.txt", "web/b_1.txt"]
    write_parquet(dataset.docs_handler(), [{"id": key, "content": f"text of {key}"} for key in parts], contents)
    write_parquet(dataset.queries_handler(), rows, examples)  # the questions, and once more with each model's reasoning
    if f"bright/{name}-long" not in ir_datasets.registry:
        return
    whole = [{"id": key, "content": f"all of {key}"} for key in ("web/a.txt", "web/b.txt", "posts/0.txt")]
    write_parquet(ir_datasets.load(f"bright/{name}-long").docs_handler(), whole, contents)


def write_parquet(handler: object, rows: list[dict], schema: pyarrow.Schema) -> None:
    """Write every file that a handler downloads."""
    for place in places(handler):
        place.path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), place.path)


@pytest.fixture(scope="session")
def any_disk():
    """Do not require disk space for the real collections."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IR_DATASETS_SKIP_DISK_FREE", "true")
        yield
