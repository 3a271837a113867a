"""Damaged, foreign and malicious checkpoints are refused in all layouts."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from checkpoints.layouts import LAYOUTS, edit
from safetensors.torch import load_file, save_file
from support import tiny_bert

from colbertv2.checkpoints.layouts import layout_of, read_checkpoint
from colbertv2.errors import InputError
from colbertv2.interchange.conversion import convert_checkpoint
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT

WEIGHTS = {
    "colbertv2": "projection.safetensors",
    "official": "model.safetensors",
    "pylate": "1_Dense/model.safetensors",
    "sentence_transformers": "1_Dense/model.safetensors",
}
SETTINGS = {
    "colbertv2": "colbert.json",
    "official": "artifact.metadata",
    "pylate": "config_sentence_transformers.json",
    "sentence_transformers": "config_sentence_transformers.json",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_truncated_weights(saved, layout):
    file = saved[layout] / WEIGHTS[layout]
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match="damaged"):
        ColBERT.load(saved[layout])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("wrong", ["no JSON {", "[1]"])
def test_damaged_settings(saved, layout, wrong):
    (saved[layout] / SETTINGS[layout]).write_text(wrong)
    with pytest.raises(InputError, match=SETTINGS[layout]):
        ColBERT.load(saved[layout])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"doc_maxlen": "300; import os"}, "doc_maxlen is '300; import os'; expected int"),
        ({"doc_maxlen": True}, "expected int"),
        ({"mask_punctuation": "yes"}, "expected bool"),
        ({"query_token_id": 1}, "expected str"),
        ({"dim": 96}, "dim is 96, but linear.weight has 8 rows"),
        ({"similarity": "l2"}, "only 'cosine'"),
        ({"interaction": "flipr"}, "only 'colbert'"),
        ({"query_maxlen": 1}, "at least 4"),
        ({"query_token_id": "[nowhere]"}, "vocabulary"),
        ({"config": 3}, "expected a JSON object"),
        ({"doc_maxlen": 10**9}, "at most 512"),
    ],
)
def test_tampered_official_metadata(saved, values, message):
    edit(saved["official"] / "artifact.metadata", **values)
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        ColBERT.load(saved["official"])


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("1_Dense/config.json", {"bias": True}, r"expects \['linear\.bias', 'linear\.weight'\]"),
        ("1_Dense/config.json", {"gate": "softmax"}, "unknown key 'gate'"),
        (
            "1_Dense/config.json",
            {"module_input_name": "sentence_embedding"},
            "module_input_name is",
        ),
        ("1_Dense/config.json", {"activation_function": "torch.nn.Bilinear"}, "activation_function is"),
        ("1_Dense/config.json", {"activation_function": "os.system"}, "activation_function is 'os.system'"),
        ("1_Dense/config.json", {"use_residual": True}, r"expects .*residual\.weight"),
        ("1_Dense/config.json", {"use_residual": "yes"}, "use_residual is 'yes'; expected bool"),
        ("1_Dense/config.json", {"out_features": 4}, "4 × 32"),
        ("config_sentence_transformers.json", {"prompts": {"query": 3}}, "the prompt 'query' is 3; expected a text"),
        ("config_sentence_transformers.json", {"skiplist_words": [1]}, "skiplist_words"),
        ("config.json", {"auto_map": {"AutoModel": "evil.Evil"}}, "auto_map"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}, "auto_map"),
        ("config.json", {"model_type": "no-such-model"}, "no-such-model"),
        ("config.json", {"model_type": "t5", "classifier_dropout": 0.0}, "an encoder with a decoder"),
        ("config.json", {"hidden_size": "many"}, r"config\.json"),
        ("config.json", {"num_attention_heads": 0}, r"config\.json"),
        ("config.json", {"hidden_size": 10**9, "num_attention_heads": 1}, "35 of another shape"),
        ("config_sentence_transformers.json", {"default_prompt_name": "x"}, "default_prompt_name"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "do_lower_case"),
    ],
)
def test_tampered_pylate_settings(saved, file, values, message):
    (saved["pylate"] / "sentence_bert_config.json").write_text("{}")
    edit(saved["pylate"] / file, **values)
    with pytest.raises(InputError, match=message):
        ColBERT.load(saved["pylate"])


@pytest.mark.parametrize(
    "modules",
    [
        [
            {"type": "a.Transformer", "path": ""},
            {"type": "b.Dense", "path": "1_Dense"},
            {"type": "b.LayerNorm", "path": "2"},
        ],
        [{"type": "b.Dense", "path": "1_Dense"}, {"type": "a.Transformer", "path": ""}],
        [{"type": "a.Transformer", "path": ""}, {"type": "b.Dense", "path": "../elsewhere"}],
        [{"type": "b.Dense"}],
    ],
    ids=["unknown layer", "wrong order", "path outside", "no path"],
)
def test_pylate_modules_that_are_no_colbert(saved, modules):
    (saved["pylate"] / "modules.json").write_text(json.dumps(modules).replace("b.Dense", "pylate.models.Dense.Dense"))
    with pytest.raises(InputError, match=r"modules\.json"):
        ColBERT.load(saved["pylate"])


def test_weights_of_another_architecture(saved):
    file = saved["official"] / "model.safetensors"
    tensors = load_file(file)
    for wrong, message in [
        ({name: tensor for name, tensor in tensors.items() if name != "linear.weight"}, "no linear.weight"),
        ({name: tensor for name, tensor in tensors.items() if "layer.1" not in name}, "16 missing"),
        ({**tensors, "linear.weight": torch.zeros(8, 16)}, r"expected \[dim, 32\]"),
        ({**tensors, "classifier.weight": torch.zeros(2, 32)}, "classifier.weight"),
        ({**tensors, "bert.encoder.layer.9.x": torch.zeros(2)}, r"1 unknown \(encoder\.layer\.9\.x\)"),
        ({**tensors, "bert.embeddings.LayerNorm.weight": torch.zeros(5)}, r"LayerNorm\.weight is \[5\], not \[32\]"),
    ]:
        save_file(wrong, file)
        with pytest.raises(InputError, match=message):
            ColBERT.load(saved["official"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"document_maxlen": "300"}, "'document_maxlen' is '300'; expected a whole number"),
        ({"query_maxlen": None}, "'query_maxlen' is None; expected a whole number of at least 4"),
        ({"skip_punctuation": 1}, "expected true or false"),
        ({"skiplist": [1]}, "expected a list, each item text"),
        ({"extra": 1}, "unknown key 'extra'"),
    ],
)
def test_tampered_settings_of_ours(saved, values, message):
    edit(saved["colbertv2"] / "colbert.json", **values)
    with pytest.raises(InputError, match=message):
        ColBERT.load(saved["colbertv2"])


def test_settings_that_travelled_along_cannot_write_elsewhere(saved, tmp_path):
    modules = [{"type": "a.Transformer", "path": ""}, {"type": "pylate.Dense", "path": "../elsewhere"}]
    other = saved["official"] / "other_layouts.json"
    other.write_text(json.dumps({"pylate": {"modules": modules, "settings": {}, "dense": [{}]}}))
    with pytest.raises(InputError, match=r"modules\.json"):
        convert_checkpoint(str(saved["official"]), tmp_path / "out", "pylate")
    other.write_text(json.dumps({"pylate": "text"}))
    with pytest.raises(InputError, match="expected a JSON object"):
        convert_checkpoint(str(saved["official"]), tmp_path / "out", "pylate")
    for layout in ("pylate", "sentence_transformers"):
        for wrong in ({"dense": [1]}, {"settings": 3}, {"modules": {}}, {"transformer": []}):
            other.write_text(json.dumps({layout: wrong}))
            with pytest.raises(InputError, match=r"other_layouts\.json: \w+ of \w+ is damaged"):
                convert_checkpoint(str(saved["official"]), tmp_path / "out", layout)
    assert not (tmp_path / "out").exists() and not (tmp_path / "elsewhere").exists()


def test_plain_encoder_is_no_colbert():
    assert layout_of(tiny_bert()) is None
    with pytest.raises(InputError, match="not a ColBERT checkpoint"):
        ColBERT.load(tiny_bert())


@pytest.mark.parametrize(
    ("kinds", "refused"),
    [
        (["Transformer", "Dense"], True),
        (["Router", "Pooling"], True),
        (["Transformer", "WordWeights", "Pooling"], True),
        (["Transformer", "Pooling", "Dense", "Normalize"], False),
        (["Transformer", "Normalize", "Pooling"], False),
        (["Transformer"], False),
    ],
)
def test_trained_layers_for_token_vectors_are_not_dropped(tmp_path, kinds, refused):
    """A MultiVectorEncoder of sentence-transformers 6 was taken for a plain encoder, and its projection was lost."""
    directory = tmp_path / "model"
    shutil.copytree(tiny_bert(), directory)
    modules = [
        {"idx": place, "name": str(place), "path": f"{place}_{kind}" if place else "", "type": f"anything.{kind}"}
        for place, kind in enumerate(kinds)
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    backbone = Backbone(str(directory), sha256=None)
    if not refused:
        assert backbone.checkpoint is None and backbone.identity()
        return
    for read in (backbone.identity, lambda: backbone.checkpoint, lambda: read_checkpoint(directory)):
        with pytest.raises(InputError, match=rf"modules\.json lists {', '.join(kinds)}; expected only a Transformer"):
            read()


class Malicious:
    """An object that creates a file when it is unpickled in full."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_pickled_weights_are_read_and_malicious_ones_run_nothing(saved, tmp_path):
    safe = saved["official"] / "model.safetensors"
    expected = read_checkpoint(saved["official"]).encoder
    torch.save(load_file(safe), saved["official"] / "pytorch_model.bin")
    safe.unlink()
    found = read_checkpoint(saved["official"]).encoder
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    proof = tmp_path / "proof"
    torch.save({"linear.weight": Malicious(proof)}, saved["official"] / "pytorch_model.bin")
    with pytest.raises(InputError, match="nothing in it was run"):
        read_checkpoint(saved["official"])
    (saved["official"] / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(proof)))
    with pytest.raises(InputError, match="nothing in it was run"):
        read_checkpoint(saved["official"])
    assert not proof.exists()
