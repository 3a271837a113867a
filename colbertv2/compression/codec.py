"""What every codec offers, and how it is saved and opened (ColBERTv2 §3.3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from colbertv2 import compression
from colbertv2.errors import InputError
from colbertv2.files import read_array, read_json, write_json

if TYPE_CHECKING:
    from colbertv2.compression.clustering.centroids import Centroids
    from colbertv2.compression.clustering.clustering import Clusters

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class LookupTables:
    """How a decoded vector adds up, so that its similarity to a query can be added up from tables.

    It is ``centroids[code] + gains[gain] * concatenate(codebook[m, byte] for m, byte in stored)``, L2-normalised if
    ``normalise`` says so, in a space that ``queries`` takes queries to.
    """

    centroids: NDArray[np.float32] | None  # [K, dim]; None adds none
    codebook: NDArray[np.float32]  # [M, 256, dim / M], or [1, 256, dim / M] for all bytes
    normalise: bool
    queries: NDArray[np.float32] | None = None  # [dim, dim] to multiply queries by, or None
    gains: NDArray[np.float32] | None = None  # [256], or None for 1
    stored: str = "residuals"  # the array whose bytes these are

    @property
    def gain_values(self) -> NDArray[np.float32]:
        """``gains``, or ``[1]`` without."""
        return np.ones(1, np.float32) if self.gains is None else self.gains

    @cached_property
    def covariance(self) -> NDArray[np.float32]:
        """``[M or 1, d, d]`` of each byte's pieces, all values counted alike."""
        deviation = self.codebook - self.codebook.mean(axis=1, keepdims=True)
        return deviation.transpose(0, 2, 1) @ deviation


class Codec(ABC):
    """Turns token vectors into small arrays and back. A new codec is a subclass and a YAML file that names it.

    The constructor takes hyper-parameters and validates them. ``learn`` learns from a sample what encoding needs;
    ``encode`` and ``decode`` work after ``learn`` or ``load_codec``. A subclass has to define ``label``,
    ``bytes_per_vector``, ``encode`` and ``decode``; what else it defines depends on what it does:

    - hyper-parameters: ``settings``;
    - something learned: ``learn``, ``learned`` and ``restore``; without centroids also ``sample_vectors``;
    - centroids: ``has_centroids``; ``self.centroids`` is there after ``learn``.

    >>> class Halves(Codec):
    ...     label = "signed bytes"
    ...     def bytes_per_vector(self, dim): return dim
    ...     def encode(self, vectors, codes=None): return {"bytes": np.rint(vectors * 127).astype(np.int8)}
    ...     def decode(self, arrays): return arrays["bytes"].astype(np.float32) / 127
    >>> Halves().decode(Halves().encode(np.array([[0.5, -1.0]], np.float32))).round(2).tolist()
    [[0.5, -1.0]]
    """

    known: ClassVar[dict[str, type[Codec]]] = {}  # dotted name → class, of every subclass that is imported

    has_centroids: ClassVar[bool] = False  # whether it is given centroids, so that engines can probe them
    sample_vectors: ClassVar[int] = 0  # how many vectors a codec without centroids learns from
    vectors_array: ClassVar[str | None] = None  # the array that holds the vectors as they are, if one does

    centroids: Centroids | None = None  # after ``learn``, where ``has_centroids``
    notes: Sequence[str] = ()  # what learning had to do differently from what was asked

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        Codec.known[f"{cls.__module__}.{cls.__qualname__}"] = cls

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"

    @property
    @abstractmethod
    def label(self) -> str:
        """Its name in tables, such as ``2 bits``."""

    @abstractmethod
    def bytes_per_vector(self, dim: int) -> int:
        """Bytes that one encoded vector takes, the id of its centroid as four; shared tables are not counted."""

    @abstractmethod
    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """``[n, dim]`` to named arrays whose first axis is n; dtypes and other axes do not depend on n.

        Args:
            codes: the nearest centroids ``[n]``, where they are known; they are returned under this name.
        """

    @abstractmethod
    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """What ``encode`` returned, or the same rows of all its arrays, to ``[n, dim]``."""

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as far as encoding and decoding depend on them."""
        return {}

    def size(self) -> dict[str, int]:
        """What plans make of it: bytes that a vector of 128 dimensions takes."""
        return {"bytes_at_128_dimensions": self.bytes_per_vector(128)}

    def check(self, dim: int) -> list[str]:
        """Why vectors of ``dim`` dimensions can't be encoded; empty if they can."""
        return []

    def sample_queries(self) -> list[str]:
        """Texts of queries whose vectors ``learn`` wants to see, never those of an evaluation."""
        return []

    def learn(self, clusters: Clusters, queries: NDArray[np.float32] | None = None) -> None:
        """Learn everything that encoding needs; this one takes over the centroids, for a subclass to learn the rest.

        Args:
            clusters: finished centroids, if ``has_centroids``, and vectors to learn residuals from.
            queries: ``[n, dim]`` of all ``sample_queries``.

        Raises:
            InputError: the dimensions can't be encoded.
        """
        for problem in self.check(clusters.held_out.shape[1]):
            raise InputError(problem)
        self.notes = clusters.notes
        if self.has_centroids:
            self.centroids = clusters.centroids

    def lookup_tables(self, dim: int) -> LookupTables | None:
        """How decoded vectors of ``dim`` dimensions add up; None where they do not."""
        return None

    @property
    def learned(self) -> Arrays:
        """Everything that was learned but centroids and notes, as arrays by name."""
        return {}

    def restore(self, learned: Arrays) -> None:  # noqa: B027
        """Take back what ``learned`` gave; centroids are there already.

        Raises:
            InputError: an array is of another shape than the settings ask for.
        """

    def save(self, path: Path) -> None:
        """Write ``codec.json`` and everything learned into the directory ``path``."""
        path.mkdir(parents=True, exist_ok=True)
        if self.centroids is not None:
            self.centroids.save(path)
        arrays = self.learned
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array)
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        content = {"codec": kind, "settings": self.settings, "learned": list(arrays), "notes": list(self.notes)}
        write_json(path / "codec.json", content)

    @property
    def num_centroids(self) -> int:
        """How many centroids it has, once it has learned; 0 for a codec that works without."""
        return 0 if self.centroids is None else len(self.centroids)

    @property
    def has_tables(self) -> bool:
        """Whether decoded vectors add up from tables, once it has learned."""
        return type(self).lookup_tables is not Codec.lookup_tables

    def fitted(self) -> Centroids:
        """The centroids; InputError before ``learn``."""
        if self.centroids is None:
            raise InputError(f"This {type(self).__name__} has not been fitted; call learn or load_codec first.")
        return self.centroids


def load_codec(path: Path) -> Codec:
    """The codec that ``save`` wrote into the directory ``path``.

    A codec from outside this package has to be imported before: an index names its codec, but runs no code.

    Raises:
        InputError: there is no codec, its class is unknown, or one of its files is damaged.

    >>> import tempfile
    >>> from colbertv2.compression.binary import BinaryCodec
    >>> path = Path(tempfile.mkdtemp())
    >>> BinaryCodec().save(path)
    >>> load_codec(path).label
    'sign'
    """
    path = Path(path)
    file = path / "codec.json"
    content = read_json(file)
    try:
        codec = class_named(content["codec"], file)(**content["settings"])
        codec.notes = content["notes"]
        if codec.has_centroids:
            from colbertv2.compression.clustering.centroids import Centroids

            codec.centroids = Centroids.load(path)
        codec.restore({name: read_array(path / f"{name}.npy") for name in content["learned"]})
        return codec
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"The codec in {path} is damaged ({error!r}); build the index again.") from None


def class_named(name: object, file: Path) -> type[Codec]:
    """The subclass of ``Codec`` with this dotted name: one of this package, or one that is imported already.

    Raises:
        InputError: there is none.
    """
    name = str(name)
    module = name.rpartition(".")[0]
    if module == "__main__" and name not in Codec.known:
        name = f"__mp_main__{name.removeprefix('__main__')}"  # what a new process calls the script that started it
    if module in {f"{compression.__name__}.{one.name}" for one in iter_modules(compression.__path__)}:
        import_module(module)
    if name not in Codec.known:
        raise InputError(
            f"{file} names the codec {name!r}, which is not known here; if it is your own, import its module first."
        )
    return Codec.known[name]


Nbits = Literal[1, 2, 4, 8]  # so that whole values fill a byte
NBITS = get_args(Nbits)


def whole_bytes(dim: int, nbits: int) -> list[str]:
    """Why residuals of ``dim`` dimensions at ``nbits`` do not fill whole bytes; empty if they do."""
    if dim * nbits % 8:
        return [f"{dim} dimensions of {nbits} bits do not fill bytes; change codec.nbits or the model's dim."]
    return []
