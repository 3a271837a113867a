import numpy as np
import pytest

from colbertv2.errors import InputError
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter


@pytest.mark.parametrize("shard_documents", [1, 7, 1000])
def test_round_trip_in_shards(world, shard_documents):
    embeddings = world.embeddings(shard_documents)
    assert embeddings.doc_ids == world.doc_ids
    assert (embeddings.num_documents, embeddings.dim) == (150, 16)
    assert embeddings.num_vectors == sum(map(len, world.documents))
    documents = [
        shard.vectors[shard.offsets[i] : shard.offsets[i + 1]]
        for shard in embeddings.shards()
        for i in range(len(shard))
    ]
    for found, expected in zip(documents, world.documents, strict=True):
        np.testing.assert_array_equal(found, expected.astype(np.float16))


def test_sample_takes_whole_documents_in_corpus_order_whatever_the_shards(world):
    whole = world.embeddings().sample(40, seed=3)
    assert len(whole) == 40
    for shard_documents in (1, 7):
        sample = world.embeddings(shard_documents).sample(40, seed=3)
        np.testing.assert_array_equal(sample.vectors, whole.vectors)
        np.testing.assert_array_equal(sample.lengths, whole.lengths)
    assert not np.array_equal(world.embeddings().sample(40, seed=4).lengths, whole.lengths)
    np.testing.assert_array_equal(
        world.embeddings().sample(150, seed=3).vectors, np.concatenate(world.documents).astype(np.float16)
    )


def test_vectors_are_read_across_shards(world):
    everything = np.concatenate(world.documents).astype(np.float16)
    for shard_documents in (1, 7, 1000):
        embeddings = world.embeddings(shard_documents)
        for start, end in ((0, 10), (3, 400), (90, 90), (len(everything) - 5, len(everything) + 99)):
            np.testing.assert_array_equal(embeddings.vectors(start, end), everything[start:end])


def test_a_sample_ends_before_it_has_too_many_vectors(world):
    embeddings = world.embeddings(20)
    whole = embeddings.sample(100, seed=3)
    for limit in (len(whole.vectors), 10**9, None):
        np.testing.assert_array_equal(embeddings.sample(100, seed=3, max_vectors=limit).vectors, whole.vectors)
    for limit in (200, 31):
        less = embeddings.sample(100, seed=3, max_vectors=limit)
        assert limit - 20 < len(less.vectors) <= limit and 0 < len(less) < 100
        rows = {row.tobytes() for row in whole.vectors}
        assert all(row.tobytes() in rows for row in less.vectors)
    assert len(embeddings.sample(100, seed=3, max_vectors=0).vectors) > 0


def test_a_shard_cut_short_after_opening_is_an_input_error(new_world):
    embeddings = new_world(30).embeddings(10)
    file = embeddings.path / "1.vectors.npy"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"1\.vectors\.npy is cut short"):
        embeddings.vectors(0, embeddings.num_vectors)
    file.unlink()
    with pytest.raises(InputError, match=r"1\.vectors\.npy is missing"):
        embeddings.vectors(0, embeddings.num_vectors)


@pytest.mark.parametrize("name", ["0.vectors.npy", "0.lengths.npy", "embeddings.json"])
def test_missing_or_cut_files_are_input_errors(new_world, name):
    embeddings = new_world(30).embeddings()
    file = embeddings.path / name
    content = file.read_bytes()
    file.write_bytes(content[:-8])
    with pytest.raises(InputError, match=name):
        Embeddings.open(embeddings.path)
    file.unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        Embeddings.open(embeddings.path)


def test_writing_without_close_can_not_be_opened(tmp_path):
    EmbeddingsWriter(tmp_path, 2).add(["a"], np.ones((1, 2)), np.array([1]))
    with pytest.raises(InputError, match=r"embeddings\.json is missing"):
        Embeddings.open(tmp_path)


@pytest.mark.parametrize(
    ("ids", "vectors", "lengths", "message"),
    [
        (["a"], np.ones((2, 2)), [1], "sum 1"),
        (["a"], np.ones((1, 3)), [1], "expected"),
        (["a", "b"], np.ones((1, 2)), [1], "2 ids"),
        (["a b"], np.ones((1, 2)), [1], "whitespace"),
        ([""], np.ones((1, 2)), [1], "empty"),
        (["a"], np.array([[np.nan, 0]]), [1], "NaN"),
        (["a"], np.array([[1e6, 0]]), [1], "16-bit"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path, ids, vectors, lengths, message):
    with pytest.raises(InputError, match=message):
        EmbeddingsWriter(tmp_path, 2).add(ids, vectors, np.array(lengths))
