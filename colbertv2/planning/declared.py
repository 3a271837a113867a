"""Sizes of collections and models that are not on this machine, so that a plan for them needs no download.

``declared.yaml`` lists them with their sources. In a configuration, each collection and model of that list whose files
are not here is replaced by a stand-in that knows only its sizes. The addresses of what depends on a stand-in are not
known, since they are digests of content.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from colbertv2.artifacts.node import Component, Node, leaves
from colbertv2.configuration.points import Point
from colbertv2.data.collection import Collection, text_settings
from colbertv2.data.queries import Qrels, Queries
from colbertv2.errors import InputError
from colbertv2.files import sha256
from colbertv2.modeling.backbone import Backbone

FOLDER = Path(__file__).parent
HERE = __name__


@cache
def table() -> dict[str, dict[str, Any]]:
    """The content of ``declared.yaml``: ``collections`` and ``models``, each by name."""
    content: Any = OmegaConf.to_container(OmegaConf.load(FOLDER / "declared.yaml"))
    return content


class Declared:
    """A stand-in; ``sentence`` says what is declared, and where that is from."""

    sentence: str


class DeclaredCollection(Declared, Collection):
    """A collection of which only sizes are known. Its documents can't be read."""

    def __len__(self) -> int:
        return self.dataset.docs_metadata()["count"]

    @property
    def sentence(self) -> str:
        """What is declared of it."""
        row = row_of(self.id)
        return f"{documents_of(self.id)}: {len(self):,} documents of {row['characters']} characters ({row['source']})"

    def missing(self, ids: Any) -> list[str]:
        """None: which documents there are is not known."""
        return []

    def size(self) -> dict[str, Any]:
        """As ``Collection.size``; all deciles of the lengths are the declared mean."""
        return sizes(len(self), row_of(self.id)["characters"])

    def identity(self) -> dict[str, Any]:
        """A stand-in's own: its content is not known. Ids with the same documents have the same."""
        return {"declared": documents_of(self.id), **text_settings(self)}


class DeclaredQueries(Declared, Queries):
    """Queries of which only sizes are known; at most as many as ir_datasets says are kept."""

    def __len__(self) -> int:
        number = self.dataset.queries_metadata()["count"]
        share = {None: 1.0, "dev": self.dev_fraction, "train": 1 - self.dev_fraction}[self.part]
        return max(1, round(share * number))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """None: which queries there are is not known."""
        return iter(())

    @property
    def sentence(self) -> str:
        """What is declared of them."""
        return f"{self.id}{f' ({self.part})' if self.part else ''}: {len(self):,} queries"

    @property
    def judgements(self) -> dict[str, dict[str, int]]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """One query without judgements, in place of those that are not here."""
        return {"": {}}

    @property
    def qrels(self) -> Qrels:  # pyright: ignore[reportIncompatibleVariableOverride]
        """No judgements."""
        return Qrels({})

    def size(self) -> dict[str, Any]:
        """As ``Queries.size``; all deciles of the lengths are the declared mean."""
        return sizes(len(self), row_of(self.id)["query_characters"])

    @property
    def content(self) -> dict[str, str | int]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A stand-in's own: their content is not known, so the digest is that of what they are called."""
        called = json.dumps([self.id, self.part, self.dev_fraction, self.protocol]).encode()
        return {"declared": self.id, "queries": len(self), "sha256": sha256([called])}


class DeclaredBackbone(Declared, Backbone):
    """A model of which only the architecture is known. It has no weights and no tokenizer."""

    checkpoint = None  # pyright: ignore[reportAssignmentType]

    def __init__(self, name: str, sha256: str | None, overrides: Any = ()) -> None:
        self.name, self.overrides, self.directory = name, tuple(overrides), folder_of(name)

    @property
    def sentence(self) -> str:
        """What is declared of it."""
        return f"{self.name}: {table()['models'][self.name]['source']}"

    def has_words(self, words: Any) -> bool:
        """Not known; the run itself will check it."""
        return True

    def identity(self) -> dict[str, str]:
        """A stand-in's own: its weights are not known."""
        return {"declared": self.name}


STAND_INS: dict[str, type[Declared]] = {
    f"{kind.__module__}.{kind.__qualname__}": stand_in
    for kind, stand_in in ((Collection, DeclaredCollection), (Queries, DeclaredQueries), (Backbone, DeclaredBackbone))
}


def sizes(texts: int, characters: float) -> dict[str, Any]:
    """Sizes as ``size()`` returns them, if only the mean length is known."""
    return {"texts": texts, "characters": characters, "lengths": [characters] * 9}


def documents_of(dataset_id: str) -> str:
    """The name of the documents of an ``ir_datasets`` id."""
    return dataset_id.partition("/")[0]


def is_listed(dataset_id: str) -> bool:
    """Whether the list has the documents of an ``ir_datasets`` id."""
    return documents_of(dataset_id) in table()["collections"]


def row_of(dataset_id: str) -> dict[str, Any]:
    """The row for the documents of a listed ``ir_datasets`` id."""
    return table()["collections"][documents_of(dataset_id)]


def folder_of(name: str) -> Path:
    """The folder with the ``config.json`` of a declared model."""
    return FOLDER / "models" / table()["models"][name]["folder"]


def is_declared_model(name: str) -> bool:
    """Whether a model is in the list and not here: neither in a local directory nor in the cache of the hub."""
    from huggingface_hub import try_to_load_from_cache

    if name not in table()["models"] or Path(name).is_dir():
        return False
    return not isinstance(try_to_load_from_cache(name, "config.json"), str)


def is_declared_collection(dataset_id: str) -> bool:
    """Whether the documents of an ``ir_datasets`` id are in the list and not here, in whole or in part."""
    from colbertv2.data.opening import load, places

    if not is_listed(dataset_id):
        return False
    handler = load(dataset_id).docs_handler()
    return not handler.docs_store().built() and not any(place.path.exists() for place in places(handler))


def with_declared(point: Point) -> Point:
    """``point`` with stand-ins for the collections and models of the list that are not here; itself if there are none.

    Its ``flags`` and overrides stay, so its command is the same.
    """
    config = deepcopy(point.config)
    found = False
    for node in components(config):
        stand_in = STAND_INS[node["_target_"]]
        try:
            name = node["name"] if stand_in is DeclaredBackbone else node["id"]
            if not isinstance(name, str):  # such as the training queries of a collection that is only evaluated on
                continue
            absent = is_declared_model(name) if stand_in is DeclaredBackbone else is_declared_collection(name)
        except (InputError, OmegaConfBaseException, KeyError):  # a wrong value is reported with all others
            continue
        if absent:
            with open_dict(node):
                node["_target_"] = f"{HERE}.{stand_in.__qualname__}"
            found = True
    return replace(point, config=config) if found else point


def components(config: DictConfig) -> Iterator[DictConfig]:
    """The mappings in a configuration whose class has a stand-in."""
    for key in list(config):
        if OmegaConf.is_interpolation(config, key) or OmegaConf.is_missing(config, key):
            continue
        inner = config._get_node(key)
        if isinstance(inner, DictConfig) and not inner._is_none():
            if inner.get("_target_") in STAND_INS:
                yield inner
            else:
                yield from components(inner)


def stand_ins(node: Node) -> list[Declared]:
    """The stand-ins that a node and everything upstream of it read."""
    return [
        leaf.instance
        for step in node.lineage()
        for _, leaf in leaves(step.values)
        if isinstance(leaf, Component) and leaf.target.startswith(f"{HERE}.")
    ]
