"""A tiny random BERT with a real vocabulary file, for unit tests without weights."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = "the a of in python list string join sort open file read write number text parse return value key map".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]


@cache
def tiny_bert() -> Path:
    """Directory of a 2-layer BERT of 32 dims, its vocabulary a few words, letters and punctuation."""
    directory = Path(mkdtemp(prefix="tiny-bert-"))
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789")
    pieces = SPECIAL + list(dict.fromkeys([*WORDS, *letters, *(f"##{letter}" for letter in letters), *"!.,;:()[]{}+-*/=_"]))
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    fast = FastTokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    fast.normalizer = BertNormalizer(lowercase=True)
    fast.pre_tokenizer = BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    fast.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=fast, **names).save_pretrained(directory)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=512, pad_token_id=0, **sizes)
    BertModel(config, add_pooling_layer=False).save_pretrained(directory)
    return directory
