"""Encoders saved by transformers: complete ones of any architecture are loaded; what does not fit is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from architectures import ENCODERS, tiny_encoder, tokenizer_of
from checkpoints.layouts import TOKENIZATION, edit
from safetensors.torch import load_file, save_file
from support import tiny_bert
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from colbertv2.checkpoints.layouts import read_checkpoint
from colbertv2.checkpoints.pretrained import load_tokenizer
from colbertv2.errors import InputError
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone, load_transformer
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.cross_encoder import CrossEncoder

AUTO = [AutoModel, AutoModelForMaskedLM, AutoModelForPreTraining, AutoModelForQuestionAnswering]
AUTO += [AutoModelForSequenceClassification, AutoModelForTokenClassification]


def change(directory: Path, **changes: Tensor | None) -> None:
    """Replace, add or (None) remove tensors of the weights in ``directory``."""
    file = directory / "model.safetensors"
    tensors = {**load_file(file), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, file, {"format": "pt"})


@pytest.fixture
def bert(tmp_path) -> Path:
    return Path(shutil.copytree(tiny_bert(), tmp_path / "bert"))


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_is_the_same_whatever_head_it_was_saved_with(tmp_path, kind):
    for auto in AUTO:
        try:
            saved = tiny_encoder(tmp_path / auto.__name__, kind, auto)
        except ValueError:  # transformers has no such head for this architecture
            continue
        stored = {name.partition(".")[2]: tensor for name, tensor in load_file(saved / "model.safetensors").items()}
        stored |= load_file(saved / "model.safetensors")
        loaded = {
            name: tensor
            for name, tensor in load_transformer(saved).state_dict().items()
            if not name.startswith("pooler.")
        }
        assert loaded and all(torch.equal(tensor, stored[name]) for name, tensor in loaded.items())


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_layer_more_or_fewer_and_other_names_are_refused(tmp_path, kind):
    whole = tiny_encoder(tmp_path / "whole", kind)
    tensors = load_file(whole / "model.safetensors")
    second = [name for name in tensors if ".1." in f".{name}"]
    assert second

    def refused(message: str, stored: dict[str, Tensor]) -> None:
        save_file(stored, whole / "model.safetensors", {"format": "pt"})
        with pytest.raises(InputError, match=message) as caught:
            load_transformer(whole)
        assert str(whole) in str(caught.value) and "\n" not in str(caught.value)

    refused(f"{len(second)} missing", {name: one for name, one in tensors.items() if name not in second})
    third = {name.replace(".1.", ".2.", 1) if ".1." in name else name.replace("1.", "2.", 1) for name in second}
    refused(f"{len(third)} unknown", {**tensors, **{name: torch.zeros(1) for name in third}})
    refused("missing.*unknown", {f"other.{name}": tensor for name, tensor in tensors.items()})
    half = dict(list(tensors.items())[::2])
    refused("missing", half)


def test_what_belongs_to_no_encoder_is_refused_and_a_pooler_is_not(bert):
    change(bert, **{"pooler.dense.weight": torch.zeros(32, 32), "embeddings.position_ids": torch.arange(512)[None]})
    assert load_transformer(bert)
    change(bert, **{"linear.weight": torch.zeros(8, 32)})  # a ColBERT's projection, which transformers would drop
    with pytest.raises(InputError, match=r"1 unknown \(linear\.weight\)"):
        load_transformer(bert)


WRONG_WEIGHTS = {
    "another shape": (torch.zeros(9, 32), r"1 of another shape \(embeddings.word_embeddings.weight is \[9, 32\]"),
    "NaN": (torch.full((115, 32), torch.nan), "embeddings.word_embeddings.weight in .* contains NaN or infinity"),
    "infinity in half precision": (torch.full((115, 32), 1e6).half(), "contains NaN or infinity"),
    "integers": (torch.zeros(115, 32, dtype=torch.int8), "embeddings.word_embeddings.weight is I8; expected floating"),
}


@pytest.mark.parametrize(("tensor", "message"), WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS)
def test_wrong_weights(bert, tensor, message):
    change(bert, **{"embeddings.word_embeddings.weight": tensor})
    with pytest.raises(InputError, match=message):
        load_transformer(bert)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("linear.weight", torch.full((8, 32), torch.inf), "projection.linear.weight in .* NaN or infinity"),
        (
            "linear.weight",
            torch.zeros(8, 32, dtype=torch.int32),
            r"projection\.linear\.weight .* torch\.int32; expected floating",
        ),
        ("linear.weight", torch.zeros(0, 32), r"projection's weight is \[0, 32\]"),
        ("linear.weight", torch.zeros(256), r"projection's weight is \[256\]"),
    ],
)
def test_wrong_projections(tmp_path, name, tensor, message):
    initial.colbert(Backbone(str(tiny_bert()), None), TOKENIZATION, 8, "orthogonal", [], 0).save(tmp_path)
    save_file({name: tensor}, tmp_path / "projection.safetensors")
    with pytest.raises(InputError, match=message) as caught:
        read_checkpoint(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_weights_of_a_checkpoint_are_judged_as_any_others(tmp_path):
    initial.colbert(Backbone(str(tiny_bert()), None), TOKENIZATION, 8, "orthogonal", [], 0).save(tmp_path)
    change(tmp_path, **{"encoder.layer.1.output.dense.bias": torch.full((32,), torch.nan)})
    with pytest.raises(InputError, match=r"encoder.layer.1.output.dense.bias .* NaN"):
        ColBERT.load(tmp_path)
    name = "encoder.layer.1.output.dense.bias"
    change(tmp_path, **{name: None, name.replace("1", "2"): torch.zeros(32)})
    with pytest.raises(InputError, match=r"1 missing .*; 1 unknown \(encoder\.layer\.2"):
        ColBERT.load(tmp_path)


def test_a_released_teacher_has_its_head_and_a_new_one_gets_one(tmp_path, bert):
    released = tiny_encoder(tmp_path / "released", "bert", AutoModelForSequenceClassification, num_labels=1)
    teacher = CrossEncoder.pretrained(released, 16, "classifier", 1.0)
    assert torch.equal(
        teacher.transformer.get_parameter("classifier.weight"),
        load_file(released / "model.safetensors")["classifier.weight"],
    )
    assert CrossEncoder.pretrained(bert, 16, "classifier", 1.0)
    change(released, **{"classifier.weight": None})
    with pytest.raises(InputError, match=r"1 missing \(classifier\.weight\)"):
        CrossEncoder.pretrained(released, 16, "classifier", 1.0)
    change(bert, **{"encoder.layer.0.output.dense.bias": None})
    with pytest.raises(InputError, match=r"1 missing \((bert\.)?encoder\.layer\.0"):
        CrossEncoder.pretrained(bert, 16, "classifier", 1.0)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.safetensors", b"cut", r"model\.safetensors is damaged or cut short"),
        ("config.json", b'{"model_type": "gpt2"}', "gpt2 that generates text"),
        ("config.json", b'{"model_type": "bert", "is_decoder": true}', "bert that generates text"),
        ("config.json", b'{"model_type": "t5"}', "an encoder with a decoder"),
        (
            "config.json",
            b'{"model_type": "bert", "hidden_size": "many"}',
            r"config\.json is not one|can't be loaded",
        ),
    ],
)
def test_damaged_files_and_other_models(bert, file, content, message):
    (bert / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_transformer(bert)


def test_every_kind_of_tokenizer_is_that_of_its_encoder(tmp_path):
    for kind in ENCODERS:
        vocabulary = load_tokenizer(tiny_encoder(tmp_path / kind, kind)).get_vocab()
        assert vocabulary == tokenizer_of(kind).get_vocab()


def test_a_tokenizer_of_another_model_is_refused(bert, caplog):
    edit(bert / "config.json", vocab_size=100)
    with pytest.raises(
        InputError, match="ids up to 114, but the encoder has 100 embeddings; it belongs to another model"
    ):
        load_tokenizer(bert)
    edit(bert / "config.json", vocab_size=30522)
    load_tokenizer(bert)
    assert "has 115 ids, but the encoder has 30,522 embeddings: does it belong to another model?" in caplog.text
    edit(bert / "config.json", pad_token_id=7)
    with pytest.raises(
        InputError, match=r"padding is token 7, but that is 'the' in the tokenizer, whose padding is '\[PAD\]'"
    ):
        load_tokenizer(bert)


def test_a_padding_that_pylate_made_the_mask_is_no_contradiction(bert):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    tokenizer.pad_token = "[MASK]"
    tokenizer.save_pretrained(bert)
    assert load_tokenizer(bert).pad_token == "[MASK]"


def test_tokenizers_that_lack_something(bert):
    file = bert / "tokenizer.json"
    whole = json.loads(file.read_text())
    for values, message in [
        ({"post_processor": None}, "puts 0 tokens around a text"),
        ({"model": {**whole["model"], "vocab": {"[UNK]": 1}}}, "only special tokens and no words"),
        ({"model": 3}, "can't be loaded"),
    ]:
        file.write_text(json.dumps({**whole, **values}))
        with pytest.raises(InputError, match=message):
            load_tokenizer(bert)
    file.write_text(json.dumps(whole))
    edit(bert / "tokenizer_config.json", pad_token=None)
    with pytest.raises(InputError, match="no padding token"):
        load_tokenizer(bert)
    file.unlink()
    with pytest.raises(InputError, match="has no vocabulary"):
        load_tokenizer(bert)
