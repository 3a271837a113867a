"""Index directories of colbert-ai and fast-plaid are converted byte for byte, and refused if they are damaged.

data/ has one index that each of them built; ``python -m experiments.agree.stored`` creates it.
"""

import io
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support import index_of

from colbertv2.commands import convert
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.residual import ResidualCodec
from colbertv2.errors import InputError
from colbertv2.indexing.index import Index
from colbertv2.interchange.conversion import convert_index
from colbertv2.interchange.foreign_index import UNIT_TOLERANCE
from colbertv2.search.exhaustive import Exhaustive

DATA = Path(__file__).parent / "data"
LAYOUTS = ["colbert-ai", "fast-plaid"]
NAMES = {"colbert-ai": "official", "fast-plaid": "fast-plaid"}


@pytest.fixture
def source(request, tmp_path):
    """A copy of a stored index that a test may damage."""
    return Path(shutil.copytree(DATA / request.param, tmp_path / "source"))


def ours(source: Path, name: str = "ours", ids: Path | None = None) -> Index:
    convert_index(source, source.with_name(name), "colbertv2", ids, None)
    return Index.open(source.with_name(name))


def content(index: Index) -> list:
    """Everything in an index that decides search results."""
    codec = index.codec
    tables = [index.stored_codes[:], index.arrays["residuals"], codec.centroids.vectors, codec.cutoffs, codec.weights]
    return [*(np.asarray(table).tolist() for table in tables), index.doc_ids]


@pytest.mark.parametrize("source", LAYOUTS, indirect=True)
@pytest.mark.parametrize("through", NAMES.values())
def test_there_and_back_keeps_every_byte(source, through):
    first = ours(source)
    convert_index(first.path, source.with_name("theirs"), through, None, "a checkpoint")
    assert content(first) == content(ours(source.with_name("theirs"), "again"))


def test_official_files_are_written_as_they_were(tmp_path):
    convert_index(DATA / "colbert-ai", tmp_path / "ours", "colbertv2", None, None)
    convert_index(tmp_path / "ours", tmp_path / "theirs", "official", None, None)
    for file in sorted((DATA / "colbert-ai").glob("*.pt")):
        before, after = (torch.load(path, weights_only=True) for path in (file, tmp_path / "theirs" / file.name))
        pairs = zip(before, after, strict=True) if isinstance(before, (tuple, list)) else [(before, after)]
        for one, other in pairs:
            assert one.dtype == other.dtype or file.name == "buckets.pt", file.name
            if file.name == "ivf.pid.pt":  # both pad with as many zeros as the longest list has
                assert torch.equal(one[: len(other)], other[: len(one)]), file.name
            else:
                assert torch.equal(one.float().squeeze(), other.float().squeeze()), file.name
    assert json.loads((tmp_path / "theirs" / "doclens.0.json").read_text()) == json.loads(
        (DATA / "colbert-ai" / "doclens.0.json").read_text()
    )


def test_names_of_documents_are_kept(tmp_path):
    ids = [f"doc-{number}" for number in range(60)]
    (tmp_path / "ids.txt").write_text("\n".join(ids) + "\n")
    convert_index(DATA / "colbert-ai", tmp_path / "ours", "colbertv2", tmp_path / "ids.txt", None)
    assert Index.open(tmp_path / "ours").doc_ids == ids
    convert_index(tmp_path / "ours", tmp_path / "theirs", "fast-plaid", None, None)
    assert ours(tmp_path / "theirs", "again").doc_ids == ids
    (tmp_path / "ids.txt").write_text("doc-1\n")
    with pytest.raises(InputError, match="has 1 ids, 1 different ones; expected 60"):
        convert_index(DATA / "colbert-ai", tmp_path / "more", "colbertv2", tmp_path / "ids.txt", None)


def test_a_chunk_beside_the_merged_file_of_fast_plaid_counts(tmp_path):
    before = ours(Path(shutil.copytree(DATA / "fast-plaid", tmp_path / "source")))
    for name in ("codes", "residuals"):
        merged = np.load(tmp_path / "source" / f"merged_{name}.npy")[: before.num_vectors]
        np.save(tmp_path / "source" / f"0.{name}.npy", merged)
        (tmp_path / "source" / f"merged_{name}.npy").unlink()
    assert content(before) == content(ours(tmp_path / "source", "again"))


def test_command_line(tmp_path, capsys):
    convert.main(["index", str(DATA / "colbert-ai"), str(tmp_path / "fp"), "--to", "fast-plaid"])
    assert "60 documents" in capsys.readouterr().out
    query = np.load(DATA / "plaid.npz")["queries"][:1]
    found = [
        Exhaustive().search(ours(Path(shutil.copytree(path, tmp_path / name / "source"))), list(query), 5)[0]
        for path, name in ((tmp_path / "fp", "a"), (DATA / "colbert-ai", "b"))
    ]
    assert np.array_equal(found[0][0], found[1][0]) and np.array_equal(found[0][1], found[1][1])
    for words, message in (
        (["index", str(DATA), str(tmp_path / "x"), "--to", "colbertv2"], "is not an index"),
        (["index", str(DATA / "colbert-ai"), str(tmp_path / "x"), "--to", "official"], "already"),
        (["index", str(DATA / "colbert-ai"), str(tmp_path / "fp"), "--to", "fast-plaid"], "exists"),
    ):
        with pytest.raises(SystemExit) as ended:
            convert.main(words)
        assert ended.value.code == 2 and message in capsys.readouterr().err


def test_an_index_without_its_inverted_list_is_not_whole_and_an_old_one_has_it_otherwise(tmp_path):
    source = Path(shutil.copytree(DATA / "colbert-ai", tmp_path / "source"))
    expected = content(ours(source))
    (source / "ivf.pid.pt").rename(source / "ivf.pt")  # the older file lists vectors, and is not read
    assert content(ours(source, "old")) == expected
    (source / "ivf.pt").unlink()
    with pytest.raises(InputError, match=r"ivf\.pid\.pt is missing"):
        ours(source, "none")


def test_what_the_systems_themselves_write_is_accepted(tmp_path):
    source = Path(shutil.copytree(DATA / "fast-plaid", tmp_path / "source"))
    expected = content(ours(source))
    for number, (file, change) in enumerate(
        [
            ("ivf_lengths.npy", lambda lengths: np.append(lengths, [0, 0])),  # as with more planned centroids
            ("metadata.json", edited(num_partitions=512)),
            ("0.metadata.json", edited(embedding_offset=7)),  # as after deleting documents before it
            ("bucket_weights.npy", lambda weights: weights.astype(np.float16)),
            ("metadata.json", lambda metadata: {name: metadata[name] for name in ("nbits", "num_chunks")}),
        ]
    ):
        save(source / file, change)
        assert content(ours(source, f"ours-{number}"))[:2] == expected[:2], file


@pytest.mark.parametrize("layout", NAMES.values())
def test_centroids_of_a_byte_are_near_enough_to_length_1(tmp_path, layout):
    index = index_of(tmp_path / "made", ResidualCodec(2), [5] * 60, 32, seed=0, clustering=Clustering(centroid_bits=8))
    lengths = np.linalg.norm(index.centroids, axis=1)
    assert 1e-3 < np.abs(lengths - 1).max() < UNIT_TOLERANCE
    convert_index(index.path, tmp_path / "theirs", layout, None, None)
    convert_index(tmp_path / "theirs", tmp_path / "ours", "colbertv2", None, None)
    assert content(Index.open(tmp_path / "ours"))[:2] == content(index)[:2]


class Trap:
    """An object that creates a file if an unsafe reader unpickles it."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def save(file: Path, change) -> None:
    if file.suffix == ".pt":
        torch.save(change(torch.load(file, weights_only=True)), file)
    elif file.suffix == ".npy":
        np.save(file, change(np.load(file)))
    else:
        file.write_text(json.dumps(change(json.loads(file.read_text()))))


def without_row(table):
    table[3] = 0
    return table


def edited(**values):
    return lambda metadata: {**metadata, **values}


def dimension(metadata):
    return {**metadata, "config": {**metadata["config"], "dim": 64}}


def four_bits(metadata):
    return {**metadata, "config": {**metadata["config"], "nbits": 4}}


@pytest.mark.parametrize(
    ("source", "file", "change", "message"),
    [
        ("colbert-ai", "0.codes.pt", lambda codes: codes[:-1], "503.*codes, expected 504"),
        ("colbert-ai", "0.codes.pt", lambda codes: codes + 1000, "there are 256 centroids"),
        ("colbert-ai", "0.residuals.pt", lambda residuals: residuals[:, :4], "expected uint8 .504, 8. for 32"),
        ("colbert-ai", "centroids.pt", lambda centroids: centroids[:, :16], "16 dimensions, expected 32"),
        ("colbert-ai", "metadata.json", dimension, "32 dimensions, expected 64"),
        ("colbert-ai", "metadata.json", four_bits, "4 bits|15"),
        ("colbert-ai", "metadata.json", edited(config=None), "has no config"),
        ("colbert-ai", "metadata.json", edited(num_chunks=2), "1.metadata.json"),
        ("colbert-ai", "metadata.json", edited(num_chunks="1"), "num_chunks is '1'; expected a count"),
        ("colbert-ai", "doclens.0.json", lambda lengths: lengths[:-1], "lengths sum to"),
        ("colbert-ai", "doclens.0.json", lambda lengths: "many", "not a list of lengths"),
        ("colbert-ai", "ivf.pid.pt", lambda ivf: (ivf[0].flip(0), ivf[1]), "then only zeros"),
        ("colbert-ai", "ivf.pid.pt", lambda ivf: (ivf[0].sort()[0].roll(-6), ivf[1]), "inverted list is not that of"),
        ("colbert-ai", "buckets.pt", lambda buckets: buckets[0], "expected two tensors"),
        ("colbert-ai", "buckets.pt", lambda buckets: (buckets[0][:1], buckets[1]), "cutoffs"),
        ("fast-plaid", "merged_codes.npy", lambda codes: codes[:100], "100.*codes, expected 504"),
        ("fast-plaid", "merged_residuals.npy", lambda rows: rows[:, :4], "expected uint8 .504, 8. for 32"),
        ("fast-plaid", "centroids.npy", lambda centroids: centroids[0], "1 dimensions of float16; expected 2"),
        ("fast-plaid", "metadata.json", edited(nbits=4), "4 bits|15"),
        ("fast-plaid", "metadata.json", edited(num_chunks=3), "1.metadata.json"),
        ("fast-plaid", "0.metadata.json", edited(num_embeddings=9), "lengths sum to 504"),
        ("fast-plaid", "ivf.npy", lambda ivf: ivf[::-1].copy(), "inverted list is not that of the codes"),
        ("colbert-ai", "buckets.pt", lambda pair: (pair[0].flip(0), pair[1]), "buckets' cut-offs are .*ascending"),
        ("colbert-ai", "buckets.pt", lambda pair: (pair[0], pair[1].flip(0)), "buckets' weights are .*ascending"),
        ("colbert-ai", "buckets.pt", lambda pair: (pair[0], pair[1] * torch.nan), "NaN or infinity"),
        ("colbert-ai", "centroids.pt", lambda centroids: centroids * 2, "256 of 256 centroids are not of length 1"),
        ("colbert-ai", "centroids.pt", without_row, r"1 of 256 centroids .* number 3\)"),
        ("colbert-ai", "avg_residual.pt", lambda average: average * torch.nan, "average residual is nan"),
        ("colbert-ai", "avg_residual.pt", lambda average: -average, "average residual is -0"),
        ("colbert-ai", "0.codes.pt", lambda codes: codes + 0.5, "codes are float32; expected whole numbers"),
        ("colbert-ai", "0.codes.pt", lambda codes: codes - 9, "codes from -9"),
        ("colbert-ai", "ivf.pid.pt", lambda ivf: (ivf[0], ivf[1][:-1]), "255 lists of .* 256 centroids"),
        ("colbert-ai", "ivf.pid.pt", lambda ivf: (ivf[0] + 1, ivf[1]), "then only zeros"),
        ("colbert-ai", "ivf.pid.pt", lambda ivf: (ivf[0][:400], ivf[1]), "inverted list is not that of the codes"),
        ("colbert-ai", "metadata.json", edited(num_embeddings=500), "num_embeddings is 500, but the files contain 504"),
        ("colbert-ai", "metadata.json", edited(num_partitions=128), "num_partitions is 128, but the files contain 256"),
        ("colbert-ai", "metadata.json", edited(num_chunks=0), "doclens.0.json, but the metadata say 0 chunks"),
        ("colbert-ai", "0.metadata.json", edited(passage_offset=1), "passage_offset is 1, but the files contain 0"),
        ("colbert-ai", "0.metadata.json", edited(num_passages=61), "num_passages is 61, but the files contain 60"),
        ("fast-plaid", "bucket_cutoffs.npy", lambda cutoffs: cutoffs[::-1], "buckets' cut-offs are .*ascending"),
        ("fast-plaid", "bucket_weights.npy", lambda weights: weights[::-1], "buckets' weights are .*ascending"),
        ("fast-plaid", "centroids.npy", without_row, r"1 of 256 centroids .* number 3\)"),
        ("fast-plaid", "centroids.npy", lambda centroids: centroids.astype(str), "of numbers"),
        ("fast-plaid", "avg_residual.npy", lambda average: average * np.nan, "average residual is .*nan"),
        ("fast-plaid", "merged_codes.npy", lambda codes: codes + 0.5, "codes are float64; expected whole numbers"),
        ("fast-plaid", "ivf_lengths.npy", lambda lengths: lengths[:-1], "inverted list is not that of the codes"),
        ("fast-plaid", "metadata.json", edited(num_documents=61), "num_documents is 61, but the files contain 60"),
        ("fast-plaid", "metadata.json", edited(num_chunks=0), "doclens.0.json, but the metadata say 0 chunks"),
        ("fast-plaid", "0.metadata.json", edited(num_documents=61), "num_documents is 61, but the files contain 60"),
    ],
    indirect=["source"],
)
def test_what_does_not_fit_together_is_refused(source, file, change, message):
    save(source / file, change)
    with pytest.raises(InputError, match=message):
        ours(source)
    assert not source.with_name("ours").exists()


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("colbert-ai", "0.codes.pt"),
        ("colbert-ai", "centroids.pt"),
        ("colbert-ai", "doclens.0.json"),
        ("fast-plaid", "merged_codes.npy"),
        ("fast-plaid", "centroids.npy"),
        ("fast-plaid", "ivf.npy"),
        ("fast-plaid", "doclens.0.json"),
    ],
    indirect=["source"],
)
def test_missing_and_truncated_files_are_named(source, file):
    content = (source / file).read_bytes()
    (source / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"damaged|cut short"):
        ours(source)
    (source / file).unlink()
    with pytest.raises(InputError, match="missing"):
        ours(source)
    assert not source.with_name("ours").exists()


@pytest.mark.parametrize(
    ("source", "file"), [("colbert-ai", "centroids.pt"), ("fast-plaid", "centroids.npy")], indirect=["source"]
)
def test_a_malicious_file_runs_no_code(source, file):
    trap = source.with_name("sprung")
    content = io.BytesIO()
    if file.endswith(".npy"):
        np.save(content, np.array([Trap(trap)], dtype=object), allow_pickle=True)
    else:
        pickle.dump(Trap(trap), content)
    (source / file).write_bytes(content.getvalue())
    with pytest.raises(InputError, match=file):
        ours(source)
    assert not trap.exists()
