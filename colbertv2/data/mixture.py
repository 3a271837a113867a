"""Several collections as one, for a training: ids are ``<name>/<id>``, so equal ids of two collections stay apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Qrels, Queries
from colbertv2.errors import InputError
from colbertv2.schema import Scale, checked

Part = TypeVar("Part", Collection, Queries)
Shares = Literal["proportional", "equal", "temperature"]
Batches = Literal["mixed", "single"]


@checked
@dataclass(frozen=True)
class MixtureSampling:
    """How often a training draws from each of several collections.

    Args:
        sampling: ``proportional``: a collection's share is that of its examples; ``equal``: all have the same share;
            ``temperature``: the share of a collection with n examples is proportional to n^(1/temperature), as in
            multilingual BERT.
        temperature: of ``temperature``: 1 is proportional, larger is closer to equal; the others ignore it.
        batches: ``mixed``: each query of a batch is drawn by the shares; ``single``: all queries that share in-batch
            negatives are of one collection, which is drawn by the shares.

    Raises:
        InputError: a value is unknown or out of range.

    >>> MixtureSampling("temperature", 2.0, "mixed").shares([900, 100]).tolist()
    [0.75, 0.25]
    """

    sampling: Shares
    temperature: Scale
    batches: Batches

    @property
    def exponent(self) -> float:
        """The power of the number of examples that a share is proportional to."""
        return {"proportional": 1.0, "equal": 0.0, "temperature": 1 / self.temperature}[self.sampling]

    def shares(self, counts: Sequence[int]) -> NDArray[np.float64]:
        """The probability of each collection, ``[collections]``, from its number of examples, at least 1."""
        weights = np.asarray(counts, dtype=np.float64) ** self.exponent
        return weights / weights.sum()

    def identity(self) -> dict[str, Any]:
        """What decides: two settings with the same shares are the same."""
        return {"exponent": self.exponent, "batches": self.batches}


def checked_parts(parts: Mapping[str, Part]) -> dict[str, Part]:
    """The collections of a mixture by name.

    Raises:
        InputError: there is none, or the start of an id would not say which collection it is of.
    """
    if not parts:
        raise InputError("A mixture of no collections; name at least one.")
    for name in parts:
        if not name:
            raise InputError("A collection of the mixture has an empty name; give it one.")
        if longer := next((one for one in parts if one.startswith(f"{name}/")), None):
            raise InputError(
                f"The mixture's collections {name!r} and {longer!r} have names of which one begins with the other and "
                f"a slash; give one a name of its own: collection.collections={{first: …, second: …}}."
            )
    return dict(parts)


def parts_of(texts: Part) -> Mapping[str, Part]:
    """The collections of a mixture by name; a single collection, under an empty name."""
    return getattr(texts, "parts", {"": texts})


def part_of(parts: Mapping[str, Any], id: str) -> str:
    """The collection that the id of a query or a document of a mixture is of.

    Raises:
        InputError: it is of none of these.

    >>> part_of({"fiqa": 0, "beir/nq": 0}, "beir/nq/test/7")
    'beir/nq'
    """
    for name in parts:
        if id.startswith(f"{name}/"):
            return name
    raise InputError(f"The id {id!r} begins with none of the mixture's collections: {', '.join(parts)}.")


def routed(parts: Mapping[str, Part], ids: Sequence[str]) -> dict[str, tuple[list[int], list[str]]]:
    """Collection → the places in ``ids`` of its ids, and these ids as the collection knows them."""
    found: dict[str, tuple[list[int], list[str]]] = {}
    for place, id in enumerate(ids):
        name = part_of(parts, id)
        places, own = found.setdefault(name, ([], []))
        places.append(place)
        own.append(id[len(name) + 1 :])
    return found


def texts_of(parts: Mapping[str, Part], ids: Sequence[str]) -> list[str]:
    """The texts of ids of a mixture, in their order."""
    texts = [""] * len(ids)
    for name, (places, own) in routed(parts, ids).items():
        for place, text in zip(places, parts[name].texts(own), strict=True):
            texts[place] = text
    return texts


def size_of(parts: Mapping[str, Part]) -> dict[str, Any]:
    """The sizes of several collections as one; see ``Collection.size``."""
    sizes = [one.size() for one in parts.values()]
    numbers = [one["texts"] for one in sizes]
    total = max(1, sum(numbers))
    deciles = [one["lengths"] for one in sizes]
    lengths = [
        round(sum(own[place] * number for own, number in zip(deciles, numbers, strict=True)) / total)
        for place in range(9)
    ]
    characters = sum(one["characters"] * one["texts"] for one in sizes) / total
    return {"texts": sum(numbers), "characters": round(characters, 1), "lengths": lengths}


def common(parts: Mapping[str, Part], name: str) -> Any:
    """The ``prompt`` or ``maxlen`` of all collections; ``None`` if they differ, so that the model keeps its own."""
    values = [getattr(one, name) for one in parts.values()]
    return values[0] if all(value == values[0] for value in values) else None


class MixedCollection(Collection):
    """The documents of several collections, one collection after the other.

    ``prompt`` and ``maxlen`` are those of all collections, or ``None`` if these differ.

    Args:
        parts: name → collection.

    Raises:
        InputError: names can't be told apart, or there are none.

    >>> both = MixedCollection({"a": Collection("stdlib-small"), "b": Collection("stdlib-small")})
    >>> doc_id, text = next(iter(both))
    >>> doc_id.startswith("a/"), len(both) == 2 * len(Collection("stdlib-small"))
    (True, True)
    """

    def __init__(self, parts: Mapping[str, Collection]) -> None:
        self.parts = checked_parts(parts)
        self.id = " + ".join(one.id for one in self.parts.values())
        self.prompt, self.maxlen = common(self.parts, "prompt"), common(self.parts, "maxlen")

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((f"{name}/{doc_id}", text) for name, one in self.parts.items() for doc_id, text in one)

    def texts(self, ids: Sequence[str]) -> list[str]:
        """The texts of ``ids``, in that order; InputError for an unknown one."""
        return texts_of(self.parts, ids)

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Those of ``ids`` that are not ids of a document, collection by collection."""
        found = routed(self.parts, ids).items()
        return [f"{name}/{own}" for name, (_, owns) in found for own in self.parts[name].missing(owns)]

    def size(self) -> dict[str, Any]:
        """The number of texts and their lengths in characters, for plans."""
        return size_of(self.parts)

    def identity(self) -> dict[str, Any]:
        """What identifies the content: the names and contents of the collections."""
        return {name: one.identity() for name, one in self.parts.items()}


class MixedQueries(Queries):
    """The queries of several collections, one collection after the other.

    ``prompt`` and ``maxlen`` are those of all collections, or ``None`` if these differ.

    Args:
        parts: name → queries.
        sampling: how often a training draws from each; ``None`` for queries that are not trained on.

    Raises:
        InputError: names can't be told apart, or there are none.

    >>> both = MixedQueries({"a": Queries("stdlib-small/dev"), "b": Queries("stdlib-small/test")})
    >>> sorted({query_id.split("/")[0] for query_id, _ in both})
    ['a', 'b']
    """

    def __init__(self, parts: Mapping[str, Queries], sampling: MixtureSampling | None = None) -> None:
        self.parts = checked_parts(parts)
        self.sampling = sampling
        self.id = " + ".join(one.id for one in self.parts.values())
        self.prompt, self.maxlen = common(self.parts, "prompt"), common(self.parts, "maxlen")
        self.protocol, self.unlabelled = "trec", any(one.unlabelled for one in self.parts.values())

    @cached_property
    def by_id(self) -> dict[str, str]:
        """Query id → text."""
        return {f"{name}/{query_id}": text for name, one in self.parts.items() for query_id, text in one}

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    def texts(self, ids: Sequence[str]) -> list[str]:
        """The texts of ``ids``, in that order; InputError for an unknown one."""
        return texts_of(self.parts, ids)

    @cached_property
    def qrels(self) -> Qrels:
        """The judgements of all collections."""
        return Qrels(
            {
                f"{name}/{query_id}": {f"{name}/{doc_id}": grade for doc_id, grade in grades.items()}
                for name, one in self.parts.items()
                for query_id, grades in one.qrels.items()
            }
        )

    def size(self) -> dict[str, Any]:
        """The number of texts and their lengths in characters, for plans."""
        return size_of(self.parts)

    def identity(self) -> dict[str, Any]:
        """What identifies the content: the names and contents of the collections, and how they are sampled."""
        parts = {name: one.identity() for name, one in self.parts.items()}
        return parts if self.sampling is None else {"parts": parts, "sampling": self.sampling.identity()}
