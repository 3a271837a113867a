"""Conversions between the checkpoint layouts lose nothing."""

import dataclasses
import itertools
import json
from pathlib import Path

import pytest
import torch
from checkpoints.layouts import LAYOUTS, LITERAL, TOKENIZATION, edit
from safetensors.torch import load_file, save_file

from colbertv2.checkpoints.layouts import layout_of, read_checkpoint, write_checkpoint
from colbertv2.commands import convert
from colbertv2.errors import InputError
from colbertv2.interchange.conversion import convert_checkpoint
from colbertv2.modeling.colbert import ColBERT


def content(directory: Path) -> dict[str, object]:
    """Everything in a checkpoint: tensors with their dtypes, and JSON values."""
    found: dict[str, object] = {}
    for file in sorted(directory.rglob("*")):
        name = file.relative_to(directory).as_posix()
        if file.suffix == ".safetensors":
            tensors = load_file(file)
            found |= {f"{name}:{key}": (str(tensor.dtype), tensor.tolist()) for key, tensor in tensors.items()}
        elif file.is_file() and file.name != "other_layouts.json" and not file.name.startswith("token"):
            found[name] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize(("first", "second", "third"), list(itertools.permutations(LAYOUTS, 3)))
def test_round_trips_lose_nothing(saved, tmp_path, first, second, third):
    convert_checkpoint(str(saved[first]), tmp_path / "b", second)
    convert_checkpoint(str(tmp_path / "b"), tmp_path / "c", third)
    convert_checkpoint(str(tmp_path / "c"), tmp_path / "d", first)
    assert content(tmp_path / "d") == content(saved[first])
    assert layout_of(tmp_path / "b") == second
    before, after = read_checkpoint(saved[first]), read_checkpoint(tmp_path / "b")
    # A setting that the layout can't express has a fixed value in it, and is kept for the way back.
    literal = LITERAL.get(second, before.tokenization.literal_tokens)
    assert after.tokenization == dataclasses.replace(before.tokenization, literal_tokens=literal)


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
    assert read_checkpoint(saved["pylate"]).tokenization.skiplist == ("list", ".")
    settings = json.loads(file.read_text())
    for key in ("skiplist_words", "query_length", "document_length", "do_query_expansion"):
        del settings[key]
    file.write_text(json.dumps(settings))
    found = read_checkpoint(saved["pylate"])
    assert (found.tokenization.query_maxlen, found.tokenization.document_maxlen) == (32, 180)
    assert found.tokenization.skip_punctuation and "query_maxlen: 32 (PyLate's default)" in found.describe()


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
    changed = dataclasses.replace(checkpoint, tokenization=dataclasses.replace(TOKENIZATION, **change))
    with pytest.raises(InputError, match="official layout can't express what"):
        write_checkpoint(changed, tmp_path / "out", "official")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    write_checkpoint(changed, tmp_path / "out", "pylate")
    assert read_checkpoint(tmp_path / "out").tokenization == dataclasses.replace(
        changed.tokenization, literal_tokens=True
    )


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


def test_names_of_old_are_read(saved):
    file = saved["pylate"] / "model.safetensors"
    expected = read_checkpoint(saved["pylate"]).encoder
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in load_file(file).items()}
    save_file(old, file)
    assert read_checkpoint(saved["pylate"]).encoder.keys() == expected.keys()


def test_command_line(saved, tmp_path, capsys):
    convert.main(["checkpoint", str(saved["official"]), str(tmp_path / "out"), "--to", "pylate"])
    assert "written to" in capsys.readouterr().out and layout_of(tmp_path / "out") == "pylate"
    for layout in LAYOUTS:
        convert.main(["checkpoint", str(tmp_path / "out"), str(tmp_path / f"to-{layout}"), "--to", layout])
        assert layout_of(tmp_path / f"to-{layout}") == layout
    with pytest.raises(SystemExit) as stopped:
        convert.main(["checkpoint", str(saved["official"]), str(tmp_path / "out"), "--to", "pylate"])
    assert stopped.value.code == 2 and "exists" in capsys.readouterr().err
