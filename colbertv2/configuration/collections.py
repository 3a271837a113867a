"""Find collections by name: a file of ``conf/collection``, a folder, an ``ir_datasets`` id, a data set of a hub.

A suite lists the collections that are evaluated on, and ``collection=mixture`` those that are trained on. Each name of
such a list becomes the configuration of a collection, with its own prompts, lengths, protocol and measure. A file that
stands for many collections says in its key ``reference`` how one of them is written: ``beir/{set}``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from colbertv2.artifacts.validate import suggestion
from colbertv2.errors import InputError

LISTS = ("suite", "collection")  # the groups that may list collections, under ``collections``
# What was found by each loader, by the list as text: the points of a sweep have the same list.
KNOWN: "WeakKeyDictionary[ConfigLoader, dict[str, Any]]" = WeakKeyDictionary()
PLACEHOLDER = re.compile(r"{(\w+)}")


def with_listed(config: DictConfig) -> DictConfig:
    """Add ``listed`` to each group that lists collections: name → configuration, in the order of the list.

    It is called where Hydra has just composed ``config``, since the names are looked up in the same directories.

    Raises:
        InputError: the list is malformed, a name is unknown, or two collections have the same name.
    """
    for group in LISTS:
        wanted = OmegaConf.select(config, f"{group}.collections", throw_on_missing=False)
        if wanted is not None:
            plain = OmegaConf.to_container(wanted, resolve=True) if OmegaConf.is_config(wanted) else wanted
            known = KNOWN.setdefault(GlobalHydra.instance().config_loader(), {})
            if (key := f"{group} {plain!r}") not in known:
                known[key] = listed(plain, group)
            found = known[key]
            with open_dict(config):
                config[group].listed = found
                if group == "collection" and config.collection.get("name") is None:
                    config.collection.name = "+".join(found)
    return config


def listed(wanted: Any, group: str) -> dict[str, DictConfig]:
    """The configurations of the collections of a list.

    Args:
        wanted: names; or a mapping from a name of one's own to such a name, or to a mapping with the name under
            ``collection`` and further keys, which replace those of the collection.
        group: the group with the list, for messages.

    Raises:
        InputError: see :func:`with_listed`.
    """
    key = f"{group}.collections"
    if not isinstance(wanted, list | dict) or not wanted:
        raise InputError(
            f"{key} is {wanted!r}; expected a list of collections, such as [scifact,folder:data/mine,beir/fiqa/test]."
        )
    entries = list(wanted.items()) if isinstance(wanted, dict) else [(None, one) for one in wanted]
    chosen = [entry(name, one, key) for name, one in entries]
    loader = GlobalHydra.instance().config_loader()
    overrides = [
        word
        for place, (_, written, _) in enumerate(chosen)
        for word in overrides_of(written, f"one{place}", loader, key)
    ]
    try:
        composed = loader.load_configuration(None, overrides, RunMode.RUN)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"{key}: {' '.join(str(error).split())}") from error
    found: dict[str, DictConfig] = {}
    for place, (name, written, changes) in enumerate(chosen):
        one = composed[f"one{place}"]
        OmegaConf.set_struct(one, False)  # changes may set what the class of a component takes, but its file leaves out
        one = OmegaConf.merge(one, changes)
        assert isinstance(one, DictConfig)
        name = name or str(one.name)
        if name in found:
            raise InputError(
                f"{key} has two collections with the name {name!r} (the second is {written!r}); give one of them a "
                f"name of its own: {key}={{first: …, second: …}}."
            )
        found[name] = one
    return found


def entry(name: Any, given: Any, key: str) -> tuple[str | None, str, dict[str, Any]]:
    """One entry of a list: its own name (None: the collection's), how the collection is written, and changed keys."""
    changes = dict(given) if isinstance(given, Mapping) else {}
    written = changes.pop("collection", None) if isinstance(given, Mapping) else given
    if not isinstance(written, str) or not written.strip() or not isinstance(name, str | None):
        raise InputError(
            f"{key}: found {given!r}; expected the name of a collection, or a mapping with that name under "
            "'collection'."
        )
    return name, written, changes


def overrides_of(written: str, place: str, loader: ConfigLoader, key: str) -> list[str]:
    """The overrides that put the collection that is written so under the key ``place``.

    Raises:
        InputError: it names no file, and is not written as any file with a ``reference`` expects.
    """
    files = loader.get_group_options("collection", ObjectType.CONFIG)
    if written in files:
        return [f"+collection@{place}={written}"]
    for name, reference in references(loader, files):
        pattern = PLACEHOLDER.sub(r"(?P<\1>.+)", re.sub(r"[^\w{}]", r"\\\g<0>", reference))
        if match := re.fullmatch(pattern, written):
            values = ((part, value.replace("'", "\\'")) for part, value in match.groupdict().items())
            return [f"+collection@{place}={name}", *(f"++{place}.{part}='{value}'" for part, value in values)]
    raise InputError(
        f"{key}: nothing is called {written!r}{suggestion(written, files).rstrip('.')}. Expected a file of "
        "conf/collection, folder:<path>, or an id of ir_datasets such as beir/fiqa/test."
    )


def references(loader: ConfigLoader, files: Sequence[str]) -> list[tuple[str, str]]:
    """The files that stand for many collections, each with its ``reference``, the most specific first."""
    known = KNOWN.setdefault(loader, {})
    if "references" not in known:
        repository = getattr(loader, "repository")  # noqa: B009 - not part of the interface, but of Hydra's only loader
        found = {name: repository.load_config(f"collection/{name}").config.get("reference") for name in files}
        known["references"] = sorted(
            ((name, reference) for name, reference in found.items() if reference),
            key=lambda item: -len(PLACEHOLDER.sub("", item[1])),
        )
    return known["references"]
