"""The node that ``target`` names; with a suite, the node that brings its evaluations on all collections together."""

import copy
from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from colbertv2.artifacts.node import Component, Node, leaves
from colbertv2.artifacts.reader import parse, parse_value
from colbertv2.artifacts.validate import suggestion
from colbertv2.configuration.mixture import MixtureReader, is_mixture, one_by_one, stage_at
from colbertv2.errors import InputError, Unavailable

SUITE = "colbertv2.stages.suite.run"
UNDEFINED = "colbertv2.evaluation.protocols.undefined"
OWN = "ColBERT"  # the row of the target
BASELINES = {"BM25": "bm25_metrics", "single vector": "single_vector_metrics"}
EVALUATED = "evaluated"  # the key whose value differs from collection to collection


def value_at(config: DictConfig, key: str) -> Any:
    """The value at a dotted key; ``None`` if there is none.

    Raises:
        InputError: the value is a reference that can't be resolved.
    """
    try:
        return OmegaConf.select(config, key)
    except (OmegaConfBaseException, RecursionError) as error:
        raise InputError(f"{key}: {str(error).splitlines()[0]}") from error


def target_node(config: DictConfig, failed: Mapping[str, str] | None = None) -> Node:
    """The node that ``target`` names, as a dotted key of ``pipeline``; with a suite, :func:`suite_node`.

    Args:
        config: the composed configuration.
        failed: collections of the suite whose evaluation failed, with the reason; they are left out.

    Raises:
        InputError: ``pipeline`` has no such node, or the suite can't be evaluated.
    """
    if value_at(config, "suite.listed"):
        return suite_node(config, failed or {})
    if value_at(config, f"{EVALUATED}.name") == "none":
        raise InputError("collection=none has nothing to evaluate on; choose a suite, such as suite=embedded.")
    if is_mixture(config):
        return mixture_node(config, failed or {})
    return parse(configuration_of(config, value_at(config, "target")))


def mixture_node(config: DictConfig, failed: Mapping[str, str]) -> Node:
    """The target of a mixture without a suite: a training, or the evaluations on the collections of the mixture.

    Raises:
        InputError: see :func:`target_node`; or the target is neither, so there is one for each collection.
    """
    target = value_at(config, "target")
    found = read_target(config, target, MixtureReader("", config))
    if not isinstance(found[0], Node):
        _, first = next(one_by_one(config))
        return parse(configuration_of(first, target))  # which says what it is instead
    if all(node is found[0] for node in found):
        return found[0]
    if found[0].stage.measures is None and found[0].stage.name != "table":
        raise InputError(
            f"target={target}: a mixture has such a node for each of its collections. Expected a training or an "
            f"evaluation; for this node, train on one of {', '.join(config.collection.listed)} alone."
        )
    own = {name: one for name, one in config.collection.listed.items() if one.get("eval") is not None}
    if not own:
        raise InputError("No collection of the mixture has test queries; choose a suite, or a training as the target.")
    changed = config.copy()
    with open_dict(changed):
        changed.suite.listed = own
        changed.suite.name = config.suite.name or "its collections"
    return suite_node(changed, failed)


def without_lists(config: DictConfig) -> DictConfig:
    """A copy of ``config`` without the listed collections of its suite, which a pipeline does not read."""
    suite = config.suite.copy()
    with open_dict(suite):
        suite.listed = None
    shallow = copy.copy(config)
    with open_dict(shallow):
        shallow.suite = suite
    return copy.deepcopy(shallow)


def read_target(config: DictConfig, target: Any, reader: MixtureReader) -> list[Any]:
    """The node of the pipeline that is called ``target``; with a mixture, the one of each of its collections.

    Raises:
        InputError: the pipeline has no such node; or a collection can't be trained on.
    """
    if not is_mixture(config):
        return [reader.read(configuration_of(config, target))]
    return reader.merged([reader.read(configuration_of(one, target)) for _, one in one_by_one(config)])


def configuration_of(config: DictConfig, target: Any) -> DictConfig:
    """The configuration of a node of the pipeline.

    Raises:
        InputError: the pipeline has no such node.
    """
    if not isinstance(target, str):
        raise InputError(f"target is {type(target).__name__}; expected the name of a node, such as metrics.")
    found, pipeline = value_at(config, f"pipeline.{target}"), value_at(config, "pipeline")
    if not isinstance(found, DictConfig):
        known = [str(name) for name in pipeline] if isinstance(pipeline, DictConfig) else []
        raise InputError(f"target: the pipeline has no node {target!r}{suggestion(target, known)}")
    return found


def suite_node(config: DictConfig, failed: Mapping[str, str]) -> Node:
    """The node that brings the evaluations of ``target`` on all collections of the suite together.

    The pipeline is read once for each collection, with ``evaluated`` set to it. What does not depend on it, such as the
    trainings, is the same node for all. A target that does not depend on it at all is returned as it is.

    Raises:
        InputError: a collection can't be evaluated for another reason than that its files are not here, or none can;
            or the target is no evaluation.
    """
    missing: dict[str, str] = {}
    measures: dict[str, str] = {}
    evaluations: dict[str, dict[str, Node]] = {}
    first = evaluated_on(config, next(iter(config.suite.listed.values())))
    alone = read_target(first, config.target, MixtureReader(EVALUATED, config))
    if isinstance(alone[0], Node) and all(node is alone[0] for node in alone) and not is_evaluated(alone[0]):
        return alone[0]
    reader = MixtureReader(EVALUATED, config)
    for name, one in config.suite.listed.items():
        if (reason := failed.get(name) or unavailable(name, one)) is not None:
            missing[name] = " ".join(reason.split())
            continue
        on_it = evaluated_on(config, one)
        reader.label = str(name)
        measures[name] = on_it.measures[0]
        for row, node in rows_of(on_it, reader).items():
            evaluations.setdefault(row, {})[name] = node
    if not evaluations:
        listed = "\n".join(f"  {name}: {reason}" for name, reason in missing.items())
        raise InputError(f"No collection of the suite can be evaluated:\n{listed}")
    chosen = config.suite.name or f"{len(config.suite.listed)} collections"
    values = {
        "evaluations": evaluations,
        "measures": measures,
        "missing": missing,
        "baseline": baseline_of(config, reader) or next(reversed(evaluations)),
        "title": chosen if config.collection.name == "none" else f"{config.collection.name} → {chosen}",
        "notes": OmegaConf.to_container(config.notes, resolve=True),
        "seed": config.seed,
    }
    return Node("suite", stage_at(SUITE), values)


def is_evaluated(node: Node) -> bool:
    """Whether a node reads what is evaluated on, itself or upstream."""
    read = (leaf for step in node.lineage() for _, leaf in leaves(step.values))
    return any(isinstance(leaf, Component) and leaf.key.startswith(f"{EVALUATED}.") for leaf in read)


def evaluated_on(config: DictConfig, collection: DictConfig) -> DictConfig:
    """A copy of ``config`` that evaluates on ``collection``.

    The measure that leads there comes first, and those that its protocol does not define are left out.

    Raises:
        InputError: its protocol defines none of the measures.
    """
    changed = without_lists(config)
    leading = [own] if (own := collection.get("measure") or config.suite.measure) else []
    wanted = list(dict.fromkeys([*leading, *config.measures]))
    lacking = get_object(UNDEFINED)(OmegaConf.select(collection, "eval.protocol") or "trec", wanted)
    if not (known := [name for name in wanted if name not in lacking]):
        raise InputError(f"The protocol of {collection.name} defines none of {', '.join(wanted)}; give others.")
    with open_dict(changed):
        changed[EVALUATED] = collection
        changed.measures = known
    return changed


def on_one_collection(config: DictConfig) -> DictConfig:
    """The configuration whose target is the evaluation on the only collection of the suite, without the suite's tables.

    The collection may be one whose files are not here. A configuration without a suite is returned as it is.

    Raises:
        InputError: the suite has several collections.
    """
    listed = value_at(config, "suite.listed")
    if not listed:
        return config
    if len(listed) > 1:
        raise InputError(f"suite.collections: expected one collection; found {', '.join(listed)}.")
    changed = evaluated_on(config, *listed.values())
    with open_dict(changed):
        changed.suite.listed = None
    return changed


def rows_of(config: DictConfig, reader: MixtureReader) -> dict[str, Node]:
    """The evaluations that become rows: baselines if wanted, further systems, and the target or the rows of a table."""
    wanted = {**(BASELINES if config.suite.baselines else {}), **config.suite.systems}
    found = {row: read_target(config, target, reader)[0] for row, target in wanted.items()}
    target = read_target(config, config.target, reader)[0]
    own = target.values.get("systems") if isinstance(target, Node) and target.stage.name == "table" else {OWN: target}
    rows = {**found, **own} if isinstance(own, dict) else found
    for row, node in rows.items():
        if not isinstance(node, Node) or node.stage.measures is None:
            raise InputError(
                f"target={config.target} can't be evaluated on a suite: {row!r} is no evaluation. Use target=metrics, "
                "another node that evaluates, or a table."
            )
    return rows


def baseline_of(config: DictConfig, reader: MixtureReader) -> str | None:
    """The row that the others are compared with, if the target is a table that names one."""
    target = configuration_of(config, config.target)
    return str(target.baseline) if "systems" in target and "baseline" in target else None


def unavailable(name: str, collection: DictConfig) -> str | None:
    """Why the files of a collection can't be had; None if they are here.

    Raises:
        InputError: anything else is wrong with the collection, such as that it has no judgements.
    """
    where = f"The suite's collection {name!r}"
    for key in ("documents", "eval"):
        if (component := parse_value(value_at(collection, key))) is None:
            raise InputError(f"{where} has no {'test queries' if key == 'eval' else key}, so nothing can be evaluated.")
        if not isinstance(component, Component) or not component.readable:
            continue  # the validation of the complete graph says what is wrong
        try:
            identity = component.instance.identity()
            if key == "eval" and not identity.get("queries"):
                raise InputError("it has no queries.")
        except Unavailable as error:
            return str(error)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    return None


def members(node: Node) -> dict[str, dict[str, Node]]:
    """The evaluations of a suite's node, collection → row → node; empty for any other node."""
    if node.stage.name != "suite" or node.stage.outside:
        return {}
    found: dict[str, dict[str, Node]] = {}
    for row, evaluations in node.values["evaluations"].items():
        for name, evaluation in evaluations.items():
            found.setdefault(name, {})[row] = evaluation
    return found
