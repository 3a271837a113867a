import hashlib
import random

import numpy as np
import pytest

from colbertv2.errors import InputError
from colbertv2.files import read_array, read_json, read_json_value, sha256, sha256_of_files, write_json
from colbertv2.indexing.storage import open_array, read_ids, read_rows


def test_json_comes_back_and_leaves_nothing_else(tmp_path):
    file = tmp_path / "new" / "sizes.json"
    write_json(file, {"name": "Größe", "values": [1, 2.5, None]})
    assert read_json(file) == read_json_value(file) == {"name": "Größe", "values": [1, 2.5, None]}
    assert "Größe" in file.read_text(encoding="utf-8") and list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"sizes\.json is missing: .* is not complete"),
        ('{"documents": ', r"sizes\.json is damaged"),
        ("[1]", r"sizes\.json holds list; expected a JSON object"),
    ],
)
def test_a_file_that_is_no_whole_object_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "sizes.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_json(tmp_path / "sizes.json")


def test_digests_are_of_contents_end_to_end(tmp_path):
    contents = b"a" * (1 << 20) + b"b", b"", b"c"
    files = [tmp_path / str(number) for number in range(3)]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    expected = hashlib.sha256(b"".join(contents)).hexdigest()
    assert sha256_of_files(*files) == sha256(b"".join(contents)) == sha256(contents) == expected


def test_a_damaged_array_is_refused_or_read(tmp_path):
    """The header of such a file is Python text, for which numpy raises the errors of Python's own parser."""
    file, drawn, refused = tmp_path / "codes.npy", random.Random(0), 0
    np.save(file, np.arange(20, dtype=np.uint16).reshape(4, 5))
    whole = file.read_bytes()
    for _ in range(500):
        content, start = bytearray(whole), drawn.randrange(100)
        content[start : start + drawn.choice((1, 20))] = drawn.choice((b"", b"\0", b"(", drawn.randbytes(20)))
        file.write_bytes(bytes(content))
        for read in (
            lambda: read_array(file),
            lambda: open_array(file, "uint16", (4, 5)),
            lambda: read_rows(file, 0, 4),
        ):
            try:
                read()
            except InputError as error:
                assert "codes.npy" in str(error)
                refused += 1
    assert refused > 1000


def test_ids_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "doc_ids.txt").write_bytes(b"a\n\xff\n")
    with pytest.raises(InputError, match=r"doc_ids\.txt is damaged \(invalid start byte at byte 2\)"):
        read_ids(tmp_path / "doc_ids.txt", 2)
