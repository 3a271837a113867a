"""Strict readers for local files: they report each fault with file and line, the first ten together.

Formats: texts as TSV (``id<TAB>text[<TAB>title]``) or JSONL (``{"_id" | "id" | "doc_id" | "query_id", "title"?,
"text"}``); judgements in TREC's four columns (``query 0 document grade``) or BEIR's three (``query document grade``,
after a header). TSV has no escapes, so a text that contains tabs or newlines must be in JSONL.

``lines`` opens every external text file: UTF-8, with or without a byte order mark, lines that end in LF or CR LF.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, NamedTuple, TypeVar

from colbertv2.errors import InputError

LISTED = 10
LONGEST = 250  # characters of one fault's message
BEIR_HEADER = ["query-id", "corpus-id", "score"]
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
NO_TEXT = {  # the first bytes of files that are not UTF-8 text
    b"\xff\xfe": "in UTF-16 by its byte order mark; save it as UTF-8",
    b"\xfe\xff": "in UTF-16 by its byte order mark; save it as UTF-8",
    b"\x1f\x8b": "compressed by gzip; unpack it",
    b"PK\x03\x04": "a zip archive; unpack it",
}
GRADE = re.compile(r"[+-]?0*[0-9]{1,4}")  # bounded, as measures count the documents of every grade up to the largest

Record = TypeVar("Record")


class Text(NamedTuple):
    """One document or query; ``title`` is empty if it has no title."""

    id: str
    title: str
    text: str


class Judgement(NamedTuple):
    """One line of a qrels file; ``line`` is its number, for later error messages."""

    line: int
    query_id: str
    doc_id: str
    grade: int


def is_id(text: str) -> bool:
    """Whether a text can be an id, and so a column of a run file: not empty, no whitespace, NUL or byte order mark.

    >>> is_id("münchen/1"), is_id("two words"), is_id("")
    (True, False, False)
    """
    return text.split() == [text] and "\0" not in text and "\ufeff" not in text


class Faults:
    """Collects the faults of one file and raises them together.

    >>> faults = Faults(Path("queries.tsv"))
    >>> faults.add(3, "empty text")
    >>> faults.finish()
    Traceback (most recent call last):
    colbertv2.errors.InputError: queries.tsv, line 3: empty text.
    """

    def __init__(self, path: Path | str, unit: str = "line") -> None:
        self.path = path
        self.unit = unit  # what is numbered: lines of a file, or rows of a table
        self.found: list[str] = []

    def add(self, line: int, message: str) -> None:
        """Record a fault, its message cut to 250 characters; the eleventh fault raises what ``finish`` would."""
        message = message if len(message) <= LONGEST else f"{message[:LONGEST]}…"
        if len(self.found) == LISTED:
            self.found.append("… and more")
            self.finish()
        self.found.append(f"{self.unit} {line}: {message}")

    def finish(self) -> None:
        """Raise the recorded faults, if there are any.

        Raises:
            InputError: at least one fault was recorded.
        """
        if len(self.found) == 1:
            raise InputError(f"{self.path}, {self.found[0]}.")
        if self.found:
            raise InputError(f"{self.path}:\n" + "\n".join(f"  {fault}" for fault in self.found))


def lines(path: Path, faults: Faults) -> Iterator[tuple[int, str]]:
    """Yield line number (from 1) and content of each line that is not blank; only a newline ends a line.

    A byte order mark is dropped before any line, as several files that have one may have been concatenated. A line that
    is not UTF-8 is added to ``faults`` and skipped.

    Raises:
        InputError: the file does not exist, can't be read, or is not a text file.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if number == 1:
                    check_first(path, raw)
                try:
                    line = decoded(raw)
                except ValueError as error:
                    faults.add(number, str(error))
                    continue
                if line.strip():
                    yield number, line
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from error


def check_first(path: Path, raw: bytes) -> None:
    """Raise InputError if a file's first line shows that it is not UTF-8 text, or that CR alone ends its lines."""
    if kind := next((kind for start, kind in NO_TEXT.items() if raw.startswith(start)), None):
        raise InputError(f"{path} is {kind}.")
    if not raw.endswith(b"\n") and b"\r" in raw.rstrip(b"\r"):
        raise InputError(f"{path} ends its lines by CR alone, as old Macintoshes did; save it with LF line ends.")


def decoded(raw: bytes) -> str:
    """Decode a line and drop its line end and byte order mark.

    Raises:
        ValueError: the line is not UTF-8, or contains NUL bytes, as UTF-16 does.

    >>> decoded(b"\\xef\\xbb\\xbfq1\\r\\n")
    'q1'
    """
    try:
        line = raw.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error.reason} at byte {error.start})") from None
    if "\0" in line:
        raise ValueError("contains NUL bytes, so the file is not UTF-8 text")
    return line.removesuffix("\n").removesuffix("\r")


def parsed(path: Path, faults: Faults, parse: Callable[[int, str], Record]) -> Iterator[tuple[int, Record]]:
    """Yield the number of each line and the result of ``parse(number, line)``.

    If ``parse`` raises ``ValueError``, ``csv.Error`` or ``RecursionError``, the line is a fault and is skipped.

    Raises:
        InputError: the file is missing, can't be read, or has more than ten faults.
    """
    for number, line in lines(path, faults):
        try:
            record = parse(number, line)
        except (ValueError, csv.Error) as error:
            faults.add(number, str(error))
        except RecursionError:
            faults.add(number, "nested too deeply")
        else:
            yield number, record


def read_texts(path: Path, kind: str, keep_empty: bool = False) -> Iterator[Text]:
    """Yield the texts of a TSV or JSONL file, in the order of the file.

    Args:
        path: a file with the suffix ``.tsv``, or one of any other suffix in JSONL.
        kind: ``document`` or ``query``, for the messages.
        keep_empty: also yield records that have neither title nor text.

    Raises:
        InputError: at the end of the file (or at the eleventh fault), with the lines of malformed records, of ids that
            are empty, repeated or contain whitespace, and of empty texts unless ``keep_empty``; or the file is missing
            or has no records.
    """
    parse: Callable[[str], Text] = parse_tsv if path.suffix == ".tsv" else parse_json
    faults = Faults(path)
    first_line: dict[str, int] = {}
    for number, record in parsed(path, faults, lambda _, line: parse(line)):
        if not is_id(record.id):
            faults.add(number, f"the id {shortened(record.id)} is empty or contains whitespace")
        elif record.id in first_line:
            faults.add(number, f"the id {record.id!r} is already on line {first_line[record.id]}")
        elif not keep_empty and not (record.title + record.text).strip():
            faults.add(number, f"the {kind} {record.id!r} is empty")
        else:
            first_line[record.id] = number
            yield record
    faults.finish()
    if not first_line:
        raise InputError(f"{path} contains no {kind}; expected one per line.")


def parse_tsv(line: str) -> Text:
    """Parse ``id<TAB>text`` or ``id<TAB>text<TAB>title``, as in colbert-ai's collections.

    Raises:
        ValueError: the line has another number of columns.
    """
    columns = line.split("\t")
    if len(columns) not in (2, 3):
        advice = "; put texts that contain tabs or newlines into a .jsonl file"
        raise ValueError(f"expected 2 or 3 columns (id, text, title) between tabs, found {len(columns)}{advice}")
    return Text(columns[0], columns[2] if len(columns) == 3 else "", columns[1])


def parse_json(line: str) -> Text:
    """Parse ``{"_id": …, "title": …, "text": …}``; whole numbers are accepted as ids.

    Raises:
        ValueError: the line is not such an object.
    """
    record = json_object(line)
    key = next((key for key in ("_id", "id", "doc_id", "query_id") if key in record), None)
    if key is None:
        raise ValueError(f"no _id, id, doc_id or query_id, only {', '.join(map(shortened, record)) or 'no keys'}")
    identifier, title, text = record[key], record.get("title"), record.get("text")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        raise ValueError(f"expected a string as {key}, found {shortened(identifier)}")
    return Text(
        checked_text(str(identifier), key),
        "" if title is None else checked_text(title, "title"),
        checked_text(text, "text"),
    )


def json_object(line: str) -> dict[str, Any]:
    """Parse a line that is a JSON object.

    Raises:
        ValueError: the line is not JSON, or another JSON value.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error}); if the file is cut short, fetch it again") from None
    except RecursionError:
        raise ValueError("not JSON (nested too deeply)") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, found {type(record).__name__}")
    return record


def checked_text(value: object, field: str) -> str:
    """Return ``value`` if it is a string that UTF-8 can encode; ``field`` is its name for the message.

    Raises:
        ValueError: it is not a string, or contains an unpaired surrogate.
    """
    if not isinstance(value, str):
        raise ValueError(f"expected a string as {field}, found {shortened(value)}")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"an unpaired surrogate, which is not a character, in {field}")
    return value


def read_judgements(path: Path) -> list[Judgement]:
    """Read the relevance judgements of a file in TREC's or BEIR's format.

    Raises:
        InputError: with the lines that have another number of columns, a grade that is not a whole number of at most
            four digits, or a pair that is judged already; or the file is missing or has no judgements.
    """
    faults = Faults(path)
    found: list[Judgement] = []
    first_line: dict[tuple[str, str], int] = {}
    for number, line in lines(path, faults):
        columns = line.split()
        if columns == BEIR_HEADER:
            continue
        if len(columns) not in (3, 4):
            faults.add(number, f"expected 3 columns (query, document, grade) or TREC's 4, found {len(columns)}")
            continue
        query_id, doc_id, grade = columns[0], columns[-2], columns[-1]
        if not GRADE.fullmatch(grade):
            faults.add(number, f"expected a whole number of at most four digits as grade, found {shortened(grade)}")
            continue
        judgement = Judgement(number, query_id, doc_id, int(grade))
        if (query_id, doc_id) in first_line:
            before = first_line[query_id, doc_id]
            faults.add(number, f"query {query_id!r} and document {doc_id!r} are already judged on line {before}")
        first_line.setdefault((query_id, doc_id), number)
        found.append(judgement)
    faults.finish()
    if not found:
        raise InputError(f"{path} contains no judgement; expected one per line.")
    return found
