"""One row of a table, run as far as data, weights and hardware allow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ir_datasets
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.build import BuildError, build_node
from colbertv2.artifacts.node import Component, Node, Unreadable, leaves
from colbertv2.configuration.composition import compose, runtime_of, target_node
from colbertv2.data.collection import Collection
from colbertv2.data.file import File
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import index_statistics, measures_of, summary
from colbertv2.files import read_json
from colbertv2.modeling.backbone import Backbone
from colbertv2.reproduction.cost import EncodingCost
from colbertv2.reproduction.experiment import GROUP, Experiment, Row
from colbertv2.reproduction.manifest import describe
from colbertv2.reproduction.scale import merged, small

FROM_OUTSIDE = (Collection, Queries, File, Backbone)
ENCODING = ("encode", "single_vector")  # stages
PLACES = ("collection.path=", "collection.ids=", "model.backbone.name=", "runtime")  # which change no method


@dataclass(frozen=True)
class Measurement:
    """What came of a row.

    Args:
        values: all that its artifact has, by measure.
        reason: why there are none. failed: whether that is an error, and not for want of data or hardware.
        small: whether it was run small. changed: overrides of the command line that make it another experiment.
        manifest: how the values came about.
    """

    values: Mapping[str, float]
    reason: str = ""
    failed: bool = False
    small: bool = False
    changed: Sequence[str] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def comparable(self) -> bool:
        """Whether it is the published experiment that was run."""
        return not (self.small or self.changed)


def measure(table: Experiment, row: Row, overrides: Sequence[str], scale: str, hours: float) -> Measurement:
    """Build what ``row`` asks for, or say why not.

    Args:
        overrides: of the command line, after the row's own.
        scale: ``full``, or ``small``: a sample, a few steps, short texts.
        hours: of encoding on this machine that a row may take.
    """
    if row.not_run:
        return Measurement({}, reason=row.not_run)
    try:
        words, config = configured(table, row, overrides)
        encoded = any(one.stage.name in ENCODING for one in target_node(config).lineage())
        cost = EncodingCost(row.passages if encoded else 0, row.tokens, table.parameters)
        too_much = cost.too_much(runtime_of(config), hours)
        if scale == "small":
            words, config = shrunk(words, config, at_hand=not too_much)
        elif too_much:
            return Measurement({}, reason=too_much)
        node, runtime = target_node(config), runtime_of(config)
        if missing := list(dict.fromkeys(unavailable(node))):
            reason = f"{' '.join(missing)} With these it takes {cost}."
            return Measurement({}, reason=anywhere(reason), failed=scale == "small")
        artifact = build_node(node, runtime)
        manifest = describe(words, node, artifact, runtime)
    except (InputError, BuildError, HydraException, OSError) as error:
        return Measurement({}, reason=str(error), failed=True)
    changed = [word for word in overrides if not word.startswith(PLACES)]
    return Measurement(quantities(node, artifact), small=scale == "small", changed=changed, manifest=manifest)


def anywhere(text: str) -> str:
    """A message without the places of this machine, for a table that others read."""
    places = {str(ir_datasets.util.home_path()): "$IR_DATASETS_HOME", str(Path.home()): "~"}
    for place, name in places.items():
        text = text.replace(place, name)
    return text


def configured(table: Experiment, row: Row, overrides: Sequence[str]) -> tuple[list[str], DictConfig]:
    """The command line of a row, and the configuration that it gives."""
    words = merged([f"+{GROUP}={table.name}", f"target={row.of}", *row.overrides, *overrides])
    return words, compose(words)


def shrunk(words: Sequence[str], config: DictConfig, at_hand: bool) -> tuple[list[str], DictConfig]:
    """The same of a small run; see ``small``."""
    words = small(config, words, at_hand)
    return words, compose(words)


def unavailable(node: Node) -> Iterator[str]:
    """What of the outside world a node and its ancestors need and can't have: data, weights, files nobody named."""
    for one in node.lineage():
        yield from lacking(one.values)


def lacking(values: Any) -> Iterator[str]:
    """The same of nested values; components in others' arguments count."""
    for _, leaf in leaves(values):
        if isinstance(leaf, Unreadable):
            yield f"{leaf.key}: {leaf.problem}"
        elif isinstance(leaf, Component):
            inner = list(lacking(leaf.values))
            yield from inner
            if not inner and get_object(leaf.target) in FROM_OUTSIDE:
                try:
                    _ = leaf.identity
                except InputError as error:
                    yield str(error)


def quantities(node: Node, artifact: Artifact) -> dict[str, float]:
    """All numbers of an artifact: of an evaluation its measures, costs and the index's, else ``metrics.json``."""
    if not measures_of(node):
        return read_json(artifact.path / "metrics.json")
    held = index_statistics(artifact.parents["ranking"])
    return {**{name: value for name, value in held.items() if isinstance(value, int | float)}, **summary(artifact)}
