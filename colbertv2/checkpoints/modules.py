"""Files that PyLate's layout and that of sentence-transformers share: ``modules.json``, prompts and dense layers."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from colbertv2.checkpoints.checkpoint import CARRIED, Checkpoint, contiguous, read_tensors, typed
from colbertv2.checkpoints.projection import ACTIVATIONS, Dense
from colbertv2.errors import InputError
from colbertv2.files import read_json, read_json_value, write_json

MODULES, SETTINGS, TRANSFORMER = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
KEPT = {"settings": dict, "transformer": dict, "mask": dict, "modules": list, "dense": list}
DENSE_KEYS = {
    "in_features", "out_features", "bias", "activation_function", "use_residual", "module_input_name",
    "module_output_name",
}  # fmt: skip
STATES = "token_embeddings"  # what sentence-transformers calls the vectors of all tokens
ACTIVATION_NAME = re.compile(r"torch\.nn\.(?:modules\.(?:\w+\.)?)?(\w+)")
TASKS = ("query", "document")  # also the names of their prompts


class Module(NamedTuple):
    """A module of ``modules.json``: the name of its class, and its directory."""

    kind: str
    path: str


def listed_modules(file: Path) -> list[Module]:
    """Return the modules of a ``modules.json``, in the order in which they are applied.

    Raises:
        InputError: the file is damaged, or a module's directory is outside the checkpoint.
    """
    modules = read_json_value(file)
    try:
        found = [Module(module["type"].rsplit(".", 1)[-1], module["path"]) for module in modules]
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{file} is damaged ({error!r}); expected a list of modules with type and path.") from None
    for module in found:
        if not isinstance(module.path, str) or (module.path and Path(module.path).name != module.path):
            raise InputError(f"{file} names the path {module.path!r}; expected a directory beside it.")
    return found


def read_dense(directory: Path) -> Dense:
    """Read a dense layer of PyLate or sentence-transformers.

    Raises:
        InputError: a key or an activation is not known here, it reads something else than token vectors, tensors are
            missing or too many, or their sizes differ from the configuration.
    """
    file = directory / "config.json"
    layer = read_json(file)
    if unknown := sorted(layer.keys() - DENSE_KEYS):
        raise InputError(f"{file} has the unknown key {unknown[0]!r}, which could change the vectors; it is not read.")
    for key in ("module_input_name", "module_output_name"):
        if layer.get(key) not in (None, STATES):
            raise InputError(
                f"{file}: {key} is {layer[key]!r}; expected {STATES!r}, as the layer is for token vectors."
            )
    tensors = read_tensors(directory)
    bias, adds = typed(layer, "bias", bool, True, file), typed(layer, "use_residual", bool, False, file)
    rows, columns = layer.get("out_features"), layer.get("in_features")
    expected = {"linear.weight", *(["linear.bias"] if bias else ())}
    expected |= {"residual.weight"} if adds and rows != columns else set()
    if tensors.keys() != expected:
        raise InputError(f"{directory} contains {sorted(tensors)}; its config.json expects {sorted(expected)}.")
    if list(tensors["linear.weight"].shape) != [rows, columns]:
        raise InputError(
            f"{file} says {rows} × {columns}, but linear.weight is {list(tensors['linear.weight'].shape)}."
        )
    return Dense(
        tensors["linear.weight"],
        tensors.get("linear.bias"),
        activation_of(typed(layer, "activation_function", str, "missing", file), file),
        adds,
        tensors.get("residual.weight"),
    )


def activation_of(name: str, file: Path) -> str:
    """Return the class name of an activation; ``file`` is for the message.

    Raises:
        InputError: it is not one of torch.nn that is known here.
    """
    found = ACTIVATION_NAME.fullmatch(name)
    if not found or found[1] not in ACTIVATIONS:
        raise InputError(
            f"{file}: activation_function is {name!r}; expected torch.nn.Identity or another of torch.nn: "
            f"{', '.join(ACTIVATIONS)}. No name from a file is imported."
        )
    return found[1]


def write_dense(layer: Dense, directory: Path, earlier: Mapping[str, Any]) -> None:
    """Write a dense layer to the new ``directory``.

    Args:
        layer: the layer.
        directory: where to write it.
        earlier: its configuration as it was read; its way to write the same settings is kept.

    Raises:
        InputError: the layer has a gate.
    """
    from safetensors.torch import save_file

    if layer.gate is not None:
        raise InputError(
            f"The projection has a gated layer (GLU), {layer}, which the Dense layers of PyLate and "
            "sentence-transformers can't express. Use the layout colbertv2."
        )
    directory.mkdir()
    config = dict(earlier)
    name = config.get("activation_function")
    if not isinstance(name, str) or not (found := ACTIVATION_NAME.fullmatch(name)) or found[1] != layer.activation:
        module = "linear" if layer.activation == "Identity" else "activation"
        config["activation_function"] = f"torch.nn.modules.{module}.{layer.activation}"
    if layer.add_input != bool(config.get("use_residual")):
        config["use_residual"] = layer.add_input
    config |= {"bias": layer.bias is not None, "in_features": layer.inputs, "out_features": layer.outputs}
    save_file(contiguous(layer.tensors().items()), directory / "model.safetensors")
    write_json(directory / "config.json", config)


def read_prompts(settings: Mapping[str, Any], file: Path) -> dict[str, str]:
    """Return the prompts named ``query`` and ``document``, which stand before these texts; empty without them.

    ``encode_query`` and ``encode_document`` of sentence-transformers 6 use only these. Other prompts, the default one
    too, are used by callers that name them.

    Args:
        settings: the content of ``config_sentence_transformers.json``.
        file: its path, for messages.

    Raises:
        InputError: a prompt is no text, or the default prompt does not exist.
    """
    prompts = typed(settings, "prompts", dict, {}, file)
    for name, prompt in prompts.items():
        if not isinstance(prompt, str | None):
            raise InputError(f"{file}: the prompt {name!r} is {prompt!r}; expected a text.")
    default = typed(settings, "default_prompt_name", str, None, file)
    if default is not None and default not in prompts:
        raise InputError(
            f"{file}: default_prompt_name is {default!r}; expected null or one of: {', '.join(prompts) or 'none'}."
        )
    return {task: prompts.get(task) or "" for task in TASKS}


def listed_prompts(directory: Path) -> dict[str, str]:
    """Return all prompts that are not empty of a model of sentence-transformers, by name; ``{}`` for other models.

    Raises:
        InputError: a prompt is no text, or the default prompt does not exist.
    """
    file = directory / SETTINGS
    if not file.is_file():
        return {}
    settings = read_json(file)
    read_prompts(settings, file)  # refuses what is no prompt
    return {name: prompt for name, prompt in (settings.get("prompts") or {}).items() if prompt}


def write_prompts(settings: dict[str, Any], wanted: Mapping[str, str], file: Path) -> None:
    """Change the prompts of ``settings`` such that :func:`read_prompts` returns ``wanted``; others are kept."""
    if read_prompts(settings, file) != wanted:
        settings["prompts"] = {**(settings.get("prompts") or {}), **wanted}


def skiplist_words(values: Mapping[str, Any], default: Sequence[str], file: Path) -> list[str]:
    """Return the words of ``skiplist_words``, whose tokens in documents are not scored.

    Raises:
        InputError: they are no list of words.
    """
    words = typed(values, "skiplist_words", list, list(default), file)
    if not all(isinstance(word, str) for word in words):
        raise InputError(f"{file}: skiplist_words is {words!r}; expected a list of words.")
    return words


def refuse_unknown(values: Mapping[str, Any], known: Collection[str], file: Path) -> None:
    """Raise InputError for a key of a settings file that is not understood, unless its value is empty or false."""
    if unknown := sorted(key for key in values if key not in known and values[key]):
        raise InputError(
            f"{file} has the key {unknown[0]!r}, which is not understood and could change the vectors. If it does not, "
            "remove it from the file."
        )


def earlier_settings(checkpoint: Checkpoint, layout: str) -> dict[str, Any]:
    """Return a copy of what an earlier conversion kept of ``layout``; empty if the checkpoint never had it.

    Raises:
        InputError: a value has another type than the conversion wrote.
    """
    found = copy.deepcopy(checkpoint.settings.get(layout, {}))
    if isinstance(found.get("dense"), dict):  # as versions before several layers wrote it
        found["dense"] = [found["dense"]]
    for key, kind in KEPT.items():
        value = found.get(key, kind())
        if not isinstance(value, kind) or (kind is list and not all(isinstance(item, dict) for item in value)):
            raise InputError(
                f"{CARRIED}: {key} of {layout} is damaged; remove the file, or convert the original again."
            )
    return found


def dense_paths(modules: Sequence[Module]) -> list[str]:
    """The directories of the dense layers among ``modules``."""
    return [module.path for module in modules if module.kind == "Dense"]
