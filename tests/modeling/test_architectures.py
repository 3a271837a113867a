"""Every architecture that ColBERT models are built on trains, is saved, loaded, indexed and searched."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from architectures import ENCODERS, tiny_encoder
from support import no_bar, tiny_bert

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.indexing.index import Index
from colbertv2.modeling import initial
from colbertv2.modeling.attention import with_attention
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.batch import Tuples
from colbertv2.modeling.colbert import ColBERT, stacked
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.searcher import Searcher

TEXTS = ["sort the list", "open a file", "join (the) string", "parse: number, text"]
MARKED = Tokenization(12, 24, "[unused0]", "[unused1]", True, True, True, query_prompt="the ")
PLAIN = dataclasses.replace(MARKED, query_marker=None, document_marker=None, query_augmentation=False)


def model_of(kind: str, directory: Path, tokenization: Tokenization) -> ColBERT:
    backbone = Backbone(str(tiny_encoder(directory, kind)), None)
    return initial.colbert(backbone, tokenization, 16, "linear", [], 0)


@pytest.mark.parametrize("tokenization", [MARKED, PLAIN], ids=["marked", "plain"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_every_architecture_trains_and_finds(tmp_path, kind, tokenization):
    model = model_of(kind, tmp_path / "encoder", tokenization)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    _, scores = model.batch_scores(model.collate(Tuples(TEXTS, TEXTS)), all_pairs=True)
    assert scores is not None
    torch.nn.functional.cross_entropy(scores, torch.arange(len(TEXTS))).backward()
    optimizer.step()
    unmoved = [name for name, parameter in model.named_parameters() if torch.equal(before[name], parameter)]
    assert not [name for name in unmoved if "pooler" not in name and "token_type" not in name]
    model.save(tmp_path / "trained")
    loaded = ColBERT.load(tmp_path / "trained")
    assert loaded.tokenizer.tokenization == tokenization
    expected, vectors = model.encode_documents(TEXTS), loaded.encode_documents(TEXTS)
    assert all(np.array_equal(one, two) for one, two in zip(expected, vectors, strict=True))
    writer = EmbeddingsWriter(tmp_path / "embeddings", 16)
    writer.add(["a", "b", "c", "d"], *stacked(vectors, 16))
    writer.close()
    embeddings, codec = Embeddings.open(tmp_path / "embeddings"), Float16Codec()
    index = Index.build(embeddings, codec, tmp_path / "index", seed=0, bar=no_bar)
    found = Searcher(index, Exhaustive(), torch.device("cpu")).search(loaded.encode_queries(TEXTS), 4)
    assert all(len(results) == 4 and np.isfinite([score for _, score in results]).all() for results in found)


def test_attention_kernels_agree(tmp_path):
    model = model_of("bert", tmp_path / "encoder", MARKED)
    vectors = {kernel: with_attention(model, kernel).encode_documents(TEXTS) for kernel in ("eager", "sdpa")}
    assert model.transformer.config._attn_implementation == "sdpa"
    for one, two in zip(vectors["eager"], vectors["sdpa"], strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    with_attention(model, "eager").save(tmp_path / "eager")
    with_attention(model, "sdpa").save(tmp_path / "sdpa")
    files = [(tmp_path / kernel / "config.json").read_text() for kernel in ("eager", "sdpa")]
    assert files[0] == files[1], "the kernel is no part of a checkpoint"


def test_a_vocabulary_without_marker_or_mask_is_named(tmp_path):
    backbone = Backbone(str(tiny_bert()), None)
    with pytest.raises(InputError, match=r"query_marker is '\[Q\]', which is not in the tokenizer's vocabulary"):
        initial.colbert(backbone, dataclasses.replace(MARKED, query_marker="[Q]"), 16, "linear", [], 0)
