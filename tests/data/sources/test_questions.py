import pytest
import released
from released import any_disk  # noqa: F401

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.data.sources.questions import read_questions, without_quotes
from colbertv2.errors import InputError


@pytest.mark.usefixtures("any_disk")
def test_all_questions_and_unquoted_passages():
    file = released.dpr()
    queries = Queries(f"dpr-qas:{file}", protocol="dpr")
    assert list(queries)[::3] == [("0", "who was the brother of moses"), ("3", 'how many "angels" dance')]
    assert queries.answers["1"] == ("New York", "New York's Met") and queries.answers["2"] == ('"Weird Al" Yankovic',)
    passages = Collection(f"dpr-qas:{file}")
    assert len(passages) == 3 and passages.missing(["1", "4"]) == ["4"]
    expected = 'Aaron | Aaron ( or ; "Ahärôn" ) is a prophet, and the brother of Moses'
    assert passages.texts(["1"]) == [expected] == [next(iter(passages))[1]]
    assert dict(Collection("dpr-w100"))["1"] != expected  # ir_datasets alone keeps the quotes


@pytest.mark.usefixtures("any_disk")
def test_identity_covers_the_answers(tmp_path):
    released.dpr()

    def identity(text: str, **values: str) -> dict:
        (tmp_path / "qa.csv").write_text(text)
        return Queries(f"dpr-qas:{tmp_path}/qa.csv", **values).identity()

    one, other = "who\t['A']\n", "who\t['B']\n"
    assert identity(one) == identity(other)  # answers only count with DPR's protocols
    assert identity(one, protocol="dpr") != identity(other, protocol="dpr")
    assert identity(one, protocol="dpr")["protocol"] == "dpr"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no tab", "expected 2 columns .* found 1"),
        ("who\t['a']\tmore", "expected 2 columns .* found 3"),
        ("who\t'a'", "expected a list of strings"),
        ("who\t[]", "expected a list of strings"),
        ("who\t[1]", "expected a list of strings"),
        ("who\t['a'", "expected a list of strings"),
        ("who\t[__import__('os').getcwd()]", "expected a list of strings"),
        (" \t['a']", "the question is empty"),
    ],
)
def test_faults_come_with_their_lines(tmp_path, line, message):
    (tmp_path / "qa.csv").write_text(f"who\t['a']\n{line}\n")
    with pytest.raises(InputError, match=f"qa.csv, line 2: {message}"):
        read_questions(tmp_path / "qa.csv")


def test_missing_empty_and_compressed_files(tmp_path):
    with pytest.raises(InputError, match=r"There is no file .*nowhere\.csv"):
        Queries(f"dpr-qas:{tmp_path}/nowhere.csv")
    (tmp_path / "qa.csv").write_text("")
    with pytest.raises(InputError, match="no question"):
        read_questions(tmp_path / "qa.csv")
    (tmp_path / "qa.csv.gz").write_bytes(b"")
    with pytest.raises(InputError, match="gunzip"):
        Queries(f"dpr-qas:{tmp_path}/qa.csv.gz")


def test_quotes_of_csv():
    assert without_quotes('"a ""b"" c"') == 'a "b" c'
    for kept in ("", '"', "a", 'a "b"', '"a" b'):
        assert without_quotes(kept) == kept
