"""Read nodes from a composed configuration: a mapping whose ``_target_`` is a stage becomes a :class:`Node`.

References are followed, not copied. OmegaConf resolves ``${pipeline.round2}`` to the one mapping at that key, which is
read once. If every reference were replaced by a copy, the work would grow exponentially with the depth of the pipeline.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from colbertv2.artifacts.node import Component, Node, Unreadable, leaves, transform
from colbertv2.artifacts.stage import Stage, stage_of
from colbertv2.errors import InputError


def parse(config: Any) -> Node:
    """Read a node with everything upstream of it; equal nodes become one object.

    Args:
        config: a mapping whose ``_target_`` is a stage: part of a composed configuration, or plain dictionaries.

    Raises:
        InputError: ``config`` is not a stage, or nodes read each other in a cycle. All other problems of the graph are
            left to :func:`colbertv2.artifacts.validate.validate`, which reports them all at once.
    """
    value = parse_value(config)
    if isinstance(value, Unreadable):
        raise InputError(f"{value.key}: {value.problem}")
    if not isinstance(value, Node):
        found = value.target if isinstance(value, Component) else type(value).__name__
        raise InputError(f"Expected a node (a mapping whose _target_ is a stage function); found {found}.")
    return value


def parse_value(config: Any) -> Any:
    """Like :func:`parse`, for any kind of argument: a node, component, mapping, list or plain value."""
    return Reader().read(OmegaConf.create(config) if isinstance(config, (dict, list)) else config)


class Reader:
    """Read values from one configuration or from several ones that share nodes; equal nodes become one object.

    Args:
        place: a key whose value differs between these configurations. Nodes that read from it, also through other
            nodes, get :attr:`label` after their key.
    """

    label = ""  # of the configuration that is being read

    def __init__(self, place: str = "") -> None:
        self.place = place
        self.labelled: set[int] = set()  # ids of nodes
        self.read_before: dict[int, tuple[Any, Any]] = {}  # id → container (kept, so that its id is not reused), value
        self.under_way: list[int] = []
        self.nodes: dict[str, Node] = {}

    def read(self, value: Any, key: str = "") -> Any:
        """Read a node, component, mapping, list or plain value; ``key`` is its place, if it does not know it itself.

        Raises:
            InputError: nodes read each other in a cycle.
        """
        if not isinstance(value, (DictConfig, ListConfig)):
            return _plain(value, key)
        key = value._get_full_key("") or key or "configuration"  # the key of a reference's target, not of the reference
        if id(value) in self.under_way:
            raise InputError(f"{key} reads itself through its own references; remove the cycle.")
        if id(value) not in self.read_before:
            self.under_way.append(id(value))
            self.read_before[id(value)] = value, self._container(value, key)
            self.under_way.pop()
        return self.read_before[id(value)][1]

    def _container(self, config: DictConfig | ListConfig, key: str) -> Any:
        if isinstance(config, ListConfig):
            return [item for _, item in self._items(config, range(len(config)), key)]
        values = dict(self._items(config, list(config.keys()), key))
        if "_target_" not in values:
            return values
        target = values.pop("_target_")
        try:
            declared = stage_of(get_object(target))
        except Exception as error:  # importing a module may raise anything
            return Unreadable(key, f"cannot import {target!r}: {error}")
        if declared is None:
            if any(isinstance(leaf, Node) for _, leaf in leaves(values)):
                return Unreadable(key, f"the component {target!r} reads a node; only stages can, so pass it to one.")
            return Component(key, target, values)
        if declared.unneeded is not None:
            values = without(values, called(declared.unneeded, values) or ())
        if declared.replaced is not None:
            instead = values.get(called(declared.replaced, values) or "")
            if isinstance(instead, Node):
                return instead
        return self.nodes.setdefault(content_of(declared, values), self._node(key, declared, values))

    def _node(self, key: str, declared: Stage, values: dict[str, Any]) -> Node:
        found = [leaf for _, leaf in leaves(values)]
        varies = any(isinstance(leaf, Component) and leaf.key.startswith(f"{self.place}.") for leaf in found)
        if self.label and (varies or any(id(leaf) in self.labelled for leaf in found)):
            node = Node(f"{key} ({self.label})", declared, values)
            self.labelled.add(id(node))
            return node
        return Node(key, declared, values)

    def _items(self, config: Any, keys: Iterable[Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name in keys:
            key = f"{prefix}.{name}"
            if isinstance(config, DictConfig) and not isinstance(name, str):
                yield str(name), Unreadable(key, f"the key {name!r} is not text; put it in quotes.")
                continue
            try:
                value = config[name]
            except MissingMandatoryValue:
                yield name, Unreadable(key, f"no value given; set it, for instance {key}=… on the command line.")
            except OmegaConfBaseException as error:
                yield name, Unreadable(key, str(error).splitlines()[0])
            else:
                yield name, self.read(value, key)


def called(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    """What a stage's ``unneeded`` or ``replaced`` returns; ``None`` if an argument is missing or wrong.

    Validation reports such arguments.

    Args:
        function: takes the arguments of the stage by name, components as their classes.
        values: arguments of the stage by name.
    """
    try:
        kinds = {
            name: get_object(leaf.target) if isinstance(leaf, Component) else leaf for name, leaf in values.items()
        }
        found = function(**kinds)
        return found if isinstance(found, (str, type(None))) else list(found)
    except (TypeError, AttributeError):
        return None


def without(values: dict[str, Any], roles: Iterable[str]) -> dict[str, Any]:
    """The arguments without the nodes in these roles: ``None`` instead, and nothing inside a mapping of nodes."""
    values = dict(values)
    for role in roles:
        name, _, inner = role.partition(".")
        if inner and isinstance(values.get(name), dict):
            values[name] = {key: value for key, value in values[name].items() if key != inner}
        elif isinstance(values.get(name), Node):
            values[name] = None
    return values


def content_of(declared: Stage, values: dict[str, Any]) -> str:
    """A text that is equal for equal nodes. Equal parents must already be one object, as their ids are compared."""
    function = declared.function
    content = [function.__module__, function.__qualname__, transform(values, identifying)]
    return json.dumps(content, sort_keys=True, default=repr)


def identifying(leaf: Any) -> Any:
    """A leaf of the arguments as it is compared: a node by its id, a component by its configuration."""
    if isinstance(leaf, Node):
        return {"node": id(leaf)}
    return leaf.config if isinstance(leaf, Component) else repr(leaf)


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return Unreadable(key, f"{value} is not a finite number; write null for 'no limit'.")
    if isinstance(value, str) and value.startswith("~/"):  # shells do not expand it after "key="
        return _in_home(value, key)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return Unreadable(key, f"a value of type {type(value).__name__} can't be part of an address; use text or numbers.")


def _in_home(path: str, key: str) -> str | Unreadable:
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        return Unreadable(key, f"{path} is in a home directory, but this user has none; give the full path.")
