"""Load models with transformers strictly: weights, configuration and tokenizer must fit each other.

transformers fills missing weights with random numbers and drops weights that have no place in the model, with at most a
log message. This module raises an error for both, and for everything else that is known to be wrong. It never runs code
from a model's directory.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbertv2.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# Optional tensors of an encoder: buffers that some versions save, and a pooler, which token vectors don't need.
OPTIONAL = ("pooler.", "embeddings.position_ids", "embeddings.token_type_ids")
# Names in transformers of heads for pretraining and other tasks, which an encoder does not need.
HEADS = (
    "classifier", "cls", "decoder", "discriminator_predictions", "generator_lm_head", "generator_predictions", "head",
    "lm_head", "lm_predictions", "mask_predictions", "pooler", "pre_classifier", "predictions", "qa_outputs", "score",
    "sop_classifier", "vocab_layer_norm", "vocab_projector", "vocab_transform",
)  # fmt: skip
# Encoders that number positions from the padding token's id + 1, as RoBERTa does; text never uses those before it.
POSITIONS_BEHIND_PADDING = {
    "camembert", "data2vec-text", "lilt", "longformer", "luke", "markuplm", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip
VOCABULARY_FILES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model",
)  # fmt: skip
SPARE_ROWS = 1024  # rows of an embedding matrix beyond its vocabulary: more than any released encoder has
SHOWN = 3  # how many names a message lists


def load_config(directory: Path) -> PretrainedConfig:
    """Load the configuration of the encoder in ``directory``.

    Raises:
        InputError: transformers does not understand it, or it does not describe an encoder.
    """
    from transformers import AutoConfig

    read = partial(AutoConfig.from_pretrained, directory, trust_remote_code=False)
    return understood(str(directory / "config.json"), read)


def understood(name: str, make: Callable[[], PretrainedConfig]) -> PretrainedConfig:
    """Return the configuration that ``make`` creates; ``name`` is what messages call it.

    Raises:
        InputError: transformers does not understand it, or it does not describe an encoder.
    """
    try:
        config = make()
    except Exception as error:  # each architecture checks its values in its own way
        raise InputError(
            f"{name} is not one that transformers understands ({brief(error)}); expected an encoder of one of its "
            "architectures."
        ) from None
    refuse_other_than_encoder(config)
    return config


def refuse_other_than_encoder(config: PretrainedConfig) -> None:
    """Raise InputError if the model is not an encoder, in which every token attends to the complete text."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(f"config.json describes a {kind}, an encoder with a decoder; expected an encoder.")
    generates = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    bidirectional = getattr(config, "use_bidirectional_attention", None) is True
    if getattr(config, "is_decoder", False) or (generates and not bidirectional):
        raise InputError(
            f"config.json describes a {kind} that generates text: its tokens attend only to earlier ones; expected an "
            "encoder, such as a bert, roberta or modernbert, whose tokens attend to the complete text."
        )


def is_classifier(architectures: Iterable[str] | None) -> bool:
    """Whether ``architectures`` of a ``config.json`` include a sequence classifier, such as a released re-ranker."""
    return any("SequenceClassification" in str(name) for name in architectures or ())


def without_pooler(config: PretrainedConfig) -> dict[str, bool]:
    """Return the constructor's arguments for an encoder without a pooler, which token vectors don't need."""
    return {"add_pooling_layer": False} if config.model_type in ("bert", "roberta", "xlm-roberta") else {}


def load_model(auto: Any, directory: Path, new_head: bool = False, **options: Any) -> PreTrainedModel:
    """Load the complete model in ``directory`` in fp32: no weight is random, and none that belongs to it is dropped.

    Args:
        auto: the class of transformers that loads it, such as ``AutoModel``.
        directory: a model directory with ``config.json`` and the weights as safetensors.
        new_head: whether the weights of the head (all outside the encoder) may be missing because it will be trained.
        options: other arguments of the model's constructor.

    Raises:
        InputError: weights are missing, unknown, of another shape, not floating point numbers, NaN or infinite.
    """
    load_config(directory)
    refuse_integers(directory)
    try:
        model, found = auto.from_pretrained(
            directory,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported, and refused below
            **options,
        )
    except Exception as error:  # each architecture reports contradictory sizes or cut files in its own way
        raise InputError(
            f"The model in {directory} can't be loaded ({brief(error)}); expected an encoder with its weights as "
            "safetensors. Copy it again."
        ) from None
    missing = found["missing_keys"]
    if new_head:
        head = {name for name, _ in model.named_children()} - {model.base_model_prefix}
        missing = [name for name in missing if name.partition(".")[0] not in head]
    mismatched = {name: (stored, expected) for name, stored, expected in found["mismatched_keys"]}
    refuse_misfits(f"in {directory}", model, missing, found["unexpected_keys"], mismatched)
    refuse_damaged(f"in {directory}", model.state_dict())
    return model.float()


def refuse_misfits(
    where: str,
    model: PreTrainedModel,
    missing: Iterable[str],
    unexpected: Iterable[str],
    mismatched: Mapping[str, tuple[Collection[int], Collection[int]]],
) -> None:
    """Raise InputError if weights are not those of ``model``, apart from buffers and unused heads.

    Args:
        where: where the weights are, for the message.
        model: the model that they should be the weights of.
        missing, unexpected: names of tensors that only the model has, and that only the weights have.
        mismatched: name → shape in the weights and shape in the model.
    """
    prefix = f"{model.base_model_prefix}."
    inside = {name for name, _ in (getattr(model, model.base_model_prefix, model)).named_children()}

    def optional(name: str) -> bool:
        return name.removeprefix(prefix).startswith(OPTIONAL)

    def is_head(name: str) -> bool:
        head = name.partition(".")[0]
        return head in HEADS and head not in inside

    lacking = sorted(name for name in missing if not optional(name))
    strange = sorted(name for name in unexpected if not optional(name) and not is_head(name))
    others = [f"{name} is {list(stored)}, not {list(wanted)}" for name, (stored, wanted) in mismatched.items()]
    problems = [
        f"{len(found)} {what} ({', '.join(found[:SHOWN])}{', …' if len(found) > SHOWN else ''})"
        for found, what in ((lacking, "missing"), (strange, "unknown"), (others, "of another shape"))
        if found
    ]
    if problems:
        raise InputError(
            f"The weights {where} are not those of the {model.config.model_type} encoder that config.json describes; "
            f"tensors: {'; '.join(problems)}. Copy config.json and the weights from the same model."
        )


def refuse_integers(directory: Path) -> None:
    """Raise InputError if a weight in ``directory`` is not in floating point; only the files' headers are read."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                kinds = {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file} is damaged or cut short ({brief(error)}); copy it again.") from None
        for name, kind in kinds.items():
            if not kind.startswith(("F", "BF")) and not name.endswith(("position_ids", "token_type_ids")):
                raise InputError(
                    f"{file}: {name} is {kind}; expected floating point numbers. Quantised models are not supported: "
                    "use the model that it was made from."
                )


def refuse_damaged(where: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise InputError if a weight is not in floating point, NaN or infinite; known integer buffers are skipped."""
    for name, tensor in tensors.items():
        if name.endswith(("position_ids", "token_type_ids")):
            continue
        if not tensor.is_floating_point():
            raise InputError(f"{name} {where} is {tensor.dtype}; expected floating point numbers.")
        if not tensor.float().isfinite().all():
            raise InputError(f"{name} {where} contains NaN or infinity; it is damaged: copy or train it again.")


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer in ``directory``, which must belong to the encoder in the same directory.

    A warning is logged if the encoder has far more embeddings than the tokenizer has ids.

    Raises:
        InputError: it is missing or damaged, has no padding token, does not add special tokens before and after a text,
            or has ids that the encoder lacks.
    """
    from transformers import AutoTokenizer

    if not any((directory / name).is_file() for name in VOCABULARY_FILES):
        raise InputError(f"{directory} has no vocabulary; expected one of: {', '.join(VOCABULARY_FILES)}.")
    config = load_config(directory)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
        vocabulary, ends = tokenizer.get_vocab(), tokenizer("")["input_ids"]
    except Exception as error:  # any of its files may be damaged
        raise InputError(
            f"The tokenizer in {directory} can't be loaded ({type(error).__name__}: {brief(error)}); copy it again."
        ) from None
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"The tokenizer in {directory} has no padding token; expected an encoder's tokenizer. If its padding token "
            "has another name, set pad_token in tokenizer_config.json."
        )
    if len(ends) < 2:
        raise InputError(
            f"The tokenizer in {directory} puts {len(ends)} tokens around a text; expected one before and one after "
            "it, such as [CLS] and [SEP]."
        )
    special = {*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values())}
    if vocabulary.keys() <= special:
        raise InputError(f"The tokenizer in {directory} has only special tokens and no words; copy it again.")
    refuse_other_vocabulary(directory, config, vocabulary, special, tokenizer)
    return tokenizer


def refuse_other_vocabulary(
    directory: Path,
    config: PretrainedConfig,
    vocabulary: Mapping[str, int],
    special: Collection[str],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Raise InputError if sizes or padding show that the vocabulary is not the encoder's."""
    rows, largest = getattr(config, "vocab_size", sys.maxsize), max(vocabulary.values())
    remedy = "Copy the model and its tokenizer from the same place."
    if largest >= rows:
        raise InputError(
            f"The tokenizer in {directory} has ids up to {largest}, but the encoder has {rows} embeddings; it belongs "
            f"to another model. {remedy}"
        )
    if rows - largest > SPARE_ROWS:
        logger.warning(
            "The tokenizer in %s has %s ids, but the encoder has %s embeddings: does it belong to another model?",
            directory, f"{largest + 1:,}", f"{rows:,}",
        )  # fmt: skip
    # PyLate makes the mask token the padding, but only in the tokenizer.
    padding = getattr(config, "pad_token_id", None)
    if padding is None or tokenizer.pad_token_id in (padding, tokenizer.mask_token_id):
        return
    words = {number: word for word, number in vocabulary.items()}
    if words.get(padding) not in special:
        raise InputError(
            f"config.json in {directory} says that the padding is token {padding}, but that is {words.get(padding)!r} "
            f"in the tokenizer, whose padding is {tokenizer.pad_token!r}; it belongs to another model. {remedy}"
        )


def text_positions(kind: str, positions: int | None, padding: int | None) -> int:
    """Return how many tokens an encoder can read at once, special tokens included.

    Args:
        kind: its ``model_type``.
        positions: its ``max_position_embeddings``; without one (None or below 1), the result is ``sys.maxsize``.
        padding: its ``pad_token_id``.

    >>> text_positions("bert", 512, 0), text_positions("roberta", 514, 1)
    (512, 512)
    """
    if positions is None or positions < 1:
        return sys.maxsize
    return positions - (padding or 0) - 1 if kind in POSITIONS_BEHIND_PADDING else positions


def refuse_longer(name: str, length: int, config: PretrainedConfig) -> None:
    """Raise InputError if ``length`` tokens are more than the encoder of ``config`` can read at once.

    Args:
        name: the setting that ``length`` comes from, for the message.
        length: a maximum length in tokens.
        config: the encoder's configuration.
    """
    if problem := too_long(name, length, positions_of(config)):
        raise InputError(problem)


def positions_of(config: PretrainedConfig) -> int:
    """Return how many tokens the encoder of ``config`` can read at once, special tokens included."""
    positions = getattr(config, "max_position_embeddings", None)
    return text_positions(config.model_type, positions, getattr(config, "pad_token_id", None))


def too_long(name: str, length: int | None, positions: int) -> str | None:
    """Return what is wrong with a ``length`` in tokens for an encoder with ``positions`` positions, or None.

    >>> too_long("document_maxlen", 600, 512)
    'document_maxlen is 600; expected at most 512, the tokens that the encoder reads at once.'
    """
    if length is None or length <= positions:
        return None
    return f"{name} is {length}; expected at most {positions}, the tokens that the encoder reads at once."


def brief(error: Exception) -> str:
    """The first 200 characters of an error's text, on one line."""
    return " ".join(str(error).split())[:200]
