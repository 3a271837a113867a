"""Checkpoints of sentence-transformers 6 and PyLate: each setting that changes a vector is read exactly, or refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from architectures import tiny_encoder
from checkpoints.layouts import TOKENIZATION, edit
from safetensors.torch import load_file, save_file
from support import tiny_bert
from torch.nn.functional import gelu, normalize

from colbertv2.checkpoints.layouts import layout_of, read_checkpoint, write_checkpoint
from colbertv2.checkpoints.pretrained import load_tokenizer
from colbertv2.checkpoints.projection import Dense
from colbertv2.errors import InputError
from colbertv2.files import write_json
from colbertv2.interchange.conversion import convert_checkpoint
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT

LAYERED = ["colbertv2", "pylate", "sentence_transformers"]  # the official layout has one plain layer
TEXTS = ["sort the list, in python.", "", "join " * 40]
LAYERS = (
    Dense(torch.randn(24, 32), torch.randn(24), "GELU", True, torch.randn(24, 32)),
    Dense(torch.randn(24, 24), None, "Identity", True),
    Dense(torch.randn(8, 24), torch.randn(8)),
)


@pytest.fixture
def layered(saved, tmp_path) -> Path:
    """Our checkpoint with three layers and prompts."""
    checkpoint = read_checkpoint(saved["colbertv2"])
    tokenization = dataclasses.replace(
        checkpoint.tokenization, query_prompt="query: ", document_prompt="the text: ", literal_tokens=True
    )
    changed = dataclasses.replace(checkpoint, projection=LAYERS, tokenization=tokenization)
    write_checkpoint(changed, tmp_path / "layered", "colbertv2")
    return tmp_path / "layered"


@pytest.mark.parametrize("layout", LAYERED)
def test_several_layers_and_prompts_survive_every_layout(layered, tmp_path, layout):
    """Two dense layers, a bias or a residual were refused, and prompts were dropped."""
    convert_checkpoint(str(layered), tmp_path / "there", layout)
    convert_checkpoint(str(tmp_path / "there"), tmp_path / "back", "colbertv2")
    before, after = read_checkpoint(layered), read_checkpoint(tmp_path / "back")
    assert after.tokenization == before.tokenization
    for one, two in zip(before.projection, after.projection, strict=True):
        assert (one.activation, one.add_input) == (two.activation, two.add_input)
        assert one.tensors().keys() == two.tensors().keys()
        assert all(torch.equal(tensor, two.tensors()[name]) for name, tensor in one.tensors().items())
    assert "projection: 32 × 24 (GELU, bias, residual) → 24 × 24 (Identity, residual) → 24 × 8" in after.describe()
    first, second = ColBERT.load(layered), ColBERT.load(tmp_path / "there")
    for a, b in zip(first.encode_documents(TEXTS), second.encode_documents(TEXTS), strict=True):
        assert (a == b).all()
    with pytest.raises(InputError, match=r"can't express .* prompts; a projection with several layers"):
        convert_checkpoint(str(layered), tmp_path / "out", "official")


def test_layers_are_applied_in_order_with_bias_activation_and_residual(layered):
    model = ColBERT.load(layered)
    assert LAYERS[0].residual is not None
    encoding = model.tokenizer.documents(["sort the list"])
    with torch.no_grad():
        states = model.transformer(input_ids=encoding.input_ids).last_hidden_state
        first = gelu(states @ LAYERS[0].weight.T + LAYERS[0].bias) + states @ LAYERS[0].residual.T
        second = first @ LAYERS[1].weight.T + first
        expected = normalize(second @ LAYERS[2].weight.T + LAYERS[2].bias, dim=-1)
        torch.testing.assert_close(model(encoding), expected, atol=1e-5, rtol=1e-5)


def test_prompts_are_text_before_every_text(layered):
    tokenizer = ColBERT.load(layered).tokenizer
    words = tokenizer.tokenizer.convert_ids_to_tokens
    assert words(tokenizer.query_ids(["sort"])[0])[:3] == ["[CLS]", "[unused0]", "q"]
    assert words(tokenizer.document_ids(["sort"])[0]) == [
        "[CLS]", "[unused1]", "the", "text", ":", "sort", "[SEP]",
    ]  # fmt: skip
    assert len(tokenizer.document_ids(["sort " * 99])[0]) == TOKENIZATION.document_maxlen


def test_a_prompt_that_leaves_no_room_is_refused(layered):
    edit(layered / "colbert.json", query_prompt="sort the list " * 9)
    with pytest.raises(InputError, match="query_prompt fills all 12 tokens of query_maxlen"):
        ColBERT.load(layered)


def test_identity_knows_layers_and_prompts(layered, tmp_path):
    convert_checkpoint(str(layered), tmp_path / "model", "sentence_transformers")
    identities = [Backbone(str(tmp_path / "model"), None).identity()]
    changes = [
        ("1_Dense/config.json", {"activation_function": "torch.nn.modules.activation.ReLU"}),
        ("4_MultiVectorMask/config.json", {"skiplist_words": ["the"]}),
        ("config_sentence_transformers.json", {"prompts": {"query": "[unused0]q: ", "document": ""}}),
        ("sentence_bert_config.json", {"document_length": 19}),
    ]
    for number, (file, values) in enumerate(changes):
        copy = shutil.copytree(tmp_path / "model", tmp_path / f"copy{number}")
        edit(copy / file, **values)
        identities.append(Backbone(str(copy), None).identity())
    assert len({json.dumps(identity) for identity in identities}) == len(identities)


def test_prompts_of_pylate_are_honoured_without_a_default(saved):
    """They were dropped where the default prompt's name is null."""
    file = saved["pylate"] / "config_sentence_transformers.json"
    edit(file, prompts={"query": "q: ", "document": "d: ", "other": "o: "}, default_prompt_name=None)
    found = read_checkpoint(saved["pylate"])
    assert (found.tokenization.query_prompt, found.tokenization.document_prompt) == ("q: ", "d: ")
    assert "query_prompt: 'q: ' (config_sentence_transformers.json: prompts)" in found.describe()
    edit(file, prompts={"both": "b: "}, default_prompt_name="both")
    found = read_checkpoint(saved["pylate"]).tokenization
    assert (found.query_prompt, found.document_prompt) == ("b: ", "b: ")
    edit(file, prompts={"query": None, "passage": "p: "}, default_prompt_name=None)
    found = read_checkpoint(saved["pylate"]).tokenization
    assert (found.query_prompt, found.document_prompt) == ("", "")
    edit(file, prompts={"query": "q: ", "both": "b: "}, default_prompt_name="both")
    with pytest.raises(InputError, match="default prompt 'both' and other prompts named query or document"):
        read_checkpoint(saved["pylate"])


@pytest.mark.parametrize(
    ("prompts", "default", "expected"),
    [
        ({"passage": "p: "}, "passage", ("", "")),
        ({"corpus": "c: "}, None, ("", "")),
        ({"other": "o: "}, "other", ("", "")),
        ({"query": "q: ", "document": "d: ", "other": "o: "}, "other", ("q: ", "d: ")),
        ({"query": None, "document": "d: "}, None, ("", "d: ")),
    ],
)
def test_prompts_count_as_encode_query_and_encode_document_use_them(saved, prompts, default, expected):
    """sentence-transformers 6.2 always has prompts named query and document, so no other name is ever looked up."""
    file = saved["sentence_transformers"] / "config_sentence_transformers.json"
    edit(file, prompts=prompts, default_prompt_name=default)
    found = read_checkpoint(saved["sentence_transformers"]).tokenization
    assert (found.query_prompt, found.document_prompt) == expected


def test_the_length_of_all_texts_counts_without_other_lengths(saved):
    file = saved["sentence_transformers"] / "sentence_bert_config.json"
    edit(file, max_seq_length=24, document_length=None, query_expansion=None)
    found = read_checkpoint(saved["sentence_transformers"]).tokenization
    assert (found.query_maxlen, found.document_maxlen) == (24, 24)
    edit(file, max_seq_length="24")
    with pytest.raises(InputError, match="max_seq_length is '24'; expected int"):
        read_checkpoint(saved["sentence_transformers"])


def test_a_backbone_with_pickled_layers_is_refused(layered, tmp_path):
    """Their hash was not part of the identity, so two heads had the same address."""
    convert_checkpoint(str(layered), tmp_path / "model", "pylate")
    weights = tmp_path / "model" / "2_Dense" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    with pytest.raises(InputError, match=r"2_Dense has no \*\.safetensors"):
        Backbone(str(tmp_path / "model"), None).identity()


def test_a_multi_vector_encoder_as_it_is_saved(saved, tmp_path):
    """The files that sentence-transformers 6.2 writes for this model, key by key."""
    made = saved["sentence_transformers"]
    assert layout_of(made) == "sentence_transformers"
    kinds = [module["type"].rsplit(".", 1)[-1] for module in json.loads((made / "modules.json").read_text())]
    assert kinds == ["Transformer", "Dense", "MultiVectorMask", "Normalize"]
    transformer = json.loads((made / "sentence_bert_config.json").read_text())
    assert transformer["document_length"] == 20
    assert transformer["query_expansion"] == {"strategy": "fixed", "attend": True, "token": None, "length": 12}
    prompts = json.loads((made / "config_sentence_transformers.json").read_text())["prompts"]
    assert prompts == {"query": "[unused0]", "document": "[unused1]"}
    tokenizer = load_tokenizer(made)
    marker = tokenizer.convert_tokens_to_ids("[unused0]")
    assert tokenizer("[unused0]sort")["input_ids"][1] == marker, "the marker is one token in a text"
    assert load_tokenizer(saved["colbertv2"])("[unused0]sort")["input_ids"][1] != marker
    backbone = Backbone(str(made), None)
    model = initial.colbert(backbone, initial.tokenization(backbone, None), 8, "orthogonal", [], 0)
    expected = load_file(made / "1_Dense" / "model.safetensors")["linear.weight"].float()
    assert torch.equal(model.projection.weight, expected), "the trained projection is kept"


@pytest.mark.parametrize("older", [False, True], ids=["as now", "as transformers 4 wrote it"])
def test_registered_markers_are_taken_back(saved, tmp_path, older):
    """In our layout and the official one a marker in a text is plain text, so its token must not stay special."""
    if older:  # added tokens are in both files, and those of the configuration count
        tokens = json.loads((saved["colbertv2"] / "tokenizer.json").read_text())["added_tokens"]
        decoder = {str(token.pop("id")): token for token in tokens}
        edit(
            saved["colbertv2"] / "tokenizer_config.json", tokenizer_class="BertTokenizer", added_tokens_decoder=decoder
        )
    convert_checkpoint(str(saved["colbertv2"]), tmp_path / "there", "sentence_transformers")
    convert_checkpoint(str(tmp_path / "there"), tmp_path / "back", "colbertv2")
    there = load_tokenizer(tmp_path / "there")
    assert there("[unused0]sort")["input_ids"][1] == there.convert_tokens_to_ids("[unused0]")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert json.loads((tmp_path / "back" / file).read_text()) == json.loads((saved["colbertv2"] / file).read_text())


def test_settings_of_the_transformer_and_the_mask_are_honoured(saved):
    made = saved["sentence_transformers"]
    edit(made / "sentence_bert_config.json", query_expansion=None, query_length=9, document_length=None)
    edit(made / "2_MultiVectorMask" / "config.json", skiplist_words=["list", "nowhere"])
    edit(made / "config_sentence_transformers.json", prompts={"query": "q: ", "document": "[unused1]d: "})
    found = read_checkpoint(made).tokenization
    assert (found.query_maxlen, found.document_maxlen, found.query_augmentation) == (9, 512, False)
    assert (found.skip_punctuation, found.skiplist) == (False, ("list",))
    assert (found.query_marker, found.query_prompt) == (None, "q: ")
    assert (found.document_marker, found.document_prompt) == ("[unused1]", "d: ")


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("modules.json", None, "lists Transformer, Dense, MultiVectorMask; expected .* Normalize"),
        ("sentence_bert_config.json", {"query_expansion": {"strategy": "min", "length": 9}}, "only 'fixed'"),
        ("sentence_bert_config.json", {"query_expansion": {"strategy": "fixed"}}, "lacks length"),
        ("sentence_bert_config.json", {"query_expansion": {"strategy": "fixed", "length": 9, "a": 1}}, "key 'a'"),
        (
            "sentence_bert_config.json",
            {"query_expansion": {"strategy": "fixed", "length": 9, "token": "the"}},
            "pads with 'the'; expected the mask token",
        ),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task is 'fill-mask'"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "do_lower_case is True"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 9}}}, "processing_kwargs"),
        ("sentence_bert_config.json", {"rotary": True}, "key 'rotary', which is not understood"),
        ("sentence_bert_config.json", {"document_length": "9"}, "document_length is '9'; expected int"),
        ("2_MultiVectorMask/config.json", {"keep_only_token_ids": [3]}, "keep_only_token_ids is set"),
        ("2_MultiVectorMask/config.json", {"skiplist_tasks": ["query", "document"]}, "skiplist_tasks"),
        ("2_MultiVectorMask/config.json", {"drop": 1}, "key 'drop'"),
        ("config_sentence_transformers.json", {"truncate_dim": 4}, "key 'truncate_dim'"),
        ("config_sentence_transformers.json", {"default_prompt_name": "x"}, "default_prompt_name is 'x'"),
        ("config_sentence_transformers.json", {"__version__": {"sentence_transformers": "7.1.0"}}, r"7\.1\.0; only"),
        ("1_Dense/config.json", {"in_features": 31}, "8 × 31"),
    ],
)
def test_what_is_not_understood_is_refused(saved, file, values, message):
    path = saved["sentence_transformers"] / file
    if values is None:
        path.write_text(json.dumps(json.loads(path.read_text())[:-1]))
    else:
        edit(path, **values)
    with pytest.raises(InputError, match=message):
        ColBERT.load(saved["sentence_transformers"])


@pytest.mark.parametrize("layout", ["pylate", "sentence_transformers"])
def test_layers_whose_sizes_do_not_chain_are_refused(saved, tmp_path, layout):
    checkpoint = read_checkpoint(saved[layout])
    longer = dataclasses.replace(checkpoint, projection=(*checkpoint.projection, Dense(torch.eye(8))))
    write_checkpoint(longer, tmp_path / "out", layout)
    assert read_checkpoint(tmp_path / "out").dim == 8
    save_file({"linear.weight": torch.eye(9)}, tmp_path / "out" / "2_Dense" / "model.safetensors")
    edit(tmp_path / "out" / "2_Dense" / "config.json", in_features=9, out_features=9)
    with pytest.raises(InputError, match=r"Layer 2 of the projection is \[9, 9\]; expected \[dim, 8\]"):
        read_checkpoint(tmp_path / "out")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYERED)
def test_weights_in_16_bits_are_kept_and_used_in_32(saved, tmp_path, layout, dtype):
    checkpoint = read_checkpoint(saved[layout])
    half = dataclasses.replace(
        checkpoint, encoder={name: tensor.to(dtype) for name, tensor in checkpoint.encoder.items()}
    )
    write_checkpoint(half, tmp_path / "half", layout)
    found = read_checkpoint(tmp_path / "half")
    assert all(found.encoder[name].dtype == dtype for name in half.encoder)
    model = ColBERT.load(tmp_path / "half")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert np.isfinite(model.encode_queries(["sort the list"])[0]).all()


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "modernbert", "mpnet"])
def test_markers_of_other_tokenizers_become_prompts_that_tokenise_alike(tmp_path, kind):
    backbone = Backbone(str(tiny_encoder(tmp_path / "encoder", kind)), None)
    tokenization = dataclasses.replace(TOKENIZATION, literal_tokens=True, query_prompt="ask: ")
    initial.colbert(backbone, tokenization, 8, "orthogonal", [], 0).save(tmp_path / "ours")
    try:
        convert_checkpoint(str(tmp_path / "ours"), tmp_path / "theirs", "sentence_transformers")
    except InputError as refused:
        assert "would tokenise texts after the marker" in str(refused)
        assert kind in ("xlm-roberta", "mpnet"), "SentencePiece may mark a space after a special token"
        return
    ours, theirs = ColBERT.load(tmp_path / "ours").tokenizer, ColBERT.load(tmp_path / "theirs").tokenizer
    assert theirs.tokenization == tokenization
    assert ours.query_ids(TEXTS) == theirs.query_ids(TEXTS) and ours.document_ids(TEXTS) == theirs.document_ids(TEXTS)


def test_prompts_of_a_plain_encoder_are_told(tmp_path, caplog):
    """A single-vector model with prompts becomes a ColBERT without them only with a warning."""
    encoder = Path(shutil.copytree(tiny_bert(), tmp_path / "encoder"))
    write_json(encoder / "config_sentence_transformers.json", {"prompts": {"query": "query: ", "document": ""}})
    without = dataclasses.replace(TOKENIZATION, literal_tokens=True)
    initial.colbert(Backbone(str(encoder), None), without, 8, "linear", [], 0)
    assert "was trained with prompts, and none is set: query 'query: '" in caplog.text
    caplog.clear()
    initial.colbert(Backbone(str(encoder), None), dataclasses.replace(without, query_prompt="q: "), 8, "linear", [], 0)
    assert not caplog.text
