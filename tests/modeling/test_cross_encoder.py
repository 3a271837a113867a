"""The cross-encoder: scoring heads, batching, files."""

import numpy as np
import pytest
import torch
from support import tiny_bert
from transformers import BertConfig, BertForSequenceClassification

from colbertv2.errors import InputError
from colbertv2.modeling.batch import Tuples
from colbertv2.modeling.cross_encoder import CrossEncoder

QUERIES = ["open a file", "sort the list", "join", "open " * 60]
DOCUMENTS = ["read the file", "list sort key", "string " * 50, "open " * 60]


def teacher(scoring_head: str = "late_interaction", maxlen: int = 32, temperature: float = 0.05) -> CrossEncoder:
    torch.manual_seed(0)
    return CrossEncoder.pretrained(tiny_bert(), maxlen, scoring_head, temperature).eval()


@pytest.mark.parametrize("scoring_head", ["late_interaction", "classifier"])
def test_scores_do_not_depend_on_batching_and_survive_the_file(tmp_path, scoring_head):
    model = teacher(scoring_head)
    together = model.predict(QUERIES, DOCUMENTS)
    alone = [model.predict([q], [d])[0] for q, d in zip(QUERIES, DOCUMENTS, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    model.save(tmp_path)
    loaded = CrossEncoder.load(tmp_path)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)
    # To the last bits: some processors' products depend on where weights begin in memory, and a file is mapped.
    np.testing.assert_allclose(together, loaded.predict(QUERIES, DOCUMENTS), rtol=1e-5)


def test_late_interaction_is_the_mean_maxsim_of_joint_states():
    model = teacher()
    pairs = model.encode_pairs(["open a file"], ["read the file"])
    states = torch.nn.functional.normalize(
        model.transformer(pairs.input_ids, token_type_ids=pairs.token_type_ids).last_hidden_state[0], dim=-1
    )
    expected = (states[1:4] @ states[5:8].T).amax(1).mean() / 0.05  # [CLS] open a file [SEP] read the file [SEP]
    assert model(pairs)[0].item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_two_texts_see_each_other():
    model = teacher()

    def query_states(document: str) -> torch.Tensor:
        pairs = model.encode_pairs(["open a file"], [document])
        return model.transformer(pairs.input_ids, token_type_ids=pairs.token_type_ids).last_hidden_state[0, 1:4]

    assert not torch.allclose(query_states("read the file"), query_states("sort a list"), atol=1e-3)


def test_knobs_move_the_scores():
    scores = teacher().predict(QUERIES, DOCUMENTS)
    assert not np.allclose(scores, teacher(temperature=0.1).predict(QUERIES, DOCUMENTS))
    assert not np.allclose(scores, teacher(maxlen=16).predict(QUERIES, DOCUMENTS))
    assert not np.allclose(scores, teacher("classifier").predict(QUERIES, DOCUMENTS))


def test_batch_scores_are_the_predictions():
    model = teacher()
    scores, _ = model.batch_scores(model.collate(Tuples(QUERIES[:2], DOCUMENTS)), all_pairs=False)
    queries = [QUERIES[0], QUERIES[0], QUERIES[1], QUERIES[1]]
    np.testing.assert_allclose(scores.detach().flatten().numpy(), model.predict(queries, DOCUMENTS), rtol=1e-4)


def test_errors(tmp_path):
    with pytest.raises(InputError, match="late_interaction, classifier"):
        teacher("mean")
    with pytest.raises(InputError, match="in-batch"):
        model = teacher()
        model.batch_scores(model.collate(Tuples(["a"], ["b"])), all_pairs=True)
    for file in tiny_bert().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    BertForSequenceClassification(BertConfig.from_pretrained(tiny_bert(), num_labels=3)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="3 labels"):
        CrossEncoder.pretrained(tmp_path, 32, "classifier", 1.0)
