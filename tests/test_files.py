import hashlib

import pytest

from colbertv2.errors import InputError
from colbertv2.files import read_json, read_json_value, sha256, sha256_of_files, write_json


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
