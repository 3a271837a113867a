"""PeerQA's documents, questions, judgements and measures agree with values found by hand."""

from dataclasses import dataclass

import ir_datasets
import numpy as np
import pytest
from peerqa_sample import ONE, PAPERS, QUESTIONS, TINY, TWO, question, said, write_sample
from support import tiny_folder

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries, document_pools, query_pools
from colbertv2.data.sources.peerqa import UNITS
from colbertv2.errors import InputError
from colbertv2.evaluation.measures import evaluate
from colbertv2.evaluation.protocols import judged
from colbertv2.evaluation.ranking import Ranking


@pytest.fixture
def sample(tmp_path):
    return write_sample(tmp_path / "peerqa")


def test_a_paragraph_is_all_rows_of_a_pidx(sample):
    assert list(Collection(f"peerqa:{sample}/paragraph")) == [
        (f"{ONE}/0", "Late {Interaction}"),
        (f"{ONE}/1", "Abstract"),
        (f"{ONE}/2", "We read\ttext. A list\nof values."),
        (f"{ONE}/3", "Method"),
        (f"{ONE}/4", "Sort the keys. Two numbers do."),
        (f"{ONE}/5", "Open a file."),
        (f"{ONE}/6", "s = q * d Figure 1: a map. Values of keys."),
        (f"{ONE}/7", "Table 1: bytes."),
        (f"{ONE}/9", "The same words."),
        (f"{ONE}/10", "The same words."),
        (f"{TWO}/0", "Two"),
        (f"{TWO}/1", "Parse the string."),
        (f"{TWO}/2", "Write it."),
        (f"{TINY}/0", "A"),
    ]


def test_a_sentence_is_a_row(sample):
    found = dict(Collection(f"peerqa:{sample}/sentence"))
    assert list(found)[:5] == [f"{ONE}/0/0", f"{ONE}/1/0", f"{ONE}/2/0", f"{ONE}/2/1", f"{ONE}/3/0"]
    assert found[f"{ONE}/2/1"] == "A list\nof values." and found[f"{ONE}/6/1"] == "Values of keys."
    assert found[f"{ONE}/6/0"] == "s = q * d Figure 1: a map."
    assert len(found) == len(PAPERS) - 1


def test_the_title_goes_before(sample):
    paragraphs, sentences = (dict(Collection(f"peerqa:{sample}/{unit}-title")) for unit in ("paragraph", "sentence"))
    assert paragraphs[f"{ONE}/4"] == "Title: Late {Interaction} Paragraph: Sort the keys. Two numbers do."
    assert paragraphs[f"{TINY}/0"] == "Title: A Paragraph: A"
    assert sentences[f"{ONE}/4/1"] == "Title: Late {Interaction} Sentence: Two numbers do."


def test_questions_with_evidence_and_what_is_relevant(sample):
    paragraphs, sentences = (Queries(f"peerqa:{sample}/{unit}-title") for unit in ("paragraph", "sentence"))
    assert list(paragraphs) == list(sentences) == [
        ("spans", "How many\tnumbers in the list?"),
        ("two", "What is parsed?"),
        ("tied", "The same words?"),
        ("tiny", "A?"),
    ]  # fmt: skip
    assert {name: dict(grades) for name, grades in paragraphs.qrels.items()} == {
        "spans": {f"{ONE}/2": 1, f"{ONE}/4": 1},
        "two": {f"{TWO}/1": 1},
        "tied": {f"{ONE}/9": 1},
        "tiny": {f"{TINY}/0": 1},
    }
    assert dict(sentences.qrels["spans"]) == {f"{ONE}/2/1": 1, f"{ONE}/4/0": 1, f"{ONE}/4/1": 1}
    assert sentences.qrels.unknown(Collection(f"peerqa:{sample}/sentence")) == []


def test_the_forms_of_evidence_that_other_tools_write(sample):
    mapped = {
        "sentence": ["One.", "Two."],
        "idx": [[3.0, None], [5]],
    }  # as from the hub's loader, and floats as from pandas
    write_sample(sample, questions=[question("q", ONE, "Which?", mapped)])
    assert dict(Queries(f"peerqa:{sample}/paragraph").qrels["q"]) == {f"{ONE}/2": 1, f"{ONE}/4": 1}


def test_pools_are_papers(sample):
    queries = Queries(f"peerqa:{sample}/sentence")
    assert query_pools(queries) == {"spans": ONE, "two": TWO, "tied": ONE, "tiny": TINY}
    pools = document_pools(queries)
    assert list(pools) == [doc_id for doc_id, _ in Collection(f"peerqa:{sample}/sentence")]
    assert all(doc_id.startswith(f"{pool}/") for doc_id, pool in pools.items())


def test_a_local_folder_has_no_pools(tmp_path):
    queries = Queries(f"folder:{tiny_folder(tmp_path, documents=2, splits=('test',))}/test")
    with pytest.raises(InputError, match=r"queries of 'folder:.*' have no pool_id"):
        query_pools(queries)
    with pytest.raises(InputError, match=r"documents of 'folder:.*' have no pool_id"):
        document_pools(queries)


@pytest.mark.parametrize("unit", ["paragraph", "sentence"])
def test_ids_are_in_the_order_of_the_official_ones(unit):
    @dataclass
    class Place:
        pidx: int
        sidx: int

    def official(place: Place) -> str:
        return str(place.pidx) if unit == "paragraph" else f"{place.pidx}/{place.sidx}"

    places = [Place(pidx, sidx) for pidx in (0, 1, 2, 9, 10, 11, 100) for sidx in (0, 1, 9, 10)]
    tied = [(f"{ONE}/{official(place)}", 1.0) for place in places if unit == "sentence" or place.sidx == 0]
    ranked = [doc_id for doc_id, _ in Ranking({"q": tied})["q"]]
    assert ranked == [f"{ONE}/{doc_id}" for doc_id in sorted({official(place) for place in places}, reverse=True)]
    assert unit == "sentence" or ranked.index(f"{ONE}/9") < ranked.index(f"{ONE}/10")


def test_figures_by_hand(sample):
    ranking = Ranking(
        {
            "spans": [(f"{ONE}/10", 3.0), (f"{ONE}/9", 3.0), (f"{ONE}/4", 2.0), (f"{ONE}/2", 1.0)],  # third
            "tied": [(f"{ONE}/10", 1.0), (f"{ONE}/9", 1.0)],  # ties: "9" comes before "10"
            "two": [*((f"{TWO}/{place}", 20.0 - place) for place in range(100, 111)), (f"{TWO}/1", -500.0)],  # twelfth
        }  # no results for "tiny", which is left out of the means
    )
    queries = Queries(f"peerqa:{sample}/paragraph-title", protocol="peerqa")
    values = evaluate(*judged(ranking, queries), ["RR", "R@10"])
    assert values["RR"].to_dict() == pytest.approx({"spans": 1 / 3, "two": 1 / 12, "tied": 1})
    assert values["R@10"].to_dict() == {"spans": 1, "two": 0, "tied": 1}
    assert values["RR"].mean() == pytest.approx((1 / 3 + 1 / 12 + 1) / 3)


def test_figures_are_those_of_pytrec_eval_over_official_ids():
    pytrec_eval = pytest.importorskip("pytrec_eval")
    rng = np.random.default_rng(0)
    official = [str(place) for place in range(30)]
    scores = {name: rng.integers(0, 4, 30).astype(float).tolist() for name in ("a", "b", "c", "d")}  # mostly ties
    relevant = {name: rng.choice(official, 3, replace=False).tolist() for name in ("a", "b", "c", "d", "absent")}
    qrels = {name: dict.fromkeys(found, 1) for name, found in relevant.items()}
    run = {name: dict(zip(official, found, strict=True)) for name, found in scores.items()}
    expected = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank", "recall.10"}).evaluate(run)
    ranking = Ranking({name: [(f"{ONE}/{doc_id}", score) for doc_id, score in run[name].items()] for name in run})
    judgements = {name: {f"{ONE}/{doc_id}": 1 for doc_id in relevant[name]} for name in run}
    values = evaluate(ranking, judgements, ["RR", "R@10"])
    assert values["RR"].to_dict() == pytest.approx({name: one["recip_rank"] for name, one in expected.items()})
    assert values["R@10"].to_dict() == pytest.approx({name: one["recall_10"] for name, one in expected.items()})


def test_it_speaks_ir_datasets(sample):
    dataset = ir_datasets.load(f"peerqa:{sample}/paragraph")
    assert dataset.docs_count() == 14 and dataset.docs_store().get(f"{TWO}/1").pool_id == TWO
    assert [document.doc_id for document in dataset.docs_iter()[1:3]] == [f"{ONE}/1", f"{ONE}/2"]
    assert dataset.docs_cls()._fields == ("doc_id", "text", "pool_id")


def test_identity_follows_the_file_and_the_unit(sample):
    before = {unit: Collection(f"peerqa:{sample}/{unit}").identity()["sha256"] for unit in UNITS}
    assert len(set(before.values())) == len(UNITS)
    write_sample(sample, [{**PAPERS[0], "content": "Another"}, *PAPERS[1:]])
    assert Collection(f"peerqa:{sample}/paragraph").identity()["sha256"] != before["paragraph"]


def change(records: list[dict], place: int, **values: object) -> list[dict]:
    """Return the records with fields of one of them changed."""
    return [*records[:place], {**records[place], **values}, *records[place + 1 :]]


@pytest.mark.parametrize(
    ("papers", "expected"),
    [
        ([{}, *PAPERS], ["line 1", "no paper_id, idx"]),
        ([{key: PAPERS[3][key] for key in PAPERS[3] if key != "pidx"}], ["line 1", "no pidx, only idx, sidx"]),
        (change(PAPERS, 2, sidx="0"), ["line 3", "whole number as sidx, found '0'"]),
        (change(PAPERS, 2, idx=True), ["line 3", "whole number as idx, found True"]),
        (change(PAPERS, 2, content=None), ["line 3", "string as content, found None"]),
        (change(PAPERS, 2, paper_id="a b"), ["line 3", "'a b'", "whitespace"]),
        (change(PAPERS, 3, idx=2), ["line 4", "idx 2 of the paper", "already on line 3"]),
        ([*PAPERS, *PAPERS[-1:]], ["line 19", "already on line 18; keep one extraction"]),
        (change(PAPERS, 4, type="heading"), [TWO, "0 rows of type title", "use the unit paragraph"]),
        (change(PAPERS, 15, type="title"), ["line 16", TWO, "2 rows of type title"]),
        ([], ["contains no paper", "peerqa-data-v1.0.zip"]),
    ],
)
def test_faulty_papers(sample, papers, expected):
    write_sample(sample, papers)
    with pytest.raises(InputError) as caught:
        list(Collection(f"peerqa:{sample}/paragraph-title"))
    assert all(part in str(caught.value) for part in ["papers.jsonl", *expected]), caught.value


def test_a_paper_without_a_title_is_read_where_no_title_is_wanted(sample):
    write_sample(sample, change(PAPERS, 4, type="heading"))
    assert len(Collection(f"peerqa:{sample}/paragraph")) == 14


@pytest.mark.parametrize(
    ("questions", "expected"),
    [
        (change(QUESTIONS, 4, question_id="spans"), ["line 5", "'spans' is already on line 1"]),
        (change(QUESTIONS, 1, question_id="t wo"), ["line 2", "'t wo'", "whitespace"]),
        (change(QUESTIONS, 1, question=" "), ["line 2", "'two' is empty"]),
        (change(QUESTIONS, 1, answer_evidence_mapped="1"), ["line 2", "answer_evidence_mapped", 'found "1"']),
        (change(QUESTIONS, 1, answer_evidence_mapped=[{"id": 1}]), ["line 2", "answer_evidence_mapped"]),
        (change(QUESTIONS, 1, answer_evidence_mapped=[said("1")]), ["line 2", "idx of evidence, found '1'"]),
        (change(QUESTIONS, 1, answer_evidence_mapped=[said(3)]), ["line 2", "evidence 3", TWO, "end at 2", "version"]),
        (change(QUESTIONS, 1, paper_id="openreview/x"), ["line 2", "lacks the paper 'openreview/x'", "OpenReview"]),
        ([{"paper_id": ONE, "question_id": "q"}], ["line 1", "no question, answer_evidence_mapped"]),
    ],
)
def test_faulty_questions(sample, questions, expected):
    write_sample(sample, questions=questions)
    with pytest.raises(InputError) as caught:
        len(Queries(f"peerqa:{sample}/sentence"))
    assert all(part in str(caught.value) for part in ["qa.jsonl", *expected]), caught.value


def test_an_unknown_paper_is_no_fault_of_a_question_that_is_left_out(sample):
    write_sample(sample, questions=change(QUESTIONS, 2, paper_id="openreview/x", question_id="spans"))
    assert len(Queries(f"peerqa:{sample}/sentence")) == 4


@pytest.mark.parametrize(("name", "lines"), [("papers.jsonl", 18), ("qa.jsonl", 7)])
def test_files_that_are_cut_short(sample, name, lines):
    path = sample / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=rf"{name}, line {lines}: not JSON .*fetch it again"):
        len(Queries(f"peerqa:{sample}/paragraph"))


def test_missing_files_units_and_the_hub(sample, tmp_path):
    for path in (f"{sample}/chapter", str(sample), "paragraph"):
        with pytest.raises(InputError, match=r"Expected peerqa:<directory>/<unit>.*Units are paragraph,"):
            Collection(f"peerqa:{path}")
    with pytest.raises(InputError, match=r"UKPLab/PeerQA .* is a script .*peerqa-data-v1\.0\.zip.*peerqa:<directory>"):
        Collection("peerqa:hub/paragraph")
    with pytest.raises(InputError, match=r"is not a directory.*OpenReview"):
        Collection(f"peerqa:{tmp_path}/nowhere/paragraph")
    (sample / "qa.jsonl").unlink()
    with pytest.raises(InputError, match=r"has no qa\.jsonl; expected papers\.jsonl and qa\.jsonl"):
        Collection(f"peerqa:{sample}/paragraph")
