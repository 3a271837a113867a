"""A damaged file of an artifact is never read silently, and an intact one is not checked twice."""

import json
import os
from pathlib import Path

import pytest
from support import rewrite_record

from colbertv2.artifacts import integrity
from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.integrity import check_directory, check_files, seal
from colbertv2.commands import verify
from colbertv2.configuration.composition import build
from colbertv2.errors import InputError


@pytest.fixture
def index(toy) -> Artifact:
    """An artifact with the files epochs.txt and shards/0.txt."""
    return build(toy("target=index"))


@pytest.fixture
def large(index, monkeypatch) -> Artifact:
    """The same artifact, with its files treated as large and as unchanged for a long time."""
    monkeypatch.setattr(integrity, "EACH_TIME", 0)
    monkeypatch.setattr(integrity, "AT_OPENING", 0)
    monkeypatch.setattr(integrity, "SETTLED", -1.0)
    return index


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The names of the files whose contents are read from now on."""
    found: list[str] = []
    real = integrity.blocks
    monkeypatch.setattr(integrity, "blocks", lambda file: found.append(file.name) or real(file))
    return found


def flip(file: Path, place: int = 0) -> None:
    """Change one byte, but not the size or the time of modification."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(bytes(content))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (flip, "is not what was written"),
        (lambda file: file.write_bytes(b""), "has 0 bytes, expected"),
        (lambda file: file.write_bytes(file.read_bytes() + b"\n"), "bytes, expected"),
        (lambda file: file.unlink(), "is missing"),
    ],
    ids=["flipped", "emptied", "longer", "removed"],
)
def test_a_damaged_file_is_named_with_its_remedy_when_the_artifact_is_used(toy, index, damage, what):
    damage(index.path / "shards" / "0.txt")
    for use in (lambda: Artifact.open(index.path), lambda: build(toy()), lambda: index.file("shards/0.txt")):
        with pytest.raises(InputError) as refused:
            use()
        assert str(index.path / "shards" / "0.txt") in str(refused.value) and what in str(refused.value)
        assert f"Remove {index.path} and run" in str(refused.value)


def test_the_remedy_is_one(toy, index, root):
    import shutil

    flip(index.path / "epochs.txt")
    shutil.rmtree(index.path)
    assert build(toy()).ancestor("checkpoint").stage == "train"


def test_a_removed_file_that_nfs_keeps_while_it_is_open_is_not_recorded(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / ".nfs000000000001").write_text("b")
    seal(tmp_path, {})
    assert list(json.loads((tmp_path / "artifact.json").read_text())["sizes"]) == ["a.txt"]


def test_what_the_record_says_is_checked_byte_by_byte(index):
    file = index.path / "artifact.json"
    whole, silent = file.read_bytes(), []
    for place in range(0, len(whole), 5):
        content = bytearray(whole)
        content[place] ^= 1
        file.write_bytes(bytes(content))
        try:
            silent += [place] if Artifact.open(index.path).record != index.record else []
        except InputError as error:
            assert "artifact.json" in str(error)
    assert silent == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xef\xbb\xbf{}", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_record_is_refused(index, content):
    (index.path / "artifact.json").write_bytes(content)
    with pytest.raises(InputError, match=r"artifact\.json"):
        Artifact.open(index.path)


def test_the_record_of_another_artifact_is_refused(toy, index):
    other = build(toy("target=index", "codec.bits=1"))
    (index.path / "artifact.json").write_bytes((other.path / "artifact.json").read_bytes())
    with pytest.raises(InputError, match=f"belongs to {other.address}"):
        Artifact.open(index.path)


def test_a_record_of_an_earlier_version_is_read(index):
    rewrite_record(index)
    record = {name: value for name, value in index.record.items() if name not in ("sizes", "digest")}
    (index.path / "artifact.json").write_text(json.dumps(record))
    opened = Artifact.open(index.path)
    assert opened.file("epochs.txt").exists()
    flip(index.path / "epochs.txt")
    with pytest.raises(InputError, match=r"epochs\.txt is not what was written"):
        opened.file("epochs.txt")
    (index.path / "artifact.json").write_text(json.dumps({**record, "sizes": {}}))  # records with sizes have a digest
    with pytest.raises(InputError, match="is damaged"):
        Artifact.open(index.path)


def test_a_large_mapped_file_is_read_once_and_again_after_any_change(large, reads):
    names = list(large.record["sha256"])
    check_directory(large.path, mapped=True)
    assert sorted(reads) == ["0.txt", "epochs.txt"]
    reads.clear()
    check_directory(large.path, mapped=True)
    assert reads == []
    flip(large.path / "epochs.txt")  # same size and time of modification as before
    for _ in range(2):
        with pytest.raises(InputError, match=r"epochs\.txt is not what was written"):
            check_files(large.path, large.record, names, mapped=True)
    flip(large.path / "epochs.txt")
    check_directory(large.path, mapped=True)
    check_directory(large.path)
    assert reads.count("0.txt") == 1, "what is not mapped is read each time"


def test_a_file_that_was_just_written_is_read_again(large, reads, monkeypatch):
    monkeypatch.setattr(integrity, "SETTLED", 60.0)
    for _ in range(2):
        check_directory(large.path, mapped=True)
    assert reads.count("epochs.txt") == 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"epochs.txt": 3}'])
def test_what_was_seen_before_may_be_lost_or_damaged(large, reads, monkeypatch, content):
    check_directory(large.path, mapped=True)
    place = large.path.with_name(f".{large.address}.verified.json")
    assert place.is_file()
    monkeypatch.setattr(integrity, "_seen_here", {})  # as in a new process
    reads.clear()
    check_directory(large.path, mapped=True)
    assert reads == []
    place.write_text(content)
    monkeypatch.setattr(integrity, "_seen_here", {})
    check_directory(large.path, mapped=True)
    assert sorted(reads) == ["0.txt", "epochs.txt"]


def test_a_store_that_cannot_be_written_is_read_once_per_process(large, reads, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(integrity, "write_json", refuse)
    for _ in range(2):
        check_directory(large.path, mapped=True)
    assert sorted(reads) == ["0.txt", "epochs.txt"]


def test_what_a_build_has_hashed_is_not_read_again(toy, reads, monkeypatch):
    monkeypatch.setattr(integrity, "EACH_TIME", 0)
    monkeypatch.setattr(integrity, "AT_OPENING", 0)
    monkeypatch.setattr(integrity, "SETTLED", -1.0)
    built = build(toy("target=index"))
    reads.clear()
    check_directory(built.path, mapped=True)
    assert reads == []


def test_a_directory_without_a_record_is_left_alone(tmp_path):
    (tmp_path / "index.json").write_text("mine")
    check_directory(tmp_path)


@pytest.fixture
def verified(root, tmp_path, capsys):
    """A function that runs ``colbertv2 verify`` on the toy's artifact root and returns its output."""
    here = Path(__file__).parent / "toy"
    flags = ["--config-path", str(here / "conf"), f"runtime.root={root}", f"corpus.path={tmp_path / 'corpus.txt'}"]

    def run(*words: str) -> str:
        capsys.readouterr()
        verify.main([*flags, *words])
        return capsys.readouterr().out

    return run


def test_verify_reads_everything_and_says_what_else_is_there(toy, verified, root):
    build(toy())
    assert "5 of 5 artifacts are intact" in verified("--all")
    assert "3 of 3 artifacts" in verified("target=index"), "with everything upstream"
    index = build(toy("target=index"))
    assert "1 of 1 artifacts" in verified(index.address) and "1 of 1 artifacts" in verified(str(index.path))
    (index.path / "mine.txt").write_text("x")
    (root / "index" / ".index-0123456789.partial").mkdir()
    (root / "index" / ".index-0123456789.failed.json").write_text("{}")
    (root / "index" / ".index-0123456789.verified.json").write_text("{}")
    notes = [line for line in verified("--all").splitlines() if line.startswith("note: ")]
    assert [word in note for word, note in zip(
        ("mine.txt is not part", "partial is unfinished", "says why a build failed", "belongs to no artifact"), notes,
        strict=True,
    )] == [True] * 4  # fmt: skip


def test_verify_names_every_damaged_file(toy, verified, root):
    table, index = build(toy()), build(toy("target=index"))
    flip(index.path / "epochs.txt")
    (index.path / "shards" / "0.txt").unlink()
    (table.path / "artifact.json").unlink()
    with pytest.raises(InputError) as refused:
        verified("--all")
    lines = str(refused.value).splitlines()
    assert len(lines) == 4 and lines[-1].startswith("2 of 5 artifacts are damaged")
    assert "epochs.txt is not what was written" in lines[0] and "0.txt is missing" in lines[1]
    assert "artifact.json is missing" in lines[2]


def test_verify_refuses_what_is_not_there(toy, verified):
    toy()
    with pytest.raises(InputError, match="no artifact index-0123456789"):
        verified("index-0123456789")
    with pytest.raises(InputError, match="Nothing of this configuration"):
        verified("target=index")
