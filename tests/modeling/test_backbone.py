"""Messages for a model that the hub does not provide."""

import pytest
from huggingface_hub.utils import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from colbertv2.errors import InputError
from colbertv2.modeling.backbone import Backbone, locate


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (RepositoryNotFoundError, "no public model of that name; it may have been renamed or removed"),
        (GatedRepoError, "its owners grant access on request"),
        (LocalEntryNotFoundError, "can't be reached, and there is no earlier download"),
        (OSError, "OSError. Check the spelling and the network"),
    ],
)
def test_the_hub_does_not_give_a_model(monkeypatch, kind, expected):
    def refuse(*_, **__):
        raise kind.__new__(kind)  # without their constructors, which need an HTTP response

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(InputError) as raised:
        Backbone("someone/some-model", None)
    message = str(raised.value)
    assert message.startswith("'someone/some-model' is not a local directory") and expected in message
    assert "give its path" in message and "model=minilm" in message


def test_the_address_of_an_artifact_is_no_model_of_the_hub():
    with pytest.raises(InputError, match=r"looks like the address .* artifacts/train/train-8901c471dd"):
        locate("train-8901c471dd")
