"""The interface of all codecs, and saving and loading them (ColBERTv2 §3.3)."""

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
    """A decoded vector as a sum of table entries, so that similarities to a query can be summed from tables too.

    The decoded vector is ``centroids[code] + gains[gain] * concatenate(codebook[m, byte] for m, byte in stored)``. It
    is L2-normalised if ``normalise`` is true. Queries must be multiplied by ``queries`` first if that is not None.

    All vectors of a codec without centroids have the code 0: a single row of ``centroids`` is added to all of them.
    """

    centroids: NDArray[np.float32] | None  # [K, dim], or None to add no centroid
    codebook: NDArray[np.float32]  # [M, 256, dim / M], or [1, 256, dim / M] if all bytes share it
    normalise: bool
    queries: NDArray[np.float32] | None = None  # [dim of queries, dim] to multiply queries by, or None
    gains: NDArray[np.float32] | None = None  # [256], or None for a gain of 1
    stored: str | None = "residuals"  # the encoded array that holds the bytes; None if M = 0

    @property
    def gain_values(self) -> NDArray[np.float32]:
        """``gains``, or ``[1]`` if there are none."""
        return np.ones(1, np.float32) if self.gains is None else self.gains

    @cached_property
    def longest_centroid(self) -> float:
        """The greatest norm of a centroid; 0 if there are none."""
        return 0.0 if self.centroids is None else float(np.linalg.norm(self.centroids, axis=1).max(initial=0))


class Codec(ABC):
    """Compresses token vectors into small arrays, and decodes them. A new codec is a subclass and a YAML file.

    The constructor takes hyper-parameters and validates them. ``learn`` learns from a sample what encoding needs;
    ``encode`` and ``decode`` work after ``learn`` or ``load_codec``. A subclass must define ``label``,
    ``bytes_per_vector``, ``encode`` and ``decode``. Some subclasses must define more:

    - with hyper-parameters: ``settings``;
    - with something learned: ``learn``, ``learned`` and ``restore``; without centroids also ``sample_vectors``;
    - with centroids: ``has_centroids``; ``self.centroids`` is set after ``learn``.

    >>> class Halves(Codec):
    ...     label = "signed bytes"
    ...     def bytes_per_vector(self, dim): return dim
    ...     def encode(self, vectors, codes=None): return {"bytes": np.rint(vectors * 127).astype(np.int8)}
    ...     def decode(self, arrays): return arrays["bytes"].astype(np.float32) / 127
    >>> Halves().decode(Halves().encode(np.array([[0.5, -1.0]], np.float32))).round(2).tolist()
    [[0.5, -1.0]]
    """

    known: ClassVar[dict[str, type[Codec]]] = {}  # dotted name → class, for every imported subclass

    has_centroids: ClassVar[bool] = False  # whether the codec uses centroids, so that engines can probe them
    sample_vectors: int = 0  # how many vectors a codec without centroids learns from
    vectors_array: ClassVar[str | None] = None  # the encoded array that holds the vectors unchanged, if there is one

    centroids: Centroids | None = None  # set by ``learn`` if ``has_centroids``
    notes: Sequence[str] = ()  # where learning had to deviate from the settings

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        Codec.known[f"{cls.__module__}.{cls.__qualname__}"] = cls

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"

    @property
    @abstractmethod
    def label(self) -> str:
        """The codec's name in tables, such as ``2 bits``."""

    @abstractmethod
    def bytes_per_vector(self, dim: int) -> int:
        """Bytes per encoded vector. The centroid id counts as four bytes; shared tables are not counted."""

    @abstractmethod
    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """Encode ``vectors [n, dim]`` as named arrays whose first axis is n. Dtypes and other axes do not depend on n.

        Args:
            codes: int32 ``[n]``, the nearest centroids if they are known already; they are returned as ``codes``.
        """

    @abstractmethod
    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """Decode the arrays that ``encode`` returned, or the same rows of each, to float32 ``[n, dim]``."""

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments that encoding and decoding depend on."""
        return {}

    def size(self) -> dict[str, int]:
        """The size that plans show: bytes per vector at 128 dimensions."""
        return {"bytes_at_128_dimensions": self.bytes_per_vector(128)}

    def check(self, dim: int) -> list[str]:
        """Why vectors of ``dim`` dimensions cannot be encoded; empty if they can."""
        return []

    def sample_queries(self) -> list[str]:
        """Texts of the queries whose vectors ``learn`` needs. These must never be queries of an evaluation."""
        return []

    def learn(self, clusters: Clusters, queries: NDArray[np.float32] | None = None) -> None:
        """Learn everything that encoding needs. The base class only sets the centroids; subclasses learn the rest.

        Args:
            clusters: centroids, if ``has_centroids``, and held-out vectors to learn residuals from.
            queries: vectors ``[n, dim]`` of all ``sample_queries``.

        Raises:
            InputError: vectors of these dimensions cannot be encoded.
        """
        for problem in self.check(clusters.held_out.shape[1]):
            raise InputError(problem)
        self.notes = clusters.notes
        if self.has_centroids:
            self.centroids = clusters.centroids

    def lookup_tables(self, dim: int) -> LookupTables | None:
        """Tables whose entries sum to decoded vectors of ``dim`` dimensions; None if the codec has none."""
        return None

    @property
    def learned(self) -> Arrays:
        """Everything that was learned, except centroids and notes, as arrays by name."""
        return {}

    def restore(self, learned: Arrays) -> None:  # noqa: B027
        """Restore what ``learned`` returned; the centroids are already set.

        Raises:
            InputError: the shape of an array does not match the settings.
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
        """The number of centroids after ``learn``; 0 for a codec without centroids."""
        return 0 if self.centroids is None else len(self.centroids)

    @property
    def has_tables(self) -> bool:
        """Whether ``lookup_tables`` returns tables after ``learn``."""
        return type(self).lookup_tables is not Codec.lookup_tables

    def fitted(self) -> Centroids:
        """The centroids; raises InputError before ``learn``."""
        if self.centroids is None:
            raise InputError(f"This {type(self).__name__} has not been fitted; call learn or load_codec first.")
        return self.centroids


def load_codec(path: Path) -> Codec:
    """Load the codec that ``save`` wrote into the directory ``path``.

    If the codec's class is not part of this package, import its module first: an index names its codec, but opening an
    index never imports foreign code.

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
    """The subclass of ``Codec`` with this dotted name, from this package or from a module that is imported already.

    Args:
        file: the file that contains the name, for the error message.

    Raises:
        InputError: there is no such subclass.
    """
    name = str(name)
    module = name.rpartition(".")[0]
    if module == "__main__" and name not in Codec.known:
        name = f"__mp_main__{name.removeprefix('__main__')}"  # a spawned process imports its parent's script as this
    if module in {f"{compression.__name__}.{one.name}" for one in iter_modules(compression.__path__)}:
        import_module(module)
    if name not in Codec.known:
        raise InputError(
            f"{file} names the codec {name!r}, which is not known here; if it is your own, import its module first."
        )
    return Codec.known[name]


Nbits = Literal[1, 2, 4, 8]  # the divisors of 8, so that no value crosses a byte
NBITS = get_args(Nbits)


def whole_bytes(dim: int, nbits: int) -> list[str]:
    """Why residuals of ``dim`` dimensions at ``nbits`` do not fill whole bytes; empty if they do."""
    if dim * nbits % 8:
        return [f"{dim} dimensions of {nbits} bits do not fill bytes; change codec.nbits or the model's dim."]
    return []
