"""PyLate's layout: two sentence-transformers modules, a transformer and one dense layer (PyLate 1.6)."""

import copy
from pathlib import Path
from typing import Any

from colbertv2.checkpoints.checkpoint import (
    Checkpoint,
    carried,
    contiguous,
    read_tensors,
    read_tokenizer,
    typed,
    write_common,
)
from colbertv2.checkpoints.pretrained import load_tokenizer
from colbertv2.checkpoints.punctuation import PUNCTUATION, are_punctuation, punctuation_tokens
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.files import read_json, read_json_value, write_json

MODULES, SETTINGS, TRANSFORMER = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
DENSE = "1_Dense"
NEW_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": DENSE, "type": "pylate.models.Dense.Dense"},
]
NEW_SETTINGS = {
    "prompts": {},
    "default_prompt_name": None,
    "similarity_fn_name": "MaxSim",
    "model_type": "ColBERT",
}
# Names of the identity activation. All others are refused, and no name from a file is ever imported.
IDENTITY = ("torch.nn.modules.linear.Identity", "torch.nn.Identity", "torch.nn.modules.Identity")


def read_pylate(directory: Path) -> Checkpoint:
    """Read a checkpoint in PyLate's layout.

    Lengths, prefixes and mask options come from ``config_sentence_transformers.json``.

    Raises:
        InputError: a file is missing or damaged, a setting has the wrong type or is not supported, or the modules are
            not one transformer and one plain linear layer.
    """
    modules = read_modules(directory / MODULES)
    file = directory / SETTINGS
    settings = read_json(file)
    refuse_changed_texts(directory, settings)
    words = typed(settings, "skiplist_words", list, list(PUNCTUATION), file)
    if not all(isinstance(word, str) for word in words):
        raise InputError(f"{file}: skiplist_words is {words!r}; expected a list of words.")
    tokenizer_files = read_tokenizer(directory)
    punctuation, skiplist = read_skiplist(words, directory)
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
    }
    projection, layer = read_dense(directory / DENSE)
    own = {"modules": modules, "settings": settings, "dense": layer}
    if (directory / TRANSFORMER).is_file():
        own["transformer"] = read_json(directory / TRANSFORMER)
    return Checkpoint(
        "pylate",
        read_json(directory / "config.json"),
        read_tensors(directory),
        projection,
        tokenization,
        {
            **{name: f"{SETTINGS}: {key}" if key in settings else "PyLate's default" for name, key in sources.items()},
            "literal_tokens": "always true in PyLate",
        },
        tokenizer_files,
        {**carried(directory), "pylate": own},
    )


def read_skiplist(words: list[str], directory: Path) -> tuple[bool, tuple[str, ...]]:
    """Return whether ``skiplist_words`` leave out all punctuation, and which other tokens they leave out.

    PyLate looks up each word as the token of that spelling. So its default, the bare symbols, is all punctuation with
    BERT's tokenizer. With RoBERTa's or ModernBERT's it does not include ``" ("``, and the checkpoint was trained that
    way. PyLate looks up a word that the vocabulary lacks as the unknown token, which is then left out.
    """
    tokenizer = load_tokenizer(directory)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    unknown: Any = tokenizer.unk_token
    tokens = list(dict.fromkeys(token for word in words if (token := word if word in vocabulary else unknown)))
    if not are_punctuation(tokens, tokenizer):
        return False, tuple(tokens)
    punctuation = punctuation_tokens(tokenizer)
    return True, tuple(token for token in tokens if token not in punctuation)


def written_skiplist(tokenization: Tokenization, directory: Path) -> list[str]:
    """Return ``skiplist_words`` that :func:`read_skiplist` turns back into this tokenization's settings."""
    if not tokenization.skip_punctuation:
        return list(tokenization.skiplist)
    tokenizer = load_tokenizer(directory)
    words = [symbol for symbol in PUNCTUATION if symbol in tokenizer.get_vocab()]
    if not are_punctuation(words, tokenizer):
        words = sorted(punctuation_tokens(tokenizer))
    return [*words, *tokenization.skiplist]


def read_modules(file: Path) -> list[dict[str, Any]]:
    """Read ``modules.json``.

    Raises:
        InputError: it lists anything but one transformer followed by one dense layer.
    """
    found = listed_modules(file)
    if found != [("Transformer", ""), ("Dense", DENSE)]:
        raise InputError(
            f"{file} lists {found}; expected a Transformer at '' and one Dense layer at {DENSE!r}, as other modules "
            "would compute other vectors."
        )
    return read_json_value(file)


def listed_modules(file: Path) -> list[tuple[str, str]]:
    """Return class name and path of each module in a ``modules.json``.

    Raises:
        InputError: the file is damaged.
    """
    modules = read_json_value(file)
    try:
        return [(module["type"].rsplit(".", 1)[-1], module["path"]) for module in modules]
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{file} is damaged ({error!r}); expected a list of modules with type and path.") from None


def refuse_changed_texts(directory: Path, settings: dict[str, Any]) -> None:
    """Raise InputError if PyLate would add a prompt to every text, or change its case before tokenising it."""
    name = settings.get("default_prompt_name")
    if name is not None and (settings.get("prompts") or {}).get(name):
        raise InputError(
            f"{directory / SETTINGS}: default_prompt_name is {name!r}; expected null, as prompts before every text are "
            "not supported."
        )
    if (directory / TRANSFORMER).is_file() and read_json(directory / TRANSFORMER).get("do_lower_case"):
        raise InputError(
            f"{directory / TRANSFORMER}: do_lower_case is true; expected false (the tokenizer itself may lower-case)."
        )


def read_dense(directory: Path) -> tuple[Any, dict[str, Any]]:
    """Read the weight ``[dim, hidden]`` of a plain linear layer, and its configuration.

    Raises:
        InputError: the layer has a bias, an activation, a residual connection or other tensors, or its sizes differ.
    """
    file = directory / "config.json"
    layer = read_json(file)
    tensors = read_tensors(directory)
    for key, allowed in {"bias": (False,), "use_residual": (False, None), "activation_function": IDENTITY}.items():
        if layer.get(key) not in allowed:
            raise InputError(
                f"{file}: {key} is {layer.get(key)!r}; expected {allowed[0]!r}, as ColBERT has a plain linear layer."
            )
    if tensors.keys() != {"linear.weight"}:
        raise InputError(f"{directory} contains {sorted(tensors)}; expected only linear.weight.")
    weight = tensors["linear.weight"]
    if list(weight.shape) != [layer.get("out_features"), layer.get("in_features")]:
        raise InputError(
            f"{file} says {layer.get('out_features')} × {layer.get('in_features')}, but linear.weight is "
            f"{list(weight.shape)}."
        )
    return weight, layer


def write_pylate(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a checkpoint in PyLate's layout; other settings than the tokenization are kept from an earlier one."""
    from safetensors.torch import save_file

    tokenization = checkpoint.tokenization
    own = copy.deepcopy(checkpoint.settings.get("pylate")) or {"modules": NEW_MODULES, "settings": dict(NEW_SETTINGS)}
    settings = own["settings"]
    (directory / DENSE).mkdir()
    write_common(checkpoint, directory, checkpoint.config, without="pylate")
    words = written_skiplist(tokenization, directory)
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
    rows, columns = checkpoint.projection.shape
    layer = own.get("dense") or {"bias": False, "activation_function": IDENTITY[0], "use_residual": False}
    layer |= {"in_features": columns, "out_features": rows}
    if "transformer" in own:
        write_json(directory / TRANSFORMER, own["transformer"])
    save_file(contiguous(checkpoint.encoder.items()), directory / "model.safetensors", metadata={"format": "pt"})
    save_file(contiguous([("linear.weight", checkpoint.projection)]), directory / DENSE / "model.safetensors")
    write_json(directory / DENSE / "config.json", layer)
    write_json(directory / SETTINGS, settings)
    write_json(directory / MODULES, own["modules"])
    read_modules(directory / MODULES)  # they may come from other_layouts.json of a foreign checkpoint
