"""Checkpoints in three layouts: nothing is lost between them, and nothing damaged, foreign or malicious gets in."""

import dataclasses
import itertools
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import tiny_bert

from colbertv2 import convert
from colbertv2.errors import InputError
from colbertv2.interchange.checkpoints import convert_checkpoint
from colbertv2.modeling import Backbone, ColBERT, Conventions, initial
from colbertv2.modeling.layouts import layout_of, read_checkpoint, write_checkpoint

CONVENTIONS = Conventions(12, 20, "[unused0]", "[unused1]", True, True, True)
LAYOUTS = ["colbertv2", "official", "pylate"]
WEIGHTS = {
    "colbertv2": "projection.safetensors",
    "official": "model.safetensors",
    "pylate": "1_Dense/model.safetensors",
}
SETTINGS = {"colbertv2": "colbert.json", "official": "artifact.metadata", "pylate": "config_sentence_transformers.json"}


@pytest.fixture
def saved(tmp_path, templates) -> dict[str, Path]:
    """A copy of :func:`templates` that a test may damage."""
    return {layout: Path(shutil.copytree(path, tmp_path / layout)) for layout, path in templates.items()}


@pytest.fixture(scope="module")
def templates(tmp_path_factory) -> dict[str, Path]:
    """The same tiny checkpoint in each layout, with fp16 weights, a pooler, and settings that mean nothing to us."""
    tmp_path = tmp_path_factory.mktemp("layouts")
    model = initial.colbert(Backbone(str(tiny_bert()), None), CONVENTIONS, 8, "orthogonal", [], 0)
    (tmp_path / "made").mkdir()
    model.save(tmp_path / "made")
    checkpoint = read_checkpoint(tmp_path / "made")
    checkpoint = dataclasses.replace(
        checkpoint,
        projection=checkpoint.projection.half(),
        encoder={
            **checkpoint.encoder,
            "pooler.dense.weight": torch.randn(32, 32),
            "pooler.dense.bias": torch.zeros(32),
        },
    )
    paths = {}
    for layout in LAYOUTS:
        paths[layout] = tmp_path / layout
        write_checkpoint(checkpoint, paths[layout], layout)
    for layout in LAYOUTS[1:]:
        (paths[layout] / "other_layouts.json").unlink()  # as if their own systems had saved them
    edit(paths["official"] / "artifact.metadata", lr=1e-5, kmeans_niters=20, nway=64, checkpoint="somewhere")
    edit(paths["pylate"] / "config_sentence_transformers.json", prompts={"a": "b"}, __version__={"pylate": "1.6.0"})
    return paths


def edit(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def content(directory: Path) -> dict[str, object]:
    """Everything that a layout says: tensors with their types, JSON values."""
    found: dict[str, object] = {}
    for file in sorted(directory.rglob("*")):
        name = file.relative_to(directory).as_posix()
        if file.suffix == ".safetensors":
            tensors = load_file(file)
            found |= {f"{name}:{key}": (str(tensor.dtype), tensor.tolist()) for key, tensor in tensors.items()}
        elif file.is_file() and file.name != "other_layouts.json" and not file.name.startswith("token"):
            found[name] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(LAYOUTS, 2)))
def test_round_trips_lose_nothing(saved, tmp_path, first, second):
    (third,) = set(LAYOUTS) - {first, second}
    convert_checkpoint(str(saved[first]), tmp_path / "b", second)
    convert_checkpoint(str(tmp_path / "b"), tmp_path / "c", third)
    convert_checkpoint(str(tmp_path / "c"), tmp_path / "d", first)
    assert content(tmp_path / "d") == content(saved[first])
    assert layout_of(tmp_path / "b") == second
    before, after = read_checkpoint(saved[first]), read_checkpoint(tmp_path / "b")
    # What the layout cannot say is fixed in it, and remembered for the way back.
    literal = {"colbertv2": before.conventions.literal_tokens, "official": False, "pylate": True}[second]
    assert after.conventions == dataclasses.replace(before.conventions, literal_tokens=literal)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_encodes_the_same(saved, layout):
    texts = ["sort the list, in python.", "", "join " * 40]
    expected, found = ColBERT.load(saved["colbertv2"]), ColBERT.load(saved[layout])
    for a, b in zip(expected.encode_documents(texts), found.encode_documents(texts), strict=True):
        assert (a == b).all()
    for a, b in zip(expected.encode_queries(texts), found.encode_queries(texts), strict=True):
        assert (a == b).all()


def test_settings_are_honoured_and_shown(saved, tmp_path):
    edit(saved["official"] / "artifact.metadata", doc_maxlen=33, attend_to_mask_tokens=False, mask_punctuation=False)
    shown = convert_checkpoint(str(saved["official"]), tmp_path / "out", "pylate")
    assert "document_maxlen: 33 (artifact.metadata: doc_maxlen)" in shown
    settings = json.loads((tmp_path / "out" / "config_sentence_transformers.json").read_text())
    assert settings["document_length"] == 33 and settings["skiplist_words"] == []
    assert settings["attend_to_expansion_tokens"] is False and settings["query_prefix"] == "[unused0]"
    tokenizer = ColBERT.load(saved["official"]).tokenizer
    assert tokenizer.documents(["join " * 99]).input_ids.shape[1] == 33
    assert not tokenizer.queries(["join"]).attention_mask.all() and tokenizer.documents(["a ."]).scored.all()


def test_pylate_skiplist_and_defaults(saved):
    file = saved["pylate"] / "config_sentence_transformers.json"
    edit(file, skiplist_words=["list", "."])
    assert read_checkpoint(saved["pylate"]).conventions.skiplist == ("list", ".")
    settings = json.loads(file.read_text())
    for key in ("skiplist_words", "query_length", "document_length", "do_query_expansion"):
        del settings[key]
    file.write_text(json.dumps(settings))
    found = read_checkpoint(saved["pylate"])
    assert (found.conventions.query_maxlen, found.conventions.document_maxlen) == (32, 180)
    assert found.conventions.skip_punctuation and "query_maxlen: 32 (PyLate's default)" in found.describe()


def test_official_layout_gets_a_padding_token_of_its_own(saved, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(saved["pylate"])
    tokenizer.pad_token = "[MASK]"  # as PyLate saves it
    tokenizer.save_pretrained(saved["pylate"])
    convert_checkpoint(str(saved["pylate"]), tmp_path / "out", "official")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").pad_token == "[PAD]"


@pytest.mark.parametrize(
    "change",
    [{"query_marker": None}, {"query_augmentation": False}, {"skiplist": ("list",)}],
    ids=lambda c: next(iter(c)),
)
def test_what_the_official_layout_cannot_say_is_refused(saved, tmp_path, change):
    checkpoint = read_checkpoint(saved["colbertv2"])
    changed = dataclasses.replace(checkpoint, conventions=dataclasses.replace(CONVENTIONS, **change))
    with pytest.raises(InputError, match="official layout always has"):
        write_checkpoint(changed, tmp_path / "out", "official")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    write_checkpoint(changed, tmp_path / "out", "pylate")
    assert read_checkpoint(tmp_path / "out").conventions == dataclasses.replace(
        changed.conventions, literal_tokens=True
    )


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
        ("1_Dense/config.json", {"bias": True}, "bias is True"),
        ("1_Dense/config.json", {"activation_function": "os.system"}, "activation_function is 'os.system'"),
        ("1_Dense/config.json", {"use_residual": True}, "use_residual"),
        ("1_Dense/config.json", {"out_features": 4}, "4 × 32"),
        ("config_sentence_transformers.json", {"skiplist_words": [1]}, "skiplist_words"),
        ("config.json", {"auto_map": {"AutoModel": "evil.Evil"}}, "auto_map"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}, "auto_map"),
        ("config.json", {"model_type": "no-such-model"}, "no-such-model"),
        ("config.json", {"model_type": "t5", "classifier_dropout": 0.0}, "an encoder with a decoder"),
        ("config.json", {"hidden_size": "many"}, r"config\.json"),
        ("config.json", {"num_attention_heads": 0}, r"config\.json"),
        ("config.json", {"hidden_size": 10**9, "num_attention_heads": 1}, r"by config\.json"),
        ("config_sentence_transformers.json", {"default_prompt_name": "a"}, "default_prompt_name"),
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
            {"type": "b.Dense", "path": "2"},
        ],
        [{"type": "a.Transformer", "path": ""}, {"type": "b.Dense", "path": "../elsewhere"}],
        [{"type": "b.Dense"}],
    ],
    ids=["two layers", "path outside", "no path"],
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
        ({name: tensor for name, tensor in tensors.items() if "layer.1" not in name}, "lack"),
        ({**tensors, "linear.weight": torch.zeros(8, 16)}, r"expected \[dim, 32\]"),
        ({**tensors, "classifier.weight": torch.zeros(2, 32)}, "classifier.weight"),
        ({**tensors, "bert.encoder.layer.9.x": torch.zeros(2)}, "which no bert encoder has"),
        ({**tensors, "bert.embeddings.LayerNorm.weight": torch.zeros(5)}, "by config.json"),
    ]:
        save_file(wrong, file)
        with pytest.raises(InputError, match=message):
            ColBERT.load(saved["official"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"document_maxlen": "300"}, "document_maxlen is '300'; expected int"),
        ({"query_maxlen": None}, "only markers can be"),
        ({"skip_punctuation": 1}, "expected bool"),
        ({"skiplist": [1]}, "list of words"),
        ({"extra": 1}, "holds 'extra'"),
    ],
)
def test_tampered_settings_of_ours(saved, values, message):
    edit(saved["colbertv2"] / "colbert.json", **values)
    with pytest.raises(InputError, match=message):
        ColBERT.load(saved["colbertv2"])


def test_settings_that_travelled_along_cannot_write_elsewhere(saved, tmp_path):
    modules = [{"type": "a.Transformer", "path": ""}, {"type": "pylate.Dense", "path": "../elsewhere"}]
    other = saved["official"] / "other_layouts.json"
    other.write_text(json.dumps({"pylate": {"modules": modules, "settings": {}}}))
    with pytest.raises(InputError, match=r"modules\.json"):
        convert_checkpoint(str(saved["official"]), tmp_path / "out", "pylate")
    other.write_text(json.dumps({"pylate": "text"}))
    with pytest.raises(InputError, match="expected a JSON object"):
        convert_checkpoint(str(saved["official"]), tmp_path / "out", "pylate")
    assert not (tmp_path / "out").exists() and not (tmp_path / "elsewhere").exists()


def test_shards(saved, tmp_path):
    whole = saved["official"] / "model.safetensors"
    tensors = load_file(whole)
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({name: tensors[name] for name in part}, saved["official"] / shard)
    index = {"weight_map": {name: shard for shard, part in shards.items() for name in part}}
    (saved["official"] / "model.safetensors.index.json").write_text(json.dumps(index))
    whole.unlink()
    convert_checkpoint(str(saved["official"]), tmp_path / "out", "official")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in names)
    (saved["official"] / "model-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-2\.safetensors is missing"):
        read_checkpoint(saved["official"])
    index["weight_map"][names[0]] = "../model-1.safetensors"
    (saved["official"] / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="weight_map"):
        read_checkpoint(saved["official"])


def test_an_unknown_version_is_shown(saved):
    edit(saved["official"] / "artifact.metadata", meta={"version": "colbert-v9"})
    assert "official checkpoint colbert-v9" in read_checkpoint(saved["official"]).describe()


def test_plain_encoder_is_no_colbert():
    assert layout_of(tiny_bert()) is None
    with pytest.raises(InputError, match="no ColBERT checkpoint"):
        ColBERT.load(tiny_bert())


class Malicious:
    """Unpickled in full, it makes a file."""

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


def test_names_of_old_are_read(saved):
    file = saved["pylate"] / "model.safetensors"
    expected = read_checkpoint(saved["pylate"]).encoder
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in load_file(file).items()}
    save_file(old, file)
    assert read_checkpoint(saved["pylate"]).encoder.keys() == expected.keys()


def test_command_line(saved, tmp_path, capsys):
    convert.main(["checkpoint", str(saved["official"]), str(tmp_path / "out"), "--to", "pylate"])
    assert "written to" in capsys.readouterr().out and layout_of(tmp_path / "out") == "pylate"
    with pytest.raises(SystemExit) as stopped:
        convert.main(["checkpoint", str(saved["official"]), str(tmp_path / "out"), "--to", "pylate"])
    assert stopped.value.code == 2 and "exists" in capsys.readouterr().err
