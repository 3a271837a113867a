"""Tiny random encoders of several architectures, and small hand-made tokenizers of the three kinds."""

from pathlib import Path
from typing import Any

import torch
from support import WORDS, tiny_bert
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
}
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
# model_type → values in addition to SIZES, and the number of tokens that fit into 66 positions.
ENCODERS: dict[str, tuple[dict[str, Any], int]] = {
    "bert": ({"pad_token_id": 0}, 66),
    "distilbert": ({"pad_token_id": 0, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}, 66),
    "roberta": ({"pad_token_id": 1}, 64),
    "xlm-roberta": ({"pad_token_id": 1}, 64),
    "mpnet": ({"pad_token_id": 1}, 64),
    "modernbert": ({"pad_token_id": 0, **ENDS, "global_attn_every_n_layers": 1}, 66),
    "electra": ({"pad_token_id": 0, "embedding_size": 16}, 66),
    "deberta-v2": (
        {
            "pad_token_id": 0,
            "relative_attention": True,
            "position_biased_input": False,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
        },
        66,
    ),
}
ENCODERS = {kind: values for kind, values in ENCODERS.items() if kind in CONFIG_MAPPING}  # ModernBERT exists since 4.48


def tiny_encoder(directory: Path, kind: str, auto: Any = AutoModel, **values: Any) -> Path:
    """Save a random model with the class ``auto`` of transformers, and a tokenizer of the matching kind."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SIZES, **ENCODERS[kind][0], **values})
    auto.from_config(config).save_pretrained(directory)
    tokenizer_of(kind).save_pretrained(directory)
    return directory


def tokenizer_of(kind: str) -> PreTrainedTokenizerBase:
    """A tokenizer of the kind that an architecture usually has, with padding as in its configuration."""
    if kind in ("roberta", "modernbert"):
        return byte_level_bpe(["<s>", "<pad>"] if kind == "roberta" else ["<pad>", "<s>"])
    if kind in ("xlm-roberta", "deberta-v2", "mpnet"):
        return sentencepiece(["<pad>", "<s>"] if kind == "deberta-v2" else ["<s>", "<pad>"])
    return AutoTokenizer.from_pretrained(tiny_bert())


def wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerBase:
    """``tokenizer`` with ``<s>`` and ``</s>`` around a text."""
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ends
    )
    names = {"cls": "<s>", "bos": "<s>", "sep": "</s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    tokens = {f"{name}_token": token for name, token in names.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)


def byte_level_bpe(first: list[str]) -> PreTrainedTokenizerBase:
    """As in RoBERTa and ModernBERT: a space is part of the following word, written ``Ġ``."""
    merges = [("Ġ", symbol) for symbol in [*",.(!#", *"abcdefghijklmnopqrstuvwxyz"]]
    merges += [(".", "."), ("..", "."), (")", "."), ("#", "#"), ("##", ",")]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*first, "</s>", "<unk>", "<mask>", "[unused0]", "[unused1]", *alphabet, *map("".join, merges)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return wrapped(tokenizer)


def sentencepiece(first: list[str]) -> PreTrainedTokenizerBase:
    """As in XLM-R and DeBERTa: a space is written ``▁``, and is a separate token before most punctuation."""
    pieces = [*first, "</s>", "<unk>", "▁", "<mask>", "[unused0]", "[unused1]", "▁(", "▁..", "...", "、"]
    pieces += [*"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", *"abcdefghijklmnopqrstuvwxyz", *(f"▁{word}" for word in WORDS)]
    scores = [(piece, -1.0) for piece in dict.fromkeys(pieces)]  # so the fewest pieces win
    tokenizer = Tokenizer(Unigram(scores, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return wrapped(tokenizer)
