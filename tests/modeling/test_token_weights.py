"""Weights of tokens for pruning: each is recomputed document by document, without batches, and in numpy."""

import numpy as np
import pytest
import torch
from architectures import ENCODERS, tiny_encoder
from support import tiny_bert
from transformers import AutoModel

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.modeling import initial
from colbertv2.modeling.attention import with_attention
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.token_weights import attention_received, last_attention, token_weights

TEXTS = ["sort a list, in place", "list", "sort the words of a text . by length", "list", "sort a dict, in place"]


def model_of(directory, skip_punctuation: bool = False) -> ColBERT:
    tokenization = Tokenization(12, 30, None, None, False, False, skip_punctuation)
    return initial.colbert(Backbone(str(directory), None), tokenization, 16, "orthogonal", [], 0)


@pytest.mark.parametrize("kind", ENCODERS)
def test_attention_is_what_a_token_receives_in_the_last_layer(tmp_path, kind):
    directory = tiny_encoder(tmp_path, kind)
    found = token_weights(model_of(directory), TEXTS, "attention", batch_tokens=20)
    tokenizer = model_of(directory).tokenizer
    eager = AutoModel.from_pretrained(directory, attn_implementation="eager").eval()
    for weights, ids in zip(found, tokenizer.document_ids(TEXTS), strict=True):
        with torch.no_grad():
            last = eager(input_ids=torch.tensor([ids]), output_attentions=True).attentions[-1][0].numpy()
        heads, length = last.shape[:2]
        expected = [sum(last[h, j, t] for h in range(heads) for j in range(length)) for t in range(length)]
        np.testing.assert_allclose(weights, expected, atol=1e-5)
        assert weights.sum() == pytest.approx(heads * length, abs=1e-3) and weights.std() > 1e-3


def test_the_norm_is_that_of_the_vector_before_it_is_normalised():
    model = model_of(tiny_bert()).eval()
    vectors, norms = model.encode_documents(TEXTS), token_weights(model, TEXTS, "norm")
    projection = model.projection.weight.detach().numpy()
    for own, weights, ids in zip(vectors, norms, model.tokenizer.document_ids(TEXTS), strict=True):
        with torch.no_grad():
            states = model.transformer(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
        np.testing.assert_allclose(own * weights[:, None], states @ projection.T, atol=1e-5)


@pytest.mark.parametrize("kind", ["attention", "norm"])
def test_each_vector_has_a_weight_and_equal_texts_have_equal_ones(kind):
    model = model_of(tiny_bert(), skip_punctuation=True)
    vectors, weights = model.encode_documents(TEXTS), token_weights(model, TEXTS, kind)
    assert [len(one) for one in vectors] == [len(one) for one in weights]
    np.testing.assert_array_equal(weights[1], weights[3])
    everything = token_weights(model_of(tiny_bert()), TEXTS, kind)
    np.testing.assert_allclose(weights[0], np.delete(everything[0], 4), atol=1e-6)  # without the comma's


def test_padding_neither_pays_nor_receives_attention():
    model = with_attention(model_of(tiny_bert()), "eager").eval()
    rows = model.tokenizer.document_ids(TEXTS[:2])
    with torch.no_grad():
        together = attention_received(model, model.tokenizer.pad_documents(rows))
        alone = attention_received(model, model.tokenizer.pad_documents(rows[1:]))
    torch.testing.assert_close(together[1, : len(rows[1])], alone[0])
    assert not together[1, len(rows[1]) :].any()


def test_a_transformer_without_attention_is_refused_by_name():
    class Silent(torch.nn.Module):
        def forward(self, input_ids, attention_mask, **_):
            return (torch.zeros(*input_ids.shape, 4),)

    encoding = model_of(tiny_bert()).tokenizer.documents(TEXTS)
    with pytest.raises(InputError, match="Silent does not return its attention"):
        last_attention(Silent(), encoding)
