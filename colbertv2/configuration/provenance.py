"""Find where each value of a composed configuration comes from: the last file or override that set it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from colbertv2.configuration.composition import CONF, EXPERIMENTS, initialized

COMMAND_LINE = "command line"
LONGEST_VALUE = 80  # characters; longer values are cut in a short description


def origins(
    overrides: Sequence[str] = (), config_name: str = "config", directories: Sequence[Path] = (CONF, EXPERIMENTS)
) -> dict[str, str]:
    """The origin of each value, by dotted key: the file (``conf/codec/residual.yaml``) or override that set it last.

    The arguments are those that were given to :func:`~colbertv2.configuration.composition.compose`.

    Args:
        overrides: overrides as on the command line.
        config_name: name of the primary file, without ``.yaml``.
        directories: the directory of that file, then further directories to search for groups.
    """
    return _origins(_order(overrides, config_name, directories), directories)


def describe_changes(
    config: DictConfig,
    overrides: Sequence[str] = (),
    config_name: str = "config",
    directories: Sequence[Path] = (CONF, EXPERIMENTS),
) -> str:
    """List what the command line, and the files it adds (such as those of ``experiments/``), change: one line each.

    The choices of groups come first, then single values. Values that are part of a chosen group are not listed.

    Args:
        config: as from :func:`colbertv2.configuration.composition.compose`.
        overrides: the overrides that ``config`` was composed from.
        config_name: name of the primary file, without ``.yaml``.
        directories: the directory of that file, then further directories to search for groups.

    >>> from colbertv2.configuration.composition import compose
    >>> overrides = ["+budget=two_cores", "codec=residual_1bit"]
    >>> print("\\n".join(describe_changes(compose(overrides), overrides).splitlines()[:3]))
    budget: two_cores  # command line
    codec: residual_1bit  # command line
    search@mining.search: cascade  # experiments/budget/two_cores.yaml
    """
    order = _order(overrides, config_name, directories)
    typed = {override.input_line: COMMAND_LINE for override in order.config_overrides}
    added = {
        f"{default.group}/{choice}"
        for default in order.overrides.append_group_defaults
        for choice in (default.value if isinstance(default.value, list) else [default.value])
    }
    parents = {default.config_path: default.parent for default in order.defaults}
    files = {_file(path, directories) for path in parents if added & {path, *_ancestors(path, parents)}}
    shown = typed | {file: file for file in files}
    choices = _choices(order, config_name, directories)
    lines = [f"{group}: {_flow(choice)}  # {origin}" for group, choice, origin in choices]
    for key, origin in _origins(order, directories).items():
        if origin in shown:
            value = "removed" if origin.startswith("~") else shorten(_flow(_value_at(config, key)))
            lines.append(f"{key}: {value}  # {shown[origin]}")
    return "\n".join(lines)


def shorten(text: str) -> str:
    """Cut a text to ``LONGEST_VALUE`` characters, with an ellipsis at the end.

    >>> shorten("x" * 99)[-3:], shorten("short")
    ('xx…', 'short')
    """
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def describe(config: DictConfig, origins: Mapping[str, str]) -> str:
    """The configuration as YAML, with a comment on each value whose origin differs from that of its surroundings.

    References to single values are resolved. References to mappings and lists are kept, since they would fill pages.
    The pipeline is not shown, unless the command line changes it: see its file and the plan.

    Args:
        config: as from :func:`colbertv2.configuration.composition.compose`.
        origins: the origins of its values, as from :func:`origins`.

    >>> config = OmegaConf.create({"codec": {"dim": 128, "nbits": 1}})
    >>> print(describe(config, {"codec.dim": "conf/codec/residual.yaml", "codec.nbits": "codec.nbits=1"}))
    codec:  # conf/codec/residual.yaml
      dim: 128
      nbits: 1  # codec.nbits=1
    """
    rewired = any(key.startswith("pipeline.") and "=" in origin for key, origin in origins.items())
    names = [str(name) for name in config if name != "pipeline" or rewired]
    lines = [line for name in names for line in _lines(config, name, "", "", origins)]
    if "pipeline" in config and not rewired:
        files = dict.fromkeys(origin for key, origin in origins.items() if key.startswith("pipeline."))
        lines.append(f"pipeline: …  # {', '.join(files)}; its nodes are the plan below")
    return "\n".join(lines)


def _order(overrides: Sequence[str], config_name: str, directories: Sequence[Path]) -> Any:
    """Hydra's defaults list: the files in the order in which they are merged, the choices of groups, the overrides."""
    with initialized(directories) as search_path:
        loader: Any = GlobalHydra.instance().config_loader()
        return loader.compute_defaults_list(config_name, [*search_path, *overrides], RunMode.RUN)


def _choices(order: Any, config_name: str, directories: Sequence[Path]) -> Iterator[tuple[str, Any, str]]:
    """Group, choice and origin of every choice that is not made in the primary file."""
    for default in order.overrides.append_group_defaults:
        yield default.get_override_key(), default.value, COMMAND_LINE
    for group in order.overrides.deletions:
        yield group, "removed", COMMAND_LINE
    for group, choice in order.overrides.override_choices.items():
        made_in = order.overrides.override_metadata[group].containing_config_path
        if made_in != config_name:
            yield group, choice, _file(made_in, directories) if made_in else COMMAND_LINE


def _ancestors(path: str, parents: Mapping[str, str]) -> Iterator[str]:
    """The files whose defaults lists lead to the file at ``path``, nearest first."""
    while path := parents.get(path, ""):
        yield path


def _file(config_path: str, directories: Sequence[Path]) -> str:
    """The path of a file in the defaults list, as ``conf/codec/residual.yaml``; empty for Hydra's own files."""
    path = _path(config_path, directories)
    return f"{path.parents[config_path.count('/')].name}/{config_path}.yaml" if path else ""


def _path(config_path: str, directories: Sequence[Path]) -> Path | None:
    paths = (directory / f"{config_path}.yaml" for directory in directories)
    return next((path for path in paths if path.is_file()), None)


def _origins(order: Any, directories: Sequence[Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for default in order.defaults:
        if path := _path(default.config_path, directories):
            package = "" if default.package in (None, "_global_") else default.package
            content = OmegaConf.to_container(OmegaConf.load(path))
            found.update(dict.fromkeys(_keys(content, package), _file(default.config_path, directories)))
    for override in order.config_overrides:
        if not override.key_or_group.startswith("hydra."):
            found.update({key: override.input_line for key in _keys(override.value(), override.key_or_group)})
    return found


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    flow = yaml.safe_dump([plain], default_flow_style=True, width=float("inf"), allow_unicode=True).strip()
    return flow[1:-1]


def _lines(parent: DictConfig, name: str, prefix: str, around: str, origins: Mapping[str, str]) -> Iterator[str]:
    key = f"{prefix}.{name}" if prefix else name
    origin = _origin(key, origins) or around
    comment = f"  # {origin}" if origin != around else ""
    indent = "  " * key.count(".")
    value = _value(parent, name)
    if isinstance(value, DictConfig) and value:
        yield f"{indent}{name}:{comment}"
        for child in value:
            yield from _lines(value, str(child), key, origin, origins)
    else:
        yield f"{indent}{name}: {_flow(value)}{comment}"


def _origin(key: str, origins: Mapping[str, str]) -> str | None:
    """The origin of the value at ``key``; for a mapping, that of most values directly in it, or else of all below."""
    below = {leaf: origin for leaf, origin in origins.items() if leaf.startswith(f"{key}.")}
    direct = Counter(origin for leaf, origin in below.items() if "." not in leaf[len(key) + 1 :])
    if key in origins and not below:
        return origins[key]
    if direct:
        return direct.most_common(1)[0][0]
    return next(iter(below.values())) if len(set(below.values())) == 1 else None


def _value_at(config: DictConfig, key: str) -> Any:
    above, _, name = key.rpartition(".")
    parent = OmegaConf.select(config, above) if above else config
    return _value(parent, name)


def _value(parent: DictConfig, name: str) -> Any:
    written = OmegaConf.to_container(parent, resolve=False)[name]  # type: ignore[index, call-overload]
    try:
        value = parent[name]
    except OmegaConfBaseException:  # missing, or a broken reference: building will report it
        return written
    return written if OmegaConf.is_interpolation(parent, name) and OmegaConf.is_config(value) else value


def _keys(value: Any, prefix: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            if prefix or name not in ("defaults", "hydra"):
                yield from _keys(item, f"{prefix}.{name}" if prefix else str(name))
    elif prefix:
        yield prefix
