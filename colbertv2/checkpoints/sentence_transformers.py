"""The layout of a ``MultiVectorEncoder`` of sentence-transformers 6: modules, prompts and a mask (checked with 6.2).

Markers are no setting of their own there: a prompt begins with them, and they are special tokens of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbertv2.checkpoints.checkpoint import (
    Checkpoint,
    carried,
    contiguous,
    encoder_config,
    read_tensors,
    read_tokenizer,
    refuse_dynamic,
    refuse_pooling,
    typed,
    write_common,
)
from colbertv2.checkpoints.markers import ORIGINAL, register, split, without_markers
from colbertv2.checkpoints.modules import (
    MODULES,
    SETTINGS,
    STATES,
    TRANSFORMER,
    Module,
    dense_paths,
    earlier_settings,
    listed_modules,
    read_dense,
    read_prompts,
    refuse_unknown,
    skiplist_words,
    write_dense,
    write_prompts,
)
from colbertv2.checkpoints.pretrained import load_tokenizer, positions_of
from colbertv2.checkpoints.punctuation import read_skiplist, written_skiplist
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.files import read_json, read_json_value, write_json
from colbertv2.schema import LARGEST

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAME = "sentence_transformers"
MODEL_TYPE, NEWEST = "MultiVectorEncoder", 6
KNOWN_SETTINGS = {"model_type", "__version__", "prompts", "default_prompt_name", "similarity_fn_name"}
# Keys of the transformer module and the values that are understood; None stands for an absent key.
FIXED: dict[str, tuple[Any, ...]] = {
    "transformer_task": ("feature-extraction", None),
    "module_output_name": (STATES, None),
    "modality_config": ({"text": {"method": "forward", "method_output_name": "last_hidden_state"}}, None),
    "processing_kwargs": ({}, None),
    "do_lower_case": (False, None),
}
OTHERS = {"query_length", "document_length", "query_expansion", "max_seq_length", "unpad_inputs"}
EXPANSION_KEYS = {"strategy", "attend", "token", "length"}
MASK_KEYS = {"skiplist_words", "skiplist_tasks", "keep_only_token_ids"}
OF_TOKENS = {"module_input_name": STATES, "module_output_name": STATES}
NEW_TRANSFORMER = {name: values[0] for name, values in list(FIXED.items())[:3]}
BASE = "sentence_transformers.base.modules"
CLASSES = {
    "Transformer": f"{BASE}.transformer.Transformer",
    "Dense": f"{BASE}.dense.Dense",
    "MultiVectorMask": "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask",
    "Normalize": f"{BASE}.normalize.Normalize",
}


def is_multi_vector(directory: Path) -> bool:
    """Whether ``directory`` says that it is a ``MultiVectorEncoder``, or has its mask for scoring."""
    if not (directory / MODULES).is_file():
        return False
    try:
        kind = read_json(directory / SETTINGS).get("model_type")
    except InputError:  # it has none, or a damaged one
        kind = None
    return kind == MODEL_TYPE or any(module.kind == "MultiVectorMask" for module in listed_modules(directory / MODULES))


def read_sentence_transformers(directory: Path) -> Checkpoint:
    """Read a checkpoint that ``MultiVectorEncoder.save_pretrained`` wrote.

    Raises:
        InputError: a file is missing or damaged, or holds a setting that changes vectors and is not understood.
    """
    modules = listed_modules(directory / MODULES)
    places = checked_places(modules, directory / MODULES)
    file, transformer_file = directory / SETTINGS, directory / TRANSFORMER
    settings, transformer = read_json(file), read_json(transformer_file)
    refuse_newer_or_other(settings, transformer, file, transformer_file)
    mask = read_mask(directory / places["MultiVectorMask"]) if "MultiVectorMask" in places else {}
    refuse_other_normalisation(directory / places["Normalize"] / "config.json")
    config = read_json(directory / "config.json")
    tokenizer = load_tokenizer(directory)
    longest = longest_text(transformer, tokenizer, config, transformer_file)
    expansion = read_expansion(transformer, tokenizer, transformer_file)
    if expansion and "MultiVectorMask" not in places:
        raise InputError(f"{transformer_file} has query_expansion, but no MultiVectorMask says that it is scored.")
    prompts = read_prompts(settings, file)
    query_marker, query_prompt = split(prompts["query"], tokenizer)
    document_marker, document_prompt = split(prompts["document"], tokenizer)
    punctuation, skiplist = read_skiplist(mask.get("skiplist_words") or [], tokenizer, unknown_words=False)
    tokenization = Tokenization(
        query_maxlen=expansion.get("length") or transformer.get("query_length") or longest,
        document_maxlen=transformer.get("document_length") or longest,
        query_marker=query_marker,
        document_marker=document_marker,
        query_augmentation=bool(expansion),
        attend_to_mask_tokens=bool(expansion.get("attend")),
        skip_punctuation=punctuation,
        skiplist=skiplist,
        literal_tokens=True,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
    )
    sources = {
        "query_maxlen": f"{TRANSFORMER}: query_expansion" if expansion else f"{TRANSFORMER}: query_length",
        "document_maxlen": f"{TRANSFORMER}: document_length",
        **dict.fromkeys(("query_marker", "document_marker", "query_prompt", "document_prompt"), f"{SETTINGS}: prompts"),
        **dict.fromkeys(("query_augmentation", "attend_to_mask_tokens"), f"{TRANSFORMER}: query_expansion"),
        **dict.fromkeys(("skip_punctuation", "skiplist"), "MultiVectorMask: skiplist_words"),
        "literal_tokens": "always true in sentence-transformers",
    }
    paths = dense_paths(modules)
    own = {
        "modules": read_json_value(directory / MODULES),
        "settings": settings,
        "transformer": transformer,
        "dense": [read_json(directory / path / "config.json") for path in paths],
        "mask": mask,
    }
    others = carried(directory)
    return Checkpoint(
        NAME,
        config,
        read_tensors(directory),
        tuple(read_dense(directory / path) for path in paths),
        tokenization,
        sources,
        without_markers(read_tokenizer(directory), others.pop(ORIGINAL, None)),
        {**others, NAME: own},
    )


def checked_places(modules: Sequence[Module], file: Path) -> dict[str, str]:
    """Return the directory of each module but the dense layers; ``file`` is for messages.

    Raises:
        InputError: they are not a Transformer, dense layers, Normalize, and at most one MultiVectorMask.
    """
    kinds = [module.kind for module in modules]
    computing = [kind for kind in kinds if kind != "MultiVectorMask"]
    if (
        computing != ["Transformer", *["Dense"] * kinds.count("Dense"), "Normalize"]
        or "Dense" not in kinds
        or kinds.count("MultiVectorMask") > 1
        or modules[0] != Module("Transformer", "")
    ):
        raise InputError(
            f"{file} lists {', '.join(kinds)}; expected a Transformer (path ''), Dense layers, MultiVectorMask and "
            "Normalize, as other modules would compute other vectors."
        )
    return {module.kind: module.path for module in modules if module.kind != "Dense"}


def refuse_newer_or_other(
    settings: Mapping[str, Any], transformer: Mapping[str, Any], file: Path, transformer_file: Path
) -> None:
    """Raise InputError for a newer version, and for settings that could change vectors and are not understood."""
    versions = settings.get("__version__")
    version = str(versions.get(NAME, "")) if isinstance(versions, dict) else ""
    if version.split(".")[0].isdigit() and int(version.split(".")[0]) > NEWEST:
        raise InputError(
            f"{file} was written by sentence-transformers {version}; only versions up to {NEWEST} are understood here. "
            f"Save the model with version {NEWEST}, or convert it with PyLate."
        )
    refuse_unknown(settings, KNOWN_SETTINGS, file)
    for key, values in FIXED.items():
        if transformer.get(key) not in values:
            raise InputError(f"{transformer_file}: {key} is {transformer[key]!r}; only {values[0]!r} is understood.")
    refuse_unknown(transformer, FIXED.keys() | OTHERS, transformer_file)
    for key in ("query_length", "document_length"):
        typed(transformer, key, int, None, transformer_file)


def longest_text(
    transformer: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, config: Mapping[str, Any], file: Path
) -> int:
    """The maximum length in tokens of texts without a length of their own; ``file`` is for messages."""
    given = typed(transformer, "max_seq_length", int, None, file)
    return given or min(tokenizer.model_max_length, positions_of(encoder_config(config)), LARGEST)


def read_expansion(transformer: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, file: Path) -> dict[str, Any]:
    """Return the settings of query augmentation; empty if it is off. ``file`` is for messages.

    Raises:
        InputError: they are malformed, pad with another token than ``[MASK]``, or lengthen only short queries.
    """
    expansion = typed(transformer, "query_expansion", dict, {}, file)
    if not expansion:
        return {}
    refuse_unknown(expansion, EXPANSION_KEYS, file)
    if expansion.get("strategy") != "fixed":
        raise InputError(
            f"{file}: query_expansion has the strategy {expansion.get('strategy')!r}; only 'fixed' is understood, "
            "which makes every query equally long."
        )
    if expansion.get("token") not in (None, tokenizer.mask_token) or tokenizer.mask_token is None:
        raise InputError(
            f"{file}: query_expansion pads with {expansion.get('token') or tokenizer.eos_token!r}; expected the mask "
            "token."
        )
    if typed(expansion, "length", int, None, file) is None:
        raise InputError(f"{file}: query_expansion lacks length; expected the number of tokens of every query.")
    typed(expansion, "attend", bool, False, file)
    return expansion


def read_mask(directory: Path) -> dict[str, Any]:
    """Read which tokens of documents are scored.

    Raises:
        InputError: a setting is malformed, or one that is not understood is in use.
    """
    file = directory / "config.json"
    mask = read_json(file)
    refuse_unknown(mask, MASK_KEYS, file)
    if skiplist_words(mask, (), file) and mask.get("skiplist_tasks") not in (None, ["document"], "document"):
        raise InputError(
            f"{file}: skiplist_tasks is {mask['skiplist_tasks']!r}; only ['document'] is understood: queries keep all "
            "their tokens."
        )
    if mask.get("keep_only_token_ids"):
        raise InputError(f"{file}: keep_only_token_ids is set, which is for images; expected null.")
    return mask


def refuse_other_normalisation(file: Path) -> None:
    """Raise InputError if the module does not normalise the vectors of tokens."""
    normalise = read_json(file)
    for key in ("module_input_name", "module_output_name"):
        if normalise.get(key) != STATES:
            raise InputError(
                f"{file}: {key} is {normalise.get(key)!r}; expected {STATES!r}: only unit vectors can be searched here."
            )


def write_sentence_transformers(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a checkpoint as a ``MultiVectorEncoder``; settings other than the tokenization stay as they were read.

    Raises:
        InputError: sentence-transformers would tokenise in another way, or has no such pooling.
    """
    from safetensors.torch import save_file

    tokenization, layers = checkpoint.tokenization, checkpoint.projection
    refuse_dynamic(tokenization, "sentence-transformers")
    refuse_pooling(checkpoint, "sentence-transformers")
    own = earlier_settings(checkpoint, NAME)
    configs = own.get("dense", [])
    modules = own.get("modules") if len(configs) == len(layers) else None
    write_json(directory / MODULES, modules or new_modules(len(layers)))
    found = listed_modules(directory / MODULES)
    places = checked_places(found, directory / MODULES)
    markers = [one for one in (tokenization.query_marker, tokenization.document_marker) if one]
    write_common(checkpoint, directory, checkpoint.config, without=NAME)
    register(markers, directory)
    settings = own.get("settings") or {
        "model_type": MODEL_TYPE,
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "maxsim",
    }
    tokenizer = load_tokenizer(directory)
    wanted = {
        "query": (tokenization.query_marker, tokenization.query_prompt),
        "document": (tokenization.document_marker, tokenization.document_prompt),
    }
    read = read_prompts(settings, directory / SETTINGS)
    if {task: split(prompt, tokenizer) for task, prompt in read.items()} != wanted:
        for task, (marker, prompt) in wanted.items():
            read[task] = (marker or "") + prompt
            if split(read[task], tokenizer) != (marker, prompt) and marker:
                raise InputError(
                    f"sentence-transformers would tokenise texts after the marker {marker!r} in another way, as it "
                    "puts the marker into the text. Convert to pylate or colbertv2 instead."
                )
        write_prompts(settings, read, directory / SETTINGS)
    write_json(directory / SETTINGS, settings)
    write_json(directory / TRANSFORMER, written_transformer(own.get("transformer"), tokenization, tokenizer, directory))
    for number, (path, layer) in enumerate(zip(dense_paths(found), layers, strict=True)):
        write_dense(layer, directory / path, configs[number] if number < len(configs) else OF_TOKENS)
    if "MultiVectorMask" in places:
        (directory / places["MultiVectorMask"]).mkdir()
        mask = written_mask(own.get("mask") or {}, tokenization, tokenizer)
        write_json(directory / places["MultiVectorMask"] / "config.json", mask)
    elif tokenization.query_augmentation or written_skiplist(tokenization, tokenizer):
        raise InputError("The modules of this model have no MultiVectorMask, which its tokenization needs.")
    (directory / places["Normalize"]).mkdir()
    write_json(directory / places["Normalize"] / "config.json", OF_TOKENS)
    save_file(contiguous(checkpoint.encoder.items()), directory / "model.safetensors", metadata={"format": "pt"})


def written_transformer(
    earlier: Mapping[str, Any] | None,
    tokenization: Tokenization,
    tokenizer: PreTrainedTokenizerBase,
    directory: Path,
) -> dict[str, Any]:
    """Return the settings of the transformer module; an absent length stays absent if it means the same."""
    transformer = dict(NEW_TRANSFORMER if earlier is None else earlier)
    config, file = read_json(directory / "config.json"), directory / TRANSFORMER
    longest = longest_text(transformer, tokenizer, config, file)
    if tokenization.document_maxlen != (transformer.get("document_length") or longest):
        transformer["document_length"] = tokenization.document_maxlen
    expansion = transformer.get("query_expansion") or {}
    if not tokenization.query_augmentation:
        transformer.pop("query_expansion", None)
        if tokenization.query_maxlen != (transformer.get("query_length") or longest):
            transformer["query_length"] = tokenization.query_maxlen
    elif (expansion.get("length"), bool(expansion.get("attend"))) != (
        tokenization.query_maxlen,
        tokenization.attend_to_mask_tokens,
    ):
        transformer["query_expansion"] = {
            "strategy": "fixed",
            "attend": tokenization.attend_to_mask_tokens,
            "token": None,
            "length": tokenization.query_maxlen,
        }
        transformer.pop("query_length", None)
    return transformer


def written_mask(
    earlier: dict[str, Any], tokenization: Tokenization, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    """Return the settings of which tokens of documents are scored; earlier ones stay if they mean the same."""
    read = read_skiplist(earlier.get("skiplist_words") or [], tokenizer, unknown_words=False)
    if earlier and read == (tokenization.skip_punctuation, tokenization.skiplist):
        return earlier
    words = written_skiplist(tokenization, tokenizer)
    return {"skiplist_words": words, "skiplist_tasks": ["document"], "keep_only_token_ids": None}


def new_modules(layers: int) -> list[dict[str, Any]]:
    """Return the content of ``modules.json`` for a number of dense layers."""
    kinds = ["Transformer", *["Dense"] * layers, "MultiVectorMask", "Normalize"]
    return [
        {"idx": number, "name": str(number), "path": f"{number}_{kind}" if number else "", "type": CLASSES[kind]}
        for number, kind in enumerate(kinds)
    ]
