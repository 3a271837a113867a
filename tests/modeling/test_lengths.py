"""The configuration says how many tokens an encoder can read; greater lengths are refused before any work."""

import dataclasses
import shutil

import pytest
import torch
from architectures import ENCODERS, tiny_encoder
from checkpoints.layouts import TOKENIZATION, edit
from support import shrunk, tiny_bert, tiny_folder
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from colbertv2.checkpoints.pretrained import POSITIONS_BEHIND_PADDING
from colbertv2.configuration.composition import compose, plan
from colbertv2.errors import InputError
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.cross_encoder import CrossEncoder
from colbertv2.modeling.sentence import SentenceEncoder

WITHOUT_LIMIT = (
    "modernbert",
    "deberta-v2",
)  # relative positions: their max_position_embeddings is not the size of a table


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_last_length_is_read_and_the_next_one_refused(tmp_path, kind):
    backbone, positions = Backbone(str(tiny_encoder(tmp_path, kind)), None), ENCODERS[kind][1]
    assert backbone.max_length == positions
    fits = dataclasses.replace(TOKENIZATION, document_maxlen=positions)
    model = initial.colbert(backbone, fits, 8, "orthogonal", [], 0)
    assert len(model.encode_documents(["a b c d e f g h " * 20])[0]) == positions
    longer = dataclasses.replace(TOKENIZATION, document_maxlen=positions + 1)
    with pytest.raises(InputError, match=f"document_maxlen is {positions + 1}; expected at most {positions}"):
        initial.colbert(backbone, longer, 8, "orthogonal", [], 0)
    if kind not in WITHOUT_LIMIT:
        with pytest.raises((IndexError, RuntimeError)):
            model.transformer(input_ids=torch.full((1, positions + 1), 20))


def test_positions_behind_the_padding_are_those_that_the_models_have():
    others = {"albert", "bert", "big_bird", "convbert", "deberta", "distilbert", "electra", "ernie", "megatron-bert"}
    for kind in (POSITIONS_BEHIND_PADDING | others) & MODEL_MAPPING_NAMES.keys():
        with torch.device("meta"):
            model = AutoModel.from_config(
                AutoConfig.for_model(kind, **({"languages": ["en"]} if kind == "xmod" else {}))
            )
        tables = [
            module
            for name, module in model.named_modules()
            if name.endswith("embeddings.position_embeddings") and "entity" not in name
        ]
        behind = [isinstance(table, nn.Embedding) and table.padding_idx is not None for table in tables]
        assert kind == "ibert" or behind == [kind in POSITIONS_BEHIND_PADDING], kind


def test_lengths_that_a_checkpoint_is_searched_with(tmp_path):
    initial.colbert(Backbone(str(tiny_bert()), None), TOKENIZATION, 8, "orthogonal", [], 0).save(tmp_path)
    assert ColBERT.load(tmp_path, document_maxlen=512).tokenizer.tokenization.document_maxlen == 512
    with pytest.raises(InputError, match="document_maxlen is 513; expected at most 512"):
        ColBERT.load(tmp_path, document_maxlen=513)
    edit(tmp_path / "colbert.json", query_maxlen=600)
    with pytest.raises(InputError, match=r"query_maxlen \(colbert\.json\) is 600; expected at most 512"):
        ColBERT.load(tmp_path)


def test_lengths_of_the_other_encoders():
    with pytest.raises(InputError, match=r"teacher\.maxlen is 513; expected at most 512"):
        CrossEncoder.pretrained(tiny_bert(), 513, "late_interaction", 1.0)
    with pytest.raises(InputError, match="maxlen is 513; expected at most 512"):
        SentenceEncoder(Backbone(str(tiny_bert()), None), 513, torch.device("cpu"))


def test_all_lengths_are_judged_before_any_work(tmp_path):
    overrides = shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "root")
    assert plan(compose([*overrides, "document_maxlen=512", "teacher.maxlen=512"]))
    for name in ("document_maxlen", "teacher.maxlen"):
        with pytest.raises(InputError, match=f"{name} is 600; expected at most 512, the tokens that the encoder"):
            plan(compose([*overrides, f"{name}=600"]))
    with pytest.raises(InputError) as caught:
        plan(compose([*overrides, "model.tokenization.document_maxlen=600", "model.tokenization.query_maxlen=601"]))
    assert "model.tokenization.document_maxlen is 600; expected at most 512" in str(caught.value)
    assert "model.tokenization.query_maxlen is 601; expected at most 512" in str(caught.value)
    roberta = tiny_encoder(tmp_path / "roberta", "roberta", max_position_embeddings=514)
    overrides += [f"model.backbone.name={roberta}", "model.tokenization.query_marker=null"]
    overrides += ["model.tokenization.document_marker=null", "target=index"]
    assert plan(compose([*overrides, "document_maxlen=512"]))
    with pytest.raises(InputError, match="document_maxlen is 513; expected at most 512"):
        plan(compose([*overrides, "document_maxlen=513"]))


def test_a_teacher_without_a_trained_head_is_refused_before_any_work(tmp_path):
    overrides = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "root"), "teacher=msmarco_minilm"]
    with pytest.raises(InputError, match="its head would be random"):
        plan(compose([*overrides, f"teacher.backbone.name={tiny_bert()}"]))
    released = tiny_encoder(tmp_path / "released", "bert", AutoModelForSequenceClassification, num_labels=1)
    longest = ["teacher.maxlen=66", f"teacher.backbone.name={released}"]
    assert plan(compose([*overrides, *longest]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": "many"}, "hidden_size is 'many'; expected a whole number"),
        ({"max_position_embeddings": None, "model_type": "gpt2"}, None),
        ({"model_type": "gpt2"}, "gpt2 that generates text"),
    ],
)
def test_configurations_of_backbones_before_any_work(tmp_path, values, message):
    directory = shutil.copytree(tiny_bert(), tmp_path / "backbone")
    edit(directory / "config.json", **values)
    edit(directory / "tokenizer_config.json", mask_token=None)  # decoders' tokenizers have none
    if message is None:
        assert Backbone(str(directory), None).max_length > 10**9
        return
    overrides = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "root"), f"model.backbone.name={directory}"]
    with pytest.raises(InputError, match=message):
        plan(compose([*overrides, "model.tokenization.query_augmentation=false"]))
