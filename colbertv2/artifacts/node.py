"""The pipeline as a graph of nodes, and their addresses.

A node is one stage with its arguments. Arguments that are nodes are its parents. The address of a node is
``<stage>-<digest>``, where the digest is the first 10 hex digits of the SHA-256 of canonical JSON. That JSON holds the
stage's name and version and the arguments, with each parent as its address: a digest covers everything upstream and
nothing else. A stage outside this package is identified by its full name, ``my_parts.shortest``.

Values are compared as YAML reads them: ``1`` and ``1.0`` are different (at worst, work is repeated, but never wrongly
reused); ``1e-5`` and ``0.00001`` are the same. The order of a list matters. The order of a mapping's keys matters only
if it holds parents (the systems of a table become rows in that order).
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException

from colbertv2.artifacts.stage import Stage
from colbertv2.errors import InputError
from colbertv2.files import sha256


def nearest(start: Any, role: str) -> Any:
    """The ancestor with this ``role`` that is the fewest steps upstream of ``start``, excluding ``start`` itself.

    Args:
        start: a node or an artifact: anything with ``parents`` by role.

    Raises:
        InputError: no ancestor has this role.
    """
    queue, seen, roles = deque([start]), {id(start)}, set()
    while queue:
        parents = queue.popleft().parents
        if role in parents:
            return parents[role]
        roles.update(parents)
        for parent in parents.values():
            if id(parent) not in seen:
                seen.add(id(parent))
                queue.append(parent)
    raise InputError(f"No ancestor has the role {role!r}; the roles upstream: {', '.join(sorted(roles)) or 'none'}.")


def transform(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """Apply ``leaf`` to every value in nested dictionaries and lists, and keep their structure.

    >>> transform({"a": [1, 2]}, lambda number: number + 1)
    {'a': [2, 3]}
    """
    if isinstance(value, dict):
        return {key: transform(item, leaf) for key, item in value.items()}
    if isinstance(value, list):
        return [transform(item, leaf) for item in value]
    return leaf(value)


def leaves(value: Any, role: str = "") -> Iterator[tuple[str, Any]]:
    """All leaves of nested dictionaries and lists, each with its dotted role.

    >>> list(leaves({"systems": {"BM25": 1}, "depths": [10]}))
    [('systems.BM25', 1), ('depths.0', 10)]
    """
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, f"{role}.{key}" if role else str(key))
    else:
        yield role, value


@dataclass(frozen=True)
class Unreadable:
    """Placeholder for a value that could not be read: validation reports it together with all other problems."""

    key: str
    problem: str


@dataclass(frozen=True, eq=False)
class Component:
    """An object that is passed to a stage, described by a class (or function) and its arguments.

    Its constructor should be cheap, since it is called once to validate and again when the stage runs. A component that
    reads outside data has a method ``identity() -> dict``, which replaces its arguments in the digest: the content
    counts, not its path. A class may have a mapping ``neutral`` from arguments that were added later to the values that
    change nothing; these are left out of the digest, so that older addresses stay. A neutral value may be an instance,
    which a nested component equals if it constructs an equal one.

    Args:
        key: its place in the configuration, such as ``codec``.
        target: dotted name of the class or function.
        values: arguments; nested components are :class:`Component`.
    """

    key: str
    target: str
    values: dict[str, Any]

    @property
    def readable(self) -> bool:
        """Whether all its values could be read, so that it can be constructed."""
        return not any(isinstance(leaf, Unreadable) for _, leaf in leaves(self.values))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration it was read from."""
        return {"_target_": self.target, **transform(self.values, configured)}

    @cached_property
    def instance(self) -> Any:
        """The instance that is used for validation and for the digest."""
        return self.build()

    def build(self) -> Any:
        """Construct a new instance; its constructor receives plain dictionaries and lists.

        Raises:
            InputError: the constructor refused its arguments.
        """
        try:
            return instantiate({"_convert_": "all", **self.config})
        except InstantiationException as error:
            if isinstance(error.__cause__, InputError):
                raise error.__cause__ from error
            raise
        except OmegaConfBaseException as error:  # a string that still holds a reference, such as one to a node
            raise InputError(f"{self.key}: {str(error).splitlines()[0]}") from error

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the digest of a node includes of this component."""
        if callable(identity := getattr(self.instance, "identity", None)):
            return {"_target_": self.target, "identity": identity()}
        values = without_neutral(self.values, getattr(self.instance, "neutral", {}))
        return {"_target_": self.target, **transform(values, identified)}

    def __getstate__(self) -> dict[str, Any]:
        """Without the instance, which may hold a whole collection; what it was built from goes to another process."""
        _ = self.config, self.identity
        return {name: value for name, value in vars(self).items() if name != "instance"}


@dataclass(frozen=True, eq=False)
class Node:
    """One stage with its arguments. Nodes are compared by identity: a graph holds only one object for equal nodes.

    Args:
        key: its place in the configuration, such as ``pipeline.index``.
        stage: the stage to run.
        values: arguments by name; nested values may hold :class:`Node` and :class:`Component`.
    """

    key: str
    stage: Stage
    values: dict[str, Any]

    @cached_property
    def parents(self) -> dict[str, "Node"]:
        """The nodes it reads, by role. A role is the argument's name, or a dotted name inside it: ``systems.BM25``."""
        return {role: leaf for role, leaf in leaves(self.values) if isinstance(leaf, Node)}

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """Plain resolved arguments, with parents as their addresses, as in ``Artifact.arguments``."""
        return transform(self.values, configured)

    @property
    def settings(self) -> dict[str, Any]:
        """What loggers are told: address and resolved arguments, and the arguments of all nodes upstream by address."""
        upstream = {node.address: node.arguments for node in self.lineage() if node is not self}
        return {"address": self.address, "stage": self.stage.name, "arguments": self.arguments, "upstream": upstream}

    @cached_property
    def bound(self) -> dict[str, Any]:
        """Arguments as a stage's ``check`` receives them: components as instances, parents as nodes."""
        return transform(self.values, bound)

    @cached_property
    def sizes(self) -> dict[str, dict[str, Any]]:
        """Sizes of the components that have a method ``size() -> dict``, by argument; for plans and model cards."""
        return {
            name: leaf.instance.size()
            for name, leaf in self.values.items()
            if isinstance(leaf, Component) and callable(getattr(leaf.instance, "size", None))
        }

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The mapping whose digest makes the address."""
        return {
            "stage": self.stage.name,
            "version": self.stage.version,
            "arguments": transform(without_neutral(self.values, self.stage.neutral), identified),
            "order": [role for role in self.parents if "." in role],
            **({"function": self.stage.outside} if self.stage.outside else {}),
        }

    @cached_property
    def address(self) -> str:
        """Name of the artifact's directory, such as ``index-3f9a1c2b7d``."""
        return f"{self.stage.name}-{digest(self.identity)}"

    def ancestor(self, role: str) -> "Node":
        """The nearest ancestor with this ``role``: breadth first through everything upstream, excluding itself.

        Raises:
            InputError: no ancestor has this role.
        """
        return nearest(self, role)

    def furthest(self, role: str) -> "Node":
        """The ancestor furthest upstream with this ``role``: from the nearest one on, always the parent in this role.

        Raises:
            InputError: no ancestor has this role.
        """
        found = self.ancestor(role)
        while role in found.parents:
            found = found.parents[role]
        return found

    def lineage(self) -> list["Node"]:
        """All ancestors and the node itself, each once, parents before children."""
        order: dict[int, Node] = {}

        def visit(node: Node) -> None:
            if id(node) not in order:
                for parent in node.parents.values():
                    visit(parent)
                order[id(node)] = node

        visit(self)
        return list(order.values())

    def __getstate__(self) -> dict[str, Any]:
        """With its address and sizes, so that another process need not read the data to know them."""
        _ = self.address, self.arguments, self.sizes
        return {name: value for name, value in vars(self).items() if name != "bound"}


def digest(identity: dict[str, Any]) -> str:
    """The first 10 hex digits of the SHA-256 of ``identity`` as canonical JSON.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}), digest({"a": 1}) == digest({"a": 1.0})
    (True, False)
    """
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return sha256(canonical.encode())[:10]


def bound(leaf: Any) -> Any:
    """A leaf of the arguments as a check receives it: a component as its instance."""
    return leaf.instance if isinstance(leaf, Component) else leaf


def without_neutral(values: Mapping[str, Any], neutral: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the digest includes: all but those that have their neutral value."""
    return {name: value for name, value in values.items() if name not in neutral or neutral[name] != bound(value)}


def configured(leaf: Any) -> Any:
    """A leaf of the arguments as it is recorded: a node as its address, a component as its configuration."""
    return leaf.address if isinstance(leaf, Node) else leaf.config if isinstance(leaf, Component) else leaf


def identified(leaf: Any) -> Any:
    """A leaf of the arguments as it enters the digest: a node as its address, a component as its identity."""
    return leaf.address if isinstance(leaf, Node) else leaf.identity if isinstance(leaf, Component) else leaf
