"""Training on several collections: the pipeline is read once for each, and the graphs become one.

The graphs have the same shape. What makes a checkpoint or a teacher becomes one node, which reads the documents and
queries of all collections and, from the stage ``mixed_examples``, the examples of all. Everything else, such as mining
and scoring, stays one node per collection, and reads the common checkpoint.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict

from colbertv2.artifacts.node import Component, Node, transform
from colbertv2.artifacts.reader import Reader, content_of, identifying, parse_value
from colbertv2.artifacts.stage import Stage, stage_of
from colbertv2.errors import InputError

MIXED_EXAMPLES = "colbertv2.stages.mixed_examples.run"
SAMPLING = "colbertv2.data.mixture.MixtureSampling"
UNIONS = {  # argument of a training → the class that holds those of all collections
    "documents": "colbertv2.data.mixture.MixedCollection",
    "queries": "colbertv2.data.mixture.MixedQueries",
    "dev_queries": "colbertv2.data.mixture.MixedQueries",
}
OF_MODELS = ("checkpoint", "encoder", "teacher", "before", "after")  # roles whose node is one for all collections
SETTINGS = ("sampling", "temperature", "batches")


def is_mixture(config: DictConfig) -> bool:
    """Whether ``collection`` lists collections to train on."""
    group = config.get("collection")
    if not isinstance(group, DictConfig):
        return False
    if OmegaConf.is_missing(group, "collections"):
        raise InputError("collection.collections has no value; list what to train on: [scifact,folder:data/mine].")
    return bool(group.get("listed"))


def one_by_one(config: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """The name of each collection of the mixture, and a copy of ``config`` that trains on it alone."""
    for name, one in config.collection.listed.items():
        changed = config.copy()
        with open_dict(changed):
            changed.collection = one
        yield str(name), changed


class MixtureReader(Reader):
    """A :class:`Reader` that also merges what it has read for each collection of a mixture.

    Args:
        place: see :class:`Reader`.
        config: the composed configuration.
    """

    def __init__(self, place: str, config: DictConfig) -> None:
        super().__init__(place)
        self.names: list[str] = []
        if is_mixture(config):
            refuse_equal(config.collection.listed)
            self.names = [str(name) for name in config.collection.listed]
            sampling = {key: config.collection[key] for key in SETTINGS if key in config.collection}
            self.sampling = Component("collection", SAMPLING, sampling)
        self.nodes_before: dict[tuple[int, ...], tuple[Node, ...]] = {}
        self.one_before: dict[tuple[int, ...], Node] = {}
        self.named_before: dict[tuple[int, str], Component] = {}
        self.merged_nodes: dict[str, Node] = {}

    def merged(self, values: Sequence[Any]) -> list[Any]:
        """What becomes of a value that was read once per collection: the same object where it is one for all.

        Args:
            values: nodes, components or plain values, or dictionaries and lists of these with the same shape.

        Raises:
            InputError: a collection has no training queries.
        """
        first = values[0]
        if isinstance(first, Node):
            return [*self.nodes_of(tuple(values))]
        if isinstance(first, dict):
            columns = {key: self.merged([value[key] for value in values]) for key in first}
            return [{key: column[place] for key, column in columns.items()} for place in range(len(values))]
        if isinstance(first, list) and all(len(value) == len(first) for value in values):
            rows = [self.merged(items) for items in zip(*values, strict=True)]
            return [[row[place] for row in rows] for place in range(len(values))]
        return [first] * len(values) if same(values) else self.named(values)

    def named(self, values: Sequence[Any]) -> list[Any]:
        """Components with the name of their collection in their key, for messages."""
        found = []
        for name, value in zip(self.names, values, strict=True):
            if isinstance(value, Component):
                value = self.named_before.setdefault((id(value), name), replace(value, key=f"{value.key} ({name})"))
            found.append(value)
        return found

    def nodes_of(self, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        """What becomes of the nodes of each collection; the same node for all if it does not depend on them."""
        key = tuple(map(id, nodes))
        if key not in self.nodes_before:
            self.nodes_before[key] = self._nodes_of(nodes)
        return self.nodes_before[key]

    def _nodes_of(self, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        if all(node is nodes[0] for node in nodes):
            return nodes
        if is_training(nodes[0]):
            return (self.one(nodes),) * len(nodes)
        columns = {
            role: [self.one(items)] * len(nodes)
            if role in OF_MODELS and isinstance(items[0], Node)
            else self.merged(items)
            for role, items in by_role(nodes).items()
        }
        values = [{role: column[place] for role, column in columns.items()} for place in range(len(nodes))]
        if same(values):
            return (self.unique(nodes[0].key, nodes[0].stage, values[0]),) * len(nodes)
        return tuple(
            self.unique(f"{node.key.removesuffix(f' ({name})')} ({name})", node.stage, one)
            for node, name, one in zip(nodes, self.names, values, strict=True)
        )

    def one(self, nodes: Sequence[Node]) -> Node:
        """The node that makes one checkpoint, or one teacher, in place of those of each collection."""
        key = tuple(map(id, nodes))
        if key not in self.one_before:
            self.one_before[key] = nodes[0] if all(node is nodes[0] for node in nodes) else self._one(nodes)
        return self.one_before[key]

    def _one(self, nodes: Sequence[Node]) -> Node:
        arguments = by_role(nodes)
        if is_training(nodes[0]):
            self.refuse_untrained(arguments)
        developed = [one is not None for one in arguments.get("dev_queries", [None])]
        values: dict[str, Any] = {}
        for role, items in arguments.items():
            partial = role in ("validation", "dev_queries") and any(developed)  # the others have no dev queries
            kept = developed if partial else [True] * len(items)
            values[role] = self.union(role, items, kept, nodes[0].key)
        return self.unique(nodes[0].key, nodes[0].stage, values)

    def union(self, role: str, items: Sequence[Any], kept: Sequence[bool], key: str) -> Any:
        """The argument ``role`` of the common node from those of all collections, or of the ones to keep."""
        if isinstance(items[0], Node) and role not in ("examples", "validation"):
            return self.one(items)
        if isinstance(items[0], Node):
            nodes = self.nodes_of(tuple(items))
            chosen = {name: node for name, node, keep in zip(self.names, nodes, kept, strict=True) if keep}
            return self.unique(f"{key}.{role}", stage_at(MIXED_EXAMPLES), {"examples": chosen})
        if role in UNIONS and not all(one is None for one in items):
            named = zip(self.names, self.named(items), kept, strict=True)
            values: dict[str, Any] = {"parts": {name: one for name, one, keep in named if keep}}
            sampling = {"sampling": self.sampling} if role == "queries" else {}
            return Component(f"collection ({role})", UNIONS[role], values | sampling)
        return combined(dict(zip(self.names, items, strict=True)), f"{key}.{role}")

    def refuse_untrained(self, arguments: Mapping[str, Sequence[Any]]) -> None:
        """Refuse a collection without documents or training queries.

        Raises:
            InputError: there is one; or its files say so.
        """
        for role, what in (("documents", "documents"), ("queries", "training queries")):
            for name, component in zip(self.names, arguments[role], strict=True):
                where = f"The collection {name!r} of the mixture"
                if component is None:
                    raise InputError(f"{where} has no {what}; remove it from collection.collections.")
                if component.readable:
                    try:
                        len(component.instance)
                    except InputError as error:
                        raise InputError(f"{where}: {error}") from error

    def unique(self, key: str, declared: Stage, values: dict[str, Any]) -> Node:
        """The node with these arguments; equal nodes are one object."""
        return self.merged_nodes.setdefault(content_of(declared, values), Node(key, declared, values))


def refuse_equal(listed: Mapping[str, DictConfig]) -> None:
    """Refuse two collections that are configured alike; ``mixed_examples`` finds those that only have equal content.

    Raises:
        InputError: there are two such collections.
    """
    seen: list[tuple[str, Any]] = []
    for name, one in listed.items():
        values = parse_value(one)
        content = [values.get(key) for key in ("documents", "train")]
        if content[1] is not None and (first := next((other for other, its in seen if same([its, content])), None)):
            raise InputError(
                f"collection.collections: {first!r} and {name!r} have the same queries and documents, so they would be "
                "trained on twice; remove one of them."
            )
        seen.append((str(name), content))


def is_training(node: Node) -> bool:
    """Whether a node trains on examples."""
    return "examples" in node.parents and node.values.get("recipe") is not None


def by_role(nodes: Sequence[Node]) -> dict[str, list[Any]]:
    """Name of each argument → its values in all nodes."""
    return {role: [node.values[role] for node in nodes] for role in nodes[0].values}


def same(values: Sequence[Any]) -> bool:
    """Whether values are equal: nodes if they are one object, components by their configuration."""
    contents = [transform(value, identifying) for value in values]
    return all(content == contents[0] for content in contents)


def combined(values: Mapping[str, Any], key: str) -> Any:
    """One value for all collections, such as a recipe; those that are searched in validations are all searched.

    Args:
        values: name of each collection → the value there.
        key: its place in the configuration.

    Raises:
        InputError: they differ.
    """
    items = list(values.values())
    first = items[0]
    if same(items):
        return first
    if all(isinstance(one, Component) and one.values.keys() == first.values.keys() for one in items):
        arguments = {
            name: combined({part: one.values[name] for part, one in values.items()}, f"{key}.{name}")
            for name in first.values
        }
        return replace(first, values=arguments)
    if key.endswith(".collections") and isinstance(first, dict):
        return {name: one for entry in first for name, one in searched(entry, values).items()}
    raise InputError(
        f"{key} differs between the collections of the mixture; expected one value, as one model is trained."
    )


def searched(entry: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The collections that are searched in place of the one called ``entry``: one per collection, if they differ."""
    each = {part: one[entry] for part, one in values.items()}
    if same(list(each.values())):
        return {entry: next(iter(each.values()))}
    return {f"{entry}-{part.replace('/', '-')}": one for part, one in each.items() if one.get("eval") is not None}


def stage_at(target: str) -> Stage:
    """The stage with this dotted name."""
    declared = stage_of(get_object(target))
    assert declared is not None
    return declared
