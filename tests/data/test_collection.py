import multiprocessing
import os

import pytest

from colbertv2.data.collection import Collection
from colbertv2.errors import InputError


def write(folder, lines, name="collection.tsv"):
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return f"folder:{folder}"


@pytest.mark.parametrize("size", [1, 2, 10])
def test_small_collections(tmp_path, size):
    collection = Collection(write(tmp_path, [f"d{i}\ttext {i}" for i in range(size)]))
    assert len(collection) == size
    assert list(collection) == [(f"d{i}", f"text {i}") for i in range(size)]


def test_texts_keep_the_order_asked_for(tmp_path):
    collection = Collection(write(tmp_path, ["a\tfirst", "b\tsecond", "c\tthird"]))
    assert collection.texts(["c", "a", "c"]) == ["third", "first", "third"]
    assert collection.texts([]) == []
    assert collection.missing(["a", "x"]) == ["x"]
    with pytest.raises(InputError, match="no document 'x', 'y'"):
        collection.texts(["x", "a", "y"])


def test_identity_is_of_the_content_and_not_of_the_place(tmp_path):
    for name in ("one", "two", "other", "swapped"):
        (tmp_path / name).mkdir()
    one = Collection(write(tmp_path / "one", ["a\tfirst", "b\tsecond"])).identity()
    assert one == Collection(write(tmp_path / "two", ["a\tfirst", "b\tsecond"])).identity()
    assert one["documents"] == 2
    for name, lines in {"other": ["a\tfirst", "b\tsecond!"], "swapped": ["b\tsecond", "a\tfirst"]}.items():
        assert one["sha256"] != Collection(write(tmp_path / name, lines)).identity()["sha256"]


def test_identity_follows_a_file_that_changes(tmp_path):
    dataset_id = write(tmp_path, ["a\tfirst"])
    before = Collection(dataset_id).identity()
    write(tmp_path, ["a\tsecond", "b\tthird"])
    assert Collection(dataset_id).identity() != before
    assert len(Collection(dataset_id)) == 2


def first_texts(dataset_id, ids, queue):
    queue.put([Collection.texts(dataset_id, [doc_id])[0] for doc_id in ids])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_processes_do_not_share_a_file_position(tmp_path):
    collection = Collection(write(tmp_path, [f"d{i}\ttext {i} {'x' * 500}" for i in range(300)]))
    ids = [f"d{i}" for i in range(300)]
    expected = collection.texts(ids)  # opens the store before the fork
    context = multiprocessing.get_context("fork")
    queues = [context.Queue() for _ in range(2)]
    workers = [context.Process(target=first_texts, args=(collection, ids, queue)) for queue in queues]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=60) for queue in queues]
    for worker in workers:
        worker.join()
    assert found == [expected, expected]


def test_benchmarks(shared_collections):
    cranfield = Collection("cranfield")
    assert len(cranfield) == 1400
    assert sum(not text.strip() for _, text in cranfield) == 2  # the benchmark itself has empty documents
    scifact = Collection("beir/scifact/test")
    assert len(scifact) == 5183 and scifact.identity() == Collection("beir/scifact").identity()
    doc_id, text = list(scifact)[100]
    assert scifact.texts([doc_id]) == [text]


def test_documents_without_an_id_are_left_out(shared_collections, caplog):
    vaswani = Collection("vaswani")  # the shared file begins with a blank line
    assert len(vaswani) == sum(1 for _ in vaswani) == len({doc_id for doc_id, _ in vaswani})
    if len(vaswani) == 11425:
        assert "without an id" in caplog.text


def test_ids_without_documents_are_refused():
    with pytest.raises(InputError, match="no documents"):
        Collection("beir")
