"""PyLate's layout: sentence-transformers modules, a transformer and dense layers (PyLate 1.6)."""

from pathlib import Path
from typing import Any

from colbertv2.checkpoints.checkpoint import (
    Checkpoint,
    carried,
    contiguous,
    read_tensors,
    read_tokenizer,
    refuse_dynamic,
    refuse_pooling,
    typed,
    write_common,
)
from colbertv2.checkpoints.modules import (
    MODULES,
    SETTINGS,
    TASKS,
    TRANSFORMER,
    Module,
    dense_paths,
    earlier_settings,
    listed_modules,
    listed_prompts,
    read_dense,
    read_prompts,
    refuse_unknown,
    skiplist_words,
    write_dense,
    write_prompts,
)
from colbertv2.checkpoints.pretrained import load_tokenizer
from colbertv2.checkpoints.punctuation import PUNCTUATION, read_skiplist, written_skiplist
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.files import read_json, read_json_value, write_json

KNOWN_SETTINGS = {
    "model_type", "__version__", "prompts", "default_prompt_name", "similarity_fn_name", "query_prefix",
    "document_prefix", "query_length", "document_length", "do_query_expansion", "attend_to_expansion_tokens",
    "skiplist_words",
}  # fmt: skip
KNOWN_TRANSFORMER = {"max_seq_length", "do_lower_case"}  # PyLate sets the length itself, for queries and documents
NEW_SETTINGS = {
    "prompts": {},
    "default_prompt_name": None,
    "similarity_fn_name": "MaxSim",
    "model_type": "ColBERT",
}


def read_pylate(directory: Path) -> Checkpoint:
    """Read a checkpoint in PyLate's layout.

    Lengths, prefixes and mask options come from ``config_sentence_transformers.json``.

    Raises:
        InputError: a file is missing or damaged, a setting has the wrong type or is not supported, or the modules are
            not one transformer followed by dense layers.
    """
    paths = layer_paths(listed_modules(directory / MODULES), directory / MODULES)
    file = directory / SETTINGS
    settings = read_json(file)
    refuse_unknown(settings, KNOWN_SETTINGS, file)
    refuse_changed_texts(directory)
    prompts = pylate_prompts(settings, file)
    words = skiplist_words(settings, PUNCTUATION, file)
    tokenizer_files = read_tokenizer(directory)
    punctuation, skiplist = read_skiplist(words, load_tokenizer(directory), unknown_words=True)
    tokenization = Tokenization(
        query_maxlen=typed(settings, "query_length", int, 32, file),
        document_maxlen=typed(settings, "document_length", int, 180, file),
        query_marker=typed(settings, "query_prefix", str, "[Q] ", file) or None,
        document_marker=typed(settings, "document_prefix", str, "[D] ", file) or None,
        query_augmentation=typed(settings, "do_query_expansion", bool, True, file),
        attend_to_mask_tokens=typed(settings, "attend_to_expansion_tokens", bool, False, file),
        skip_punctuation=punctuation,
        skiplist=skiplist,
        literal_tokens=True,
        query_prompt=prompts["query"],
        document_prompt=prompts["document"],
    )
    sources = {
        "query_maxlen": "query_length",
        "document_maxlen": "document_length",
        "query_marker": "query_prefix",
        "document_marker": "document_prefix",
        "query_augmentation": "do_query_expansion",
        "attend_to_mask_tokens": "attend_to_expansion_tokens",
        "skip_punctuation": "skiplist_words",
        "skiplist": "skiplist_words",
        "query_prompt": "prompts",
        "document_prompt": "prompts",
    }
    own: dict[str, Any] = {
        "modules": read_json_value(directory / MODULES),
        "settings": settings,
        "dense": [read_json(directory / path / "config.json") for path in paths],
    }
    if (directory / TRANSFORMER).is_file():
        own["transformer"] = read_json(directory / TRANSFORMER)
    return Checkpoint(
        "pylate",
        read_json(directory / "config.json"),
        read_tensors(directory),
        tuple(read_dense(directory / path) for path in paths),
        tokenization,
        {
            **{name: f"{SETTINGS}: {key}" if key in settings else "PyLate's default" for name, key in sources.items()},
            "literal_tokens": "always true in PyLate",
        },
        tokenizer_files,
        {**carried(directory), "pylate": own},
    )


def pylate_prompts(settings: dict[str, Any], file: Path) -> dict[str, str]:
    """Return the prompts before queries and documents; ``file`` is for messages.

    PyLate puts the default prompt before every text, and others only if a caller names them. So the default counts, and
    without one the prompts named ``query`` and ``document``, as sentence-transformers 6 reads a model of PyLate.

    Raises:
        InputError: a prompt is no text, the default prompt does not exist, or both kinds are there and differ.
    """
    named = read_prompts(settings, file)
    default = settings.get("default_prompt_name")
    everywhere: str | None = (settings.get("prompts") or {}).get(default) if default is not None else None
    if not everywhere:
        return named
    if any(prompt not in ("", everywhere) for prompt in named.values()):
        raise InputError(
            f"{file} has the default prompt {default!r} and other prompts named query or document; it is not clear "
            "which the model was trained with. Set default_prompt_name to null, or remove the others."
        )
    return dict.fromkeys(named, everywhere)


def prompt_names(directory: Path) -> dict[str, str]:
    """Return task → the name of its prompt, where a caller of PyLate must name it; ``{}`` without such prompts.

    A default prompt stands before every text unless a caller names another.

    Raises:
        InputError: a prompt is no text, or the default prompt does not exist.
    """
    prompts = listed_prompts(directory)
    if not prompts or read_json(directory / SETTINGS).get("default_prompt_name") in prompts:
        return {}
    return {task: task for task in TASKS if task in prompts}


def layer_paths(modules: list[Module], file: Path) -> list[str]:
    """Return the directories of the dense layers; ``file`` is for the message.

    Raises:
        InputError: the modules are not one transformer followed by at least one dense layer.
    """
    paths = dense_paths(modules)
    if modules != [Module("Transformer", ""), *(Module("Dense", path) for path in paths)] or not paths:
        raise InputError(
            f"{file} lists {[tuple(module) for module in modules]}; expected a Transformer at '' and then Dense "
            "layers, as other modules would compute other vectors."
        )
    return paths


def refuse_changed_texts(directory: Path) -> None:
    """Raise InputError if PyLate would change the case of every text, or has a setting that is not understood."""
    if not (directory / TRANSFORMER).is_file():
        return
    transformer = read_json(directory / TRANSFORMER)
    refuse_unknown(transformer, KNOWN_TRANSFORMER, directory / TRANSFORMER)
    if transformer.get("do_lower_case"):
        raise InputError(
            f"{directory / TRANSFORMER}: do_lower_case is true; expected false (the tokenizer itself may lower-case)."
        )


def new_modules(layers: int) -> list[dict[str, Any]]:
    """Return the content of ``modules.json`` for a transformer and a number of dense layers."""
    transformer = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    dense = [
        {"idx": number, "name": str(number), "path": f"{number}_Dense", "type": "pylate.models.Dense.Dense"}
        for number in range(1, layers + 1)
    ]
    return [transformer, *dense]


def write_pylate(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a checkpoint in PyLate's layout; other settings than the tokenization are kept from an earlier one.

    Raises:
        InputError: its queries are padded to different lengths, or it has a learned pooling; PyLate has neither.
    """
    from safetensors.torch import save_file

    refuse_dynamic(checkpoint.tokenization, "PyLate")
    refuse_pooling(checkpoint, "PyLate")
    tokenization, layers = checkpoint.tokenization, checkpoint.projection
    own = earlier_settings(checkpoint, "pylate")
    settings, configs = own.get("settings", dict(NEW_SETTINGS)), own.get("dense", [])
    modules = own.get("modules") if len(configs) == len(layers) else None
    write_json(directory / MODULES, modules or new_modules(len(layers)))
    # The modules may come from other_layouts.json of a foreign checkpoint.
    paths = layer_paths(listed_modules(directory / MODULES), directory / MODULES)
    write_common(checkpoint, directory, checkpoint.config, without="pylate")
    words = written_skiplist(tokenization, load_tokenizer(directory))
    if set(words) != set(settings.get("skiplist_words", ["none said"])):
        settings["skiplist_words"] = words
    settings |= {
        "query_prefix": tokenization.query_marker or "",
        "document_prefix": tokenization.document_marker or "",
        "query_length": tokenization.query_maxlen,
        "document_length": tokenization.document_maxlen,
        "do_query_expansion": tokenization.query_augmentation,
        "attend_to_expansion_tokens": tokenization.attend_to_mask_tokens,
    }
    wanted = {"query": tokenization.query_prompt, "document": tokenization.document_prompt}
    if pylate_prompts(settings, directory / SETTINGS) != wanted:
        settings["default_prompt_name"] = None
        write_prompts(settings, wanted, directory / SETTINGS)
    if "transformer" in own:
        write_json(directory / TRANSFORMER, own["transformer"])
    save_file(contiguous(checkpoint.encoder.items()), directory / "model.safetensors", metadata={"format": "pt"})
    for number, (path, layer) in enumerate(zip(paths, layers, strict=True)):
        write_dense(layer, directory / path, configs[number] if number < len(configs) else {})
    write_json(directory / SETTINGS, settings)
