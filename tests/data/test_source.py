import threading
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.data import Collection, Queries
from colbertv2.data.source import content_digest, load, text_of
from colbertv2.errors import InputError


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


def test_stores_are_built_one_at_a_time(tmp_path):
    import ir_datasets

    (tmp_path / "collection.tsv").write_text("a\tone\nb\ttwo\n")
    sizes = []
    worker = threading.Thread(target=lambda: sizes.append(len(Collection(f"folder:{tmp_path}"))))
    with FileLock(ir_datasets.util.home_path() / "colbertv2.lock"):
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
