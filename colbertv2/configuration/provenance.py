"""Where each value of a composed configuration comes from: the last file or override that set it."""

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


def origins(
    overrides: Sequence[str] = (), config_name: str = "config", directories: Sequence[Path] = (CONF, EXPERIMENTS)
) -> dict[str, str]:
    """For every value by dotted key, what set it last: a file (``conf/codec/residual.yaml``) or an override.

    Args:
        overrides: of the configuration in question, as for ``compose``; so are the others.
        config_name: primary file, without ``.yaml``.
        directories: where that file lies, then further places to look for groups.
    """
    with initialized(directories) as search_path:
        loader = GlobalHydra.instance().config_loader()
        order: Any = loader.compute_defaults_list(config_name, [*search_path, *overrides], RunMode.RUN)
    found: dict[str, str] = {}
    for default in order.defaults:
        name = f"{default.config_path}.yaml"
        if directory := next((place for place in directories if (place / name).is_file()), None):
            package = "" if default.package in (None, "_global_") else default.package
            content = OmegaConf.to_container(OmegaConf.load(directory / name))
            found.update({key: f"{directory.name}/{name}" for key in _keys(content, package)})
    for override in order.config_overrides:
        found.update({key: override.input_line for key in _keys(override.value(), override.key_or_group)})
    return found


def describe(config: DictConfig, origins: Mapping[str, str]) -> str:
    """The configuration as YAML, with a comment wherever a value comes from elsewhere than what surrounds it.

    References to single values are resolved; those to mappings and lists stay, since inlined they would fill pages.
    The pipeline is left to its file and to the plan, unless the command line rewired it.

    Args:
        config: as from :func:`colbertv2.configuration.composition.compose`.
        origins: of the same configuration, as from :func:`origins`.

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
        plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        flow = yaml.safe_dump([plain], default_flow_style=True, width=float("inf"), allow_unicode=True).strip()
        yield f"{indent}{name}: {flow[1:-1]}{comment}"


def _origin(key: str, origins: Mapping[str, str]) -> str | None:
    """Where the value at ``key`` comes from, or most values directly below it, or else all that is below it."""
    below = {leaf: origin for leaf, origin in origins.items() if leaf.startswith(f"{key}.")}
    direct = Counter(origin for leaf, origin in below.items() if "." not in leaf[len(key) + 1 :])
    if key in origins and not below:
        return origins[key]
    if direct:
        return direct.most_common(1)[0][0]
    return next(iter(below.values())) if len(set(below.values())) == 1 else None


def _value(parent: DictConfig, name: str) -> Any:
    written = OmegaConf.to_container(parent, resolve=False)[name]  # type: ignore[index, call-overload]
    try:
        value = parent[name]
    except OmegaConfBaseException:  # missing, or a reference to nothing: building will say so
        return written
    return written if OmegaConf.is_interpolation(parent, name) and OmegaConf.is_config(value) else value


def _keys(value: Any, prefix: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            if prefix or name not in ("defaults", "hydra"):
                yield from _keys(item, f"{prefix}.{name}" if prefix else str(name))
    elif prefix:
        yield prefix
