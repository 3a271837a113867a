import errno
import gzip
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import ir_datasets
import pytest
import released
from hypothesis import given
from hypothesis import strategies as st
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import TsvDocs
from ir_datasets.indices.lz4_pickle import Lz4PickleLookup
from ir_datasets.util import Cache, GzipExtract, TarExtract, ZipExtract

from colbertv2.data.collection import Collection
from colbertv2.data.opening import LEASE, building, content_digest, load, places, reading, text_of
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.lease import Lease, held


def test_unknown_ids_name_close_ones():
    with pytest.raises(InputError, match="beir/scifact/test"):
        load("beir/scifct/test")
    with pytest.raises(InputError, match="stdlib"):
        Collection("stdlb")


def test_a_failed_download_says_what_to_place_where(tmp_path):
    with pytest.raises(InputError) as raised:
        len(Collection("beir/nfcorpus"))
    message = str(raised.value)
    assert "IR_DATASETS_HOME" in message and "nfcorpus.zip as" in message
    assert str(Path("beir/nfcorpus/source.zip")) in message
    with pytest.raises(InputError, match=r"nfcorpus\.zip as"):
        len(Queries("beir/nfcorpus/test"))


def test_a_manual_step_says_what_to_place_where():
    with pytest.raises(InputError, match=r"IR_DATASETS_HOME .* by hand: .*WashingtonPost\.v2\.tar\.gz"):
        len(Collection("wapo/v2"))


def test_a_failed_download_says_how_large_it_is():
    (place,) = places(ir_datasets.load("msmarco-passage").docs_handler())
    assert str(place).endswith("collectionandqueries.tar.gz (1,057,717,952 bytes)")
    with pytest.raises(InputError, match=r"scidocs\.zip as .*scidocs/source\.zip \(\d[\d,]+ bytes\)"):
        len(Collection("beir/scidocs"))
    with pytest.raises(InputError, match=r"'beir/scidocs' .*scidocs\.zip as"):
        len(Collection("sample:5:5:beir/scidocs"))


TEXT = "".join(f"{number}\ttext {random.Random(number).random()}\n" for number in range(3000))
WRITERS = {
    "tar": lambda path: released.write_tar(path, {"docs.tsv": TEXT}),
    "gz": lambda path: path.write_bytes(gzip.compress(TEXT.encode())),
    "zip": lambda path: released.write_zip(path, {"docs.tsv": TEXT}),
}
READERS = {
    "tar": lambda download: TarExtract(download, "docs.tsv"),
    "gz": GzipExtract,
    "zip": lambda download: ZipExtract(download, "docs.tsv"),
}


@pytest.mark.parametrize("kind", ["tar", "gz", "zip"])
@pytest.mark.parametrize("share", [1.0, 0.9, 0.5, 0.01])
def test_a_file_that_was_cut_short(tmp_path, kind, share):
    path = tmp_path / f"docs.{kind}"
    WRITERS[kind](path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    id = f"cut-{tmp_path}"
    documents = TsvDocs(Cache(READERS[kind](released.here(path)), tmp_path / "docs.tsv"))
    ir_datasets.registry.register(id, Dataset(documents))
    if share == 1:
        assert len(Collection(id)) == 3000
        return
    for _ in range(2):  # the second time, no partial store passes for a complete one
        with pytest.raises(InputError) as raised:
            len(Collection(id))
        message = str(raised.value)
        assert "is cut short or damaged" in message and "Delete it and fetch it again" in message
        assert f"{path} (1,000,000 bytes), {path.stat().st_size:,} of them present" in message
    path.write_bytes(whole)
    assert len(Collection(id)) == 3000


def test_an_empty_file(tmp_path):
    (tmp_path / "docs.gz").write_bytes(b"")  # gzip reads no bytes from it
    id = f"empty-{tmp_path}"
    ir_datasets.registry.register(id, Dataset(TsvDocs(GzipExtract(released.here(tmp_path / "docs.gz")))))
    with pytest.raises(InputError, match=r"cut short or damaged \(EOFError: no documents\)"):
        len(Collection(id))


def test_lines_that_are_not_what_they_should_be(tmp_path):
    (tmp_path / "docs.tsv").write_text("1\ttext\nno tab\n")
    ir_datasets.registry.register(f"lines-{tmp_path}", Dataset(TsvDocs(released.here(tmp_path / "docs.tsv"))))
    with pytest.raises(InputError, match=r"cut short or damaged \(RuntimeError: expected 2 fields, got 1\)"):
        list(Collection(f"lines-{tmp_path}"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("needs ijson"), r"'x' can't be read \(ImportError: needs ijson\)"),
        (ValueError("Insufficient disk space: 14.4GB"), r"'x' can't be read \(ValueError: Insufficient disk space"),
        (InputError("as it is"), "^as it is$"),
    ],
)
def test_other_reasons(error, message):
    with pytest.raises(InputError, match=message), reading("x", None):
        raise error


def test_our_own_faults_are_not_the_users():
    with pytest.raises(AttributeError), reading("x", None):
        raise AttributeError


@pytest.mark.parametrize("by_process", [True, False])
def test_stores_are_built_one_at_a_time(tmp_path, by_process):
    (tmp_path / "collection.tsv").write_text("a\tone\nb\ttwo\n")
    sizes = []
    worker = threading.Thread(target=lambda: sizes.append(len(Collection(f"folder:{tmp_path}"))))
    with held(ir_datasets.util.home_path() / LEASE, "another process") if by_process else building():
        worker.start()
        worker.join(timeout=0.3)
        assert sizes == [] and worker.is_alive()
    worker.join(timeout=10)
    assert sizes == [2]


class WithText:
    text = "the text"


class Neither:
    _fields = ("doc_id", "image")


def test_text_of_records():
    assert text_of(WithText()) == "the text"
    with pytest.raises(InputError, match=r"Neither has neither.*image"):
        text_of(Neither())


@given(st.lists(st.tuples(st.text(), st.text())), st.lists(st.tuples(st.text(), st.text())))
def test_digests_tell_contents_apart(one, other):
    assert (content_digest(one) == content_digest(other)) == (one == other)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_built_store_is_read_where_nothing_can_be_written(tmp_path, monkeypatch, number):
    """In a home that is read-only or another user's, there can be no lease, and reading needs none."""
    folder = f"folder:{tmp_path}"
    (tmp_path / "collection.tsv").write_text("a\tone\nb\ttwo\n")
    expected = list(Collection(folder))

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Lease, "claim", refuse)
    assert list(Collection(folder)) == expected and Collection(folder).texts(["b"]) == ["two"]
    (tmp_path / "collection.tsv").write_text("a\tone\nb\ttwo\nc\tthree\n")
    monkeypatch.setattr(Lz4PickleLookup, "transaction", refuse)
    with pytest.raises(InputError, match=rf"is not ready in IR_DATASETS_HOME .*{os.strerror(number)}.* of your own"):
        list(Collection(folder))


def test_other_failures_of_a_lease_are_not_ignored(monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Lease, "claim", fail)
    with pytest.raises(OSError, match="Input/output error"), building():
        pass


def test_a_home_in_which_ir_datasets_can_not_make_its_folders(tmp_path):
    (tmp_path / "file").write_text("no directory")
    code = "try:\n import colbertv2.data.opening\nexcept ValueError as found: print(type(found).__name__, found)"
    environment = {**os.environ, "IR_DATASETS_HOME": str(tmp_path / "file")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert "InputError ir_datasets can't create its folders in IR_DATASETS_HOME" in done.stdout, done.stderr
