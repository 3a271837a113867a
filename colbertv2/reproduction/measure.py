"""Measure one row of a table, as far as data, weights and hardware allow.

A row is run in full or small. A small run uses a sample of the row's collection if that is available, else of the
embedded one. A measured value comes with a manifest of its origin: command, machine, all stages with their arguments
and the hashes of their inputs, and the share of texts that were truncated.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ir_datasets
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.build import BuildError, build_node
from colbertv2.artifacts.node import Component, Node, Unreadable, leaves
from colbertv2.artifacts.process import device_name
from colbertv2.configuration.composition import compose, runtime_of, target_node
from colbertv2.configuration.points import as_mapping
from colbertv2.configuration.targets import on_one_collection
from colbertv2.data.collection import Collection, sampled
from colbertv2.data.file import File
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import index_statistics, measures_of, summary
from colbertv2.files import read_json
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.initial import document_length, tokenizer_of
from colbertv2.modeling.tokenizer import Tokenizer
from colbertv2.reproduction.experiment import GROUP, EncodingCost, Experiment, Row
from colbertv2.runtime import Runtime

RECORDED = ("address", "commit", "dirty", "versions", "device", "created", "seconds")
OF_THIS_MACHINE = ("runtime.root", "runtime.progress", "runtime.wandb", "logger")  # overrides that change no result
SMALL_DOCUMENTS, SMALL_QUERIES = 120, 16  # size of the sample in a small run
EMBEDDED = "stdlib-small/test"
SMALL_CHOICES = ("model=minilm",)
SMALL_SETTINGS = {  # set if a configuration has the key
    "document_maxlen": 64,
    "model.tokenization.document_maxlen": 64,
    "model.tokenization.query_maxlen": 32,
    "kmeans_iterations": 2,
    "mining.depth": 20,
    "mining.score_depth": 4,
    "mining.score_queries": 8,
    "mining.dev_depth": 4,
    "runtime.latency_queries": 5,
    "pipeline.centroid_analysis.sample_vectors": 4096,
}
SMALL_TRAINING = {  # set for each training of a configuration
    "n_way": 3,
    "batch_size": 4,
    "in_batch_groups": 1,
    "precision": "32-true",
    "validation_queries": 4,
    "validation_interval": 2,
    "optimization.steps": 2,
    "optimization.warmup_steps": 0,
}
FROM_OUTSIDE = (Collection, Queries, File, Backbone)
ENCODING = ("encode", "single_vector")  # stages that encode documents
PLACES = ("collection.path=", "collection.ids=", "model.backbone.name=", "runtime")  # overrides that name only places


def manifest_of(words: Sequence[str], node: Node, artifact: Artifact, runtime: Runtime) -> dict[str, Any]:
    """The manifest of one row; engine, codec, lengths and seeds are among the arguments of its stages.

    Args:
        words: the arguments of ``python -m colbertv2`` that build ``artifact``.
        node: the node that was evaluated.
        artifact: what was built for it.
        runtime: the machine.
    """
    return {
        "command": shlex.join(["python", "-m", "colbertv2", *portable(words)]),
        "machine": device_name(runtime),
        "stages": {one.address: one.identity["arguments"] for one in node.lineage()},
        "truncated": {one.address: share for one in node.lineage() for share in truncated(one)},
        "artifacts": [{name: one.record.get(name) for name in RECORDED} for one in artifact.lineage()],
    }


def portable(words: Sequence[str]) -> list[str]:
    """The words of a command line without those that only matter on this machine."""
    return [word for word in words if not word.startswith(OF_THIS_MACHINE)]


def truncated(node: Node) -> list[dict[str, float]]:
    """The share of texts that a stage truncates, estimated from a sample; an empty list if it encodes none."""
    try:
        untrained = node.ancestor("checkpoint")
        while "checkpoint" in untrained.parents:
            untrained = untrained.parents["checkpoint"]
        tokenizer = tokenizer_of(untrained.bound["backbone"], untrained.bound["tokenization"])
    except InputError:
        return []
    tokenization, bound = tokenizer.tokenization, node.bound
    if node.stage.name == "encode":
        maxlen = document_length(node) or tokenization.document_maxlen
        return [{"documents": share_cut(tokenizer, bound["documents"], maxlen, tokenization.document_marker)}]
    if node.stage.name in ("search", "pools", "rerank"):
        maxlen = bound["queries"].maxlen or tokenization.query_maxlen
        return [{"queries": share_cut(tokenizer, bound["queries"], maxlen, tokenization.query_marker)}]
    return []


def share_cut(tokenizer: Tokenizer, texts: Any, maxlen: int, marker: str | None) -> float:
    """The share of texts, in a sample of ``texts``, with more tokens than fit into ``maxlen`` with the marker."""
    rows = tokenizer.tokenizer([text for _, text in sampled(texts, texts)])["input_ids"]
    return round(sum(len(row) > maxlen - (marker is not None) for row in rows) / max(1, len(rows)), 4)


def overrides_of_small(config: DictConfig, overrides: Sequence[str], at_hand: bool) -> list[str]:
    """The overrides of a small run.

    The queries of the sample are used for training, too: a small run shows that all parts work, not how good they are.

    Args:
        config: the configuration of the full run.
        overrides: the overrides of the full run.
        at_hand: whether the collection may be read; if not, the embedded one is used and nothing is downloaded.
    """
    sample = f"sample:{SMALL_DOCUMENTS}:{SMALL_QUERIES}:{(at_hand and source_of(config)) or EMBEDDED}"
    chosen: dict[str, object] = {}
    if config.suite.collections:
        chosen["suite.collections"] = f"[{sample}]"
    else:
        chosen |= {"collection.documents.id": sample, "collection.eval.id": sample}
        if "ids" in config.collection.eval:
            chosen["collection.eval.ids"] = "null"
    for part in ("train", "dev"):
        if config.collection.get(part) is not None:
            chosen |= {f"collection.{part}.id": sample, f"collection.{part}.part": "null"}
            chosen[f"collection.{part}.dev_fraction"] = 0.0
    chosen |= {key: value for key, value in SMALL_SETTINGS.items() if OmegaConf.select(config, key) is not None}
    for role in config.get("training", {}):
        keys = {f"training.{role}.{key}": value for key, value in SMALL_TRAINING.items()}
        chosen |= {key: value for key, value in keys.items() if OmegaConf.select(config, key) is not None}
    kept = [word for word in overrides if not word.startswith("model.")]  # the small run has another model
    return merged([*kept, *SMALL_CHOICES, *(f"{key}={value}" for key, value in chosen.items())])


def source_of(config: DictConfig) -> str | None:
    """The id of the evaluated collection if it has judgements to draw a sample by (DPR's questions have none)."""
    try:
        return str(config.evaluated.eval.id) if Queries(config.evaluated.eval.id).judgements else None
    except (InputError, OmegaConfBaseException):  # for example, a path is not set
        return None


def merged(overrides: Sequence[str]) -> list[str]:
    """The overrides with each key once, with its last value: Hydra refuses a group that is chosen twice.

    >>> merged(["model=colbertv2", "codec.nbits=1", "model=minilm"])
    ['model=minilm', 'codec.nbits=1']
    """
    return [f"{key}={value}" if value else key for key, value in as_mapping(overrides).items()]


@dataclass(frozen=True)
class Measurement:
    """The result of a row.

    Args:
        values: measure → value, for all numbers of the artifact.
        reason: why there are no values; empty if there are.
        failed: whether the reason is an error, rather than missing data or hardware.
        small: whether the run was small.
        changed: overrides of the command line that make it another experiment.
        manifest: the origin of the values (:func:`manifest_of`).
    """

    values: Mapping[str, float]
    reason: str = ""
    failed: bool = False
    small: bool = False
    changed: Sequence[str] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def comparable(self) -> bool:
        """Whether the published experiment was run in full and unchanged."""
        return not (self.small or self.changed)


def measure(table: Experiment, row: Row, overrides: Sequence[str], scale: str, hours: float) -> Measurement:
    """Build the artifact of ``row`` and read its values, or say why that is not possible.

    Args:
        table: the table of the row.
        row: the row to measure.
        overrides: overrides of the command line, which are applied after the row's own.
        scale: ``full``, or ``small``: a sample, a few training steps, short texts.
        hours: maximum time for encoding on this machine.
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
            return Measurement({}, reason=without_places(reason), failed=scale == "small")
        artifact = build_node(node, runtime)
        manifest = manifest_of(words, node, artifact, runtime)
    except (InputError, BuildError, HydraException, OSError) as error:
        return Measurement({}, reason=str(error), failed=True)
    changed = [word for word in overrides if not word.startswith(PLACES)]
    return Measurement(quantities(node, artifact), small=scale == "small", changed=changed, manifest=manifest)


def without_places(text: str) -> str:
    """A message with the directories of this machine replaced by placeholders, for a table that others read."""
    places = {str(ir_datasets.util.home_path()): "$IR_DATASETS_HOME", str(Path.home()): "~"}
    for place, name in places.items():
        text = text.replace(place, name)
    return text


def configured(table: Experiment, row: Row, overrides: Sequence[str]) -> tuple[list[str], DictConfig]:
    """The overrides of a row, and the configuration they compose."""
    words = merged([f"+{GROUP}={table.name}", f"target={row.of}", *row.overrides, *overrides])
    return words, on_one_collection(compose(words))


def shrunk(words: Sequence[str], config: DictConfig, at_hand: bool) -> tuple[list[str], DictConfig]:
    """The overrides of a small run, and the configuration they compose; see :func:`overrides_of_small`."""
    words = overrides_of_small(config, words, at_hand)
    return words, on_one_collection(compose(words))


def unavailable(node: Node) -> Iterator[str]:
    """Yield a sentence for each unavailable collection, model or file that a node or its ancestors need."""
    for one in node.lineage():
        yield from lacking(one.values)


def lacking(values: Any) -> Iterator[str]:
    """Like :func:`unavailable`, for nested values, including components in the arguments of other components."""
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
    """All numbers of an artifact: measures, costs and index sizes of an evaluation; otherwise its ``metrics.json``."""
    if not measures_of(node):
        return read_json(artifact.file("metrics.json"))
    held = index_statistics(artifact.parents["ranking"])
    return {name: value for name, value in {**held, **summary(artifact)}.items() if isinstance(value, int | float)}
