"""The index: encoded token vectors in corpus order, memory-mapped, and the inverted list (ColBERTv2 §3.4)."""

import json
import shutil
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from colbertv2.compression import Codec, load_codec
from colbertv2.compression.codec import Additive
from colbertv2.compression.kmeans import num_sampled_documents_rule
from colbertv2.errors import InputError
from colbertv2.retrieval.embeddings import Embeddings
from colbertv2.retrieval.inverted import Inverted, build_inverted
from colbertv2.retrieval.packed import Packed, offsets_of, ranges
from colbertv2.retrieval.stored import open_array, read_ids, read_json

BLOCK_VECTORS = 2**16  # encoded at once

Bar = Callable[[Iterable[Any], str, str, int | None], Iterable[Any]]


class Index:
    """Opened by ``Index.open``, made by ``Index.build``. Documents are known by position, from 0 in corpus order.

    Attributes:
        path: the directory; codec: the fitted codec; dim, num_documents, num_vectors: its size.
        num_sampled_documents: documents that the codec was fitted on.
        lengths: ``[num_documents]`` vectors in each document; offsets: ``[num_documents + 1]``, where each begins.
    """

    def __init__(self, path: Path, metadata: dict[str, Any]) -> None:
        self.path = path
        self.dim: int = metadata["dim"]
        self.num_documents: int = metadata["num_documents"]
        self.num_vectors: int = metadata["num_vectors"]
        self.num_sampled_documents: int = metadata["num_sampled_documents"]
        self.bytes: dict[str, int] = metadata["bytes"]
        for name, expected in self.bytes.items():
            found = (path / name).stat().st_size if (path / name).exists() else None
            if found != expected:
                what = "is missing" if found is None else f"has {found} bytes, expected {expected}"
                raise InputError(f"{path / name} {what}; build the index again.")
        self.codec: Codec = load_codec(path / "codec")
        self.lengths: NDArray[np.int32] = open_array(path / "lengths.npy", "int32", (self.num_documents,))
        self.offsets = offsets_of(self.lengths)
        if self.offsets[-1] != self.num_vectors:
            raise InputError(f"{path}: lengths sum to {self.offsets[-1]}, not to {self.num_vectors}; build it again.")
        self.arrays = {
            name: open_array(path / f"{name}.npy", kind["dtype"], (self.num_vectors, *kind["shape"]))
            for name, kind in metadata["arrays"].items()
        }
        self.inverted_list: Inverted | None = None
        if self.codec.centroids is not None:
            self.inverted_list = Inverted.open(path, metadata["num_pairs"], len(self.codec.centroids))

    @classmethod
    def open(cls, path: Path) -> "Index":
        """Open a built index, reading little but the codec and the lengths.

        Raises:
            InputError: a file is missing, cut short, or of another size or shape than ``index.json`` says.
        """
        path = Path(path)
        if (layout := layout_of(path)) not in (None, "colbertv2"):
            raise InputError(
                f"{path} is an index in the layout {layout}; convert it first: "
                f"python -m colbertv2.convert index {path} <new directory> --to colbertv2"
            )
        metadata = read_json(path / "index.json")
        try:
            return cls(path, metadata)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path / 'index.json'} is not of this version ({error!r}); build it again.") from None

    @classmethod
    def build(
        cls,
        embeddings: Embeddings,
        codec: Codec,
        out: Path,
        *,
        seed: int,
        sample_documents: int | None,
        device: torch.device | str,
        bar: Bar,
    ) -> "Index":
        """Fit ``codec`` on sampled documents, encode all of them into the directory ``out``, and open that.

        Memory is bounded by the sample. What is written does not depend on how the embeddings were cut into shards.

        Args:
            sample_documents: how many to fit on; None for the official rule (``num_sampled_documents_rule``).
            bar: wraps an iterable in a progress bar, as ``Runtime.bar`` does.

        Raises:
            InputError: there are no vectors, ``sample_documents`` is below 1, or the codec can't take their dimension.
        """
        if embeddings.num_vectors == 0:
            raise InputError(f"{embeddings.path} holds no vectors; expected at least one document with tokens.")
        if sample_documents is not None and sample_documents < 1:
            raise InputError(f"sample_documents is {sample_documents}; expected at least 1, or null for the rule.")
        for problem in codec.check(embeddings.dim):
            raise InputError(problem)
        wanted = sample_documents or num_sampled_documents_rule(embeddings.num_documents)
        num_sampled = min(wanted, embeddings.num_documents)
        codec.fit(
            embeddings.sample(num_sampled, seed).vectors,
            num_documents=embeddings.num_documents,
            average_length=embeddings.num_vectors / embeddings.num_documents,
            seed=seed,
            device=device,
        )
        out = Path(out)
        codec.save(out / "codec")
        shutil.copyfile(embeddings.path / "doc_ids.txt", out / "doc_ids.txt")
        np.save(out / "lengths.npy", np.concatenate([shard.lengths for shard in embeddings.shards()]))
        arrays = encode_all(embeddings, codec, out, bar)
        num_pairs = None
        if codec.centroids is not None:
            num_pairs = build_inverted(arrays["codes"], np.load(out / "lengths.npy"), len(codec.centroids), out)
        write_metadata(
            out, embeddings.dim, embeddings.num_documents, embeddings.num_vectors, num_sampled, arrays, num_pairs
        )
        return cls.open(out)

    @cached_property
    def doc_ids(self) -> list[str]:
        """All document ids, in corpus order; read at first use."""
        return read_ids(self.path / "doc_ids.txt", self.num_documents)

    @cached_property
    def additive(self) -> Additive:
        """How decoded vectors add up; InputError if the codec has no centroids."""
        if (additive := self.codec.additive()) is None:
            raise self.no_centroids()
        return additive

    @cached_property
    def stored_codes(self):
        from types import SimpleNamespace

        return SimpleNamespace(bytes=np.asarray(self.arrays["codes"]).view(np.uint8), width=4)

    @cached_property
    def factors(self) -> NDArray[np.int16]:
        """``[num_vectors]`` for the cascade, which fills in what it comes by; untouched pages take no memory."""
        return np.zeros(self.num_vectors, np.int16)

    @property
    def bytes_per_token(self) -> float:
        """Everything on disk (vectors, codec, inverted list, lengths, document ids), divided by the vectors."""
        return (sum(self.bytes.values()) + (self.path / "index.json").stat().st_size) / self.num_vectors

    def rows(self, positions: NDArray[np.int64]) -> Any:
        """What picks the vectors of the documents at ``positions``: a slice if they follow one another."""
        if len(positions) and np.all(np.diff(positions) == 1):
            return slice(int(self.offsets[positions[0]]), int(self.offsets[positions[-1] + 1]))
        return ranges(self.offsets[positions], self.lengths[positions])

    def decode(self, positions: NDArray[np.int64]) -> Packed:
        """The decoded float32 vectors of the documents at ``positions [D]``, in that order."""
        positions = np.asarray(positions, dtype=np.int64)
        return Packed(self.decode_rows(self.rows(positions)), self.lengths[positions])

    def decode_rows(self, rows: Any) -> NDArray[np.float32]:
        """Decoded vectors ``[n, dim]`` by their place among all vectors (a slice or ``[n]``)."""
        return self.codec.decode({name: np.asarray(array[rows]) for name, array in self.arrays.items()})

    def codes(self, positions: NDArray[np.int64]) -> NDArray[np.int32]:
        """``[T]``: the centroid of every vector of the documents at ``positions``, end to end.

        Raises:
            InputError: the codec has no centroids.
        """
        if self.inverted_list is None:
            raise self.no_centroids()
        return np.asarray(self.arrays["codes"][self.rows(np.asarray(positions, dtype=np.int64))])

    def inverted(self, centroids: NDArray[Any]) -> NDArray[np.int64]:
        """Ascending positions of the documents that have a vector at any of these centroids.

        Raises:
            InputError: the codec has no centroids.
        """
        if self.inverted_list is None:
            raise self.no_centroids()
        return self.inverted_list.documents_of(centroids)

    def no_centroids(self) -> InputError:
        """The error for what works through centroids, where the codec has none."""
        return InputError(
            f"{self.codec!r} has no centroids; use the exhaustive engine, or index with a residual codec."
        )


def write_metadata(
    out: Path,
    dim: int,
    num_documents: int,
    num_vectors: int,
    num_sampled_documents: int,
    arrays: dict[str, NDArray[Any]],
    num_pairs: int | None,
) -> None:
    """Write ``index.json``, which makes the directory an index; its other files must stand.

    Args:
        num_pairs: of centroid and document in the inverted list; None for a codec without centroids.
    """
    metadata: dict[str, Any] = {
        "dim": dim,
        "num_documents": num_documents,
        "num_vectors": num_vectors,
        "num_sampled_documents": num_sampled_documents,
        "arrays": {name: {"dtype": a.dtype.name, "shape": a.shape[1:]} for name, a in arrays.items()},
    }
    if num_pairs is not None:
        metadata["num_pairs"] = num_pairs
    files = [out / "doc_ids.txt", *out.glob("*.npy"), *(out / "codec").iterdir()]
    metadata["bytes"] = {file.relative_to(out).as_posix(): file.stat().st_size for file in sorted(files)}
    (out / "index.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def layout_of(path: Path) -> str | None:
    """``colbertv2``, ``official`` or ``fast-plaid`` by the files in a directory; ``None`` if it is no index."""
    for layout, file in {"colbertv2": "index.json", "official": "centroids.pt", "fast-plaid": "centroids.npy"}.items():
        if (path / file).is_file():
            return layout
    return None


def encode_all(embeddings: Embeddings, codec: Codec, out: Path, bar: Bar) -> dict[str, NDArray[Any]]:
    """Encode every vector, block by block, into one memory-mapped array ``{name}.npy`` for each that the codec has."""
    kinds = codec.encode(np.zeros((0, embeddings.dim), np.float32))
    arrays: dict[str, NDArray[Any]] = {
        name: open_memmap(
            out / f"{name}.npy", mode="w+", dtype=kind.dtype, shape=(embeddings.num_vectors, *kind.shape[1:])
        )
        for name, kind in kinds.items()
    }
    done = 0
    for shard in bar(embeddings.shards(), "encode vectors", "shards", len(embeddings.sizes)):
        for start in range(0, len(shard.vectors), BLOCK_VECTORS):
            block = codec.encode(shard.vectors[start : start + BLOCK_VECTORS].astype(np.float32))
            size = min(BLOCK_VECTORS, len(shard.vectors) - start)
            for name, array in arrays.items():
                array[done : done + size] = block[name]
            done += size
    return arrays
