"""What transformers reads from a model directory, judged: weights, configuration and tokenizer have to fit each other.

transformers fills what the weights lack with random numbers and leaves out what it has no place for, and says so in
the log at most. Here both are refused, as is whatever else can be known to be wrong. No code of a model is run.
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

# Optional tensors within an encoder: buffers that some versions save, and a pooler, which no token vector needs.
OPTIONAL = ("pooler.", "embeddings.position_ids", "embeddings.token_type_ids")
# What transformers calls the heads beside an encoder, of pretraining and of other tasks; an encoder leaves them out.
HEADS = (
    "classifier", "cls", "decoder", "discriminator_predictions", "generator_lm_head", "generator_predictions", "head",
    "lm_head", "lm_predictions", "mask_predictions", "pooler", "pre_classifier", "predictions", "qa_outputs", "score",
    "sop_classifier", "vocab_layer_norm", "vocab_projector", "vocab_transform",
)  # fmt: skip
# Encoders whose first position for text comes after the padding token's id, as in RoBERTa. Those before it hold none.
POSITIONS_BEHIND_PADDING = {
    "camembert", "data2vec-text", "lilt", "longformer", "luke", "markuplm", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip
VOCABULARY_FILES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model",
)  # fmt: skip
SPARE_ROWS = 1024  # of an embedding matrix, beyond its vocabulary: more than any released encoder has
SHOWN = 3  # names in a message


def load_config(directory: Path) -> PretrainedConfig:
    """The configuration of the encoder in ``directory``.

    Raises:
        InputError: transformers does not understand it, or it describes something else than an encoder.
    """
    from transformers import AutoConfig

    read = partial(AutoConfig.from_pretrained, directory, trust_remote_code=False)
    return understood(str(directory / "config.json"), read)


def understood(name: str, make: Callable[[], PretrainedConfig]) -> PretrainedConfig:
    """The configuration that ``make`` makes of what is called ``name``.

    Raises:
        InputError: transformers does not understand it, or it describes something else than an encoder.
    """
    try:
        config = make()
    except Exception as error:  # each architecture checks its values in its own way
        raise InputError(
            f"{name} is not one that transformers understands ({brief(error)}); expected an encoder of an architecture "
            "that it has."
        ) from None
    refuse_other_than_encoder(config)
    return config


def refuse_other_than_encoder(config: PretrainedConfig) -> None:
    """InputError unless every token sees the whole text, as late interaction has it."""
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
            f"config.json describes a {kind} that generates text: its tokens see only those before them; expected an "
            "encoder, such as a bert, roberta or modernbert, whose tokens see the whole text."
        )


def is_classifier(architectures: Iterable[str] | None) -> bool:
    """Whether the ``architectures`` of a ``config.json`` name a sequence classifier, such as a released re-ranker."""
    return any("SequenceClassification" in str(name) for name in architectures or ())


def without_pooler(config: PretrainedConfig) -> dict[str, bool]:
    """What an encoder's constructor is told so that it has no pooler, which no token vector needs."""
    return {"add_pooling_layer": False} if config.model_type in ("bert", "roberta", "xlm-roberta") else {}


def load_model(auto: Any, directory: Path, new_head: bool = False, **options: Any) -> PreTrainedModel:
    """The model in ``directory`` in fp32, whole: no weight is random, and none that belongs to it is left out.

    Args:
        auto: the class of transformers that loads it, such as ``AutoModel``.
        new_head: whether what is beside the encoder may be missing, and is to be trained.
        options: of its constructor.

    Raises:
        InputError: weights are missing, left over, of another shape, no floating point numbers, NaN or infinite.
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
    except Exception as error:  # a file cut short, sizes that contradict each other, in dozens of architectures
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
    """InputError unless the weights ``where`` are those of ``model``; buffers and unused heads aside.

    Args:
        missing, unexpected: names of tensors that the model has and the weights lack, and the reverse.
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
            f"tensors: {'; '.join(problems)}. Copy config.json and the weights from one and the same model."
        )


def refuse_integers(directory: Path) -> None:
    """InputError if a weight in ``directory`` is no floating point number; only the files' headers are read."""
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
                    f"{file}: {name} is {kind}; expected floating point numbers. A quantised model is not read here: "
                    "take the one that it was made from."
                )


def refuse_damaged(where: str, tensors: Mapping[str, Tensor]) -> None:
    """InputError if a weight ``where`` is no floating point number, NaN or infinite; buffers aside."""
    for name, tensor in tensors.items():
        if name.endswith(("position_ids", "token_type_ids")):
            continue
        if not tensor.is_floating_point():
            raise InputError(f"{name} {where} is {tensor.dtype}; expected floating point numbers.")
        if not tensor.float().isfinite().all():
            raise InputError(f"{name} {where} holds NaN or infinity; it is damaged: copy or train it again.")


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in ``directory``, which has to be that of the encoder beside it.

    Raises:
        InputError: it is missing or damaged, has no padding token, puts nothing around a text, or has ids that the
            encoder lacks.
    """
    from transformers import AutoTokenizer

    if not any((directory / name).is_file() for name in VOCABULARY_FILES):
        raise InputError(f"{directory} has no vocabulary; expected one of: {', '.join(VOCABULARY_FILES)}.")
    config = load_config(directory)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
        vocabulary, ends = tokenizer.get_vocab(), tokenizer("")["input_ids"]
    except Exception as error:  # damaged in any of its files
        raise InputError(
            f"The tokenizer in {directory} can't be loaded ({type(error).__name__}: {brief(error)}); copy it again."
        ) from None
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"The tokenizer in {directory} has no padding token; expected that of an encoder. If it has one by another "
            "name, say so in tokenizer_config.json: pad_token."
        )
    if len(ends) < 2:
        raise InputError(
            f"The tokenizer in {directory} puts {len(ends)} tokens around a text; expected one before and one behind "
            "it, such as [CLS] and [SEP]."
        )
    special = {*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values())}
    if vocabulary.keys() <= special:
        raise InputError(f"The tokenizer in {directory} has special tokens and no word; copy it again.")
    refuse_other_vocabulary(directory, config, vocabulary, special, tokenizer)
    return tokenizer


def refuse_other_vocabulary(
    directory: Path,
    config: PretrainedConfig,
    vocabulary: Mapping[str, int],
    special: Collection[str],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """InputError if the vocabulary is not that of the encoder, as far as their sizes and the padding tell it."""
    rows, largest = getattr(config, "vocab_size", sys.maxsize), max(vocabulary.values())
    remedy = "Copy the model and its tokenizer from one and the same place."
    if largest >= rows:
        raise InputError(
            f"The tokenizer in {directory} has ids up to {largest}, the encoder {rows} embeddings; it is another "
            f"model's. {remedy}"
        )
    if rows - largest > SPARE_ROWS:
        logger.warning(
            "The tokenizer in %s has %s ids, the encoder %s embeddings: is it another model's?",
            directory, f"{largest + 1:,}", f"{rows:,}",
        )  # fmt: skip
    # PyLate makes the mask the padding, in the tokenizer alone.
    padding = getattr(config, "pad_token_id", None)
    if padding is None or tokenizer.pad_token_id in (padding, tokenizer.mask_token_id):
        return
    words = {number: word for word, number in vocabulary.items()}
    if words.get(padding) not in special:
        raise InputError(
            f"config.json in {directory} says that the padding is token {padding}, which is {words.get(padding)!r} in "
            f"the tokenizer beside it, where the padding is {tokenizer.pad_token!r}; it is another model's. {remedy}"
        )


def text_positions(kind: str, positions: int | None, padding: int | None) -> int:
    """How many tokens an encoder reads at once, special tokens included.

    Args:
        kind: its ``model_type``. positions: its ``max_position_embeddings``; without such a limit as many as anybody
            asks for.
        padding: its ``pad_token_id``.

    >>> text_positions("bert", 512, 0), text_positions("roberta", 514, 1)
    (512, 512)
    """
    if positions is None or positions < 1:
        return sys.maxsize
    return positions - (padding or 0) - 1 if kind in POSITIONS_BEHIND_PADDING else positions


def refuse_longer(name: str, length: int, config: PretrainedConfig) -> None:
    """InputError if texts are cut only behind the last position of the encoder that ``config`` describes.

    Args:
        name: of the setting that ``length`` is.
    """
    if problem := too_long(name, length, positions_of(config)):
        raise InputError(problem)


def positions_of(config: PretrainedConfig) -> int:
    """How many tokens the encoder that ``config`` describes reads at once."""
    positions = getattr(config, "max_position_embeddings", None)
    return text_positions(config.model_type, positions, getattr(config, "pad_token_id", None))


def too_long(name: str, length: int | None, positions: int) -> str | None:
    """What is wrong with a ``length`` in tokens for an encoder of so many ``positions``, if anything.

    >>> too_long("document_maxlen", 600, 512)
    'document_maxlen is 600; expected at most 512, the tokens that the encoder reads at once.'
    """
    if length is None or length <= positions:
        return None
    return f"{name} is {length}; expected at most {positions}, the tokens that the encoder reads at once."


def brief(error: Exception) -> str:
    """The beginning of an error's text, on one line."""
    return " ".join(str(error).split())[:200]
