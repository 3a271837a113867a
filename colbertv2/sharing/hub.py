"""Pushing a directory to the Hugging Face hub, or to whatever ``HF_ENDPOINT`` names."""

import shlex
from pathlib import Path

from colbertv2.checkpoints.pretrained import brief
from colbertv2.errors import InputError


def check_push(name: str) -> None:
    """Check, before any work and without the network, that ``name`` can be a repository, and that there is a token.

    Raises:
        InputError: the name is not ``owner/name`` in the hub's letters, or nobody is logged in.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
        valid = name.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise InputError(
            f"--push is {name!r}; expected owner/name, of letters, digits, '-', '_' and '.': someone/my-colbert."
        )
    if get_token() is None:
        raise InputError(
            "--push needs a token of the hub with the right to write, and there is none. Log in (hf auth login), or "
            "set HF_TOKEN."
        )


def push(directory: Path, name: str, private: bool) -> str:
    """Create the repository ``name`` if needed, and add one commit with all files of ``directory``.

    A commit appears on the hub as a whole or not at all. Files of the repository that ``directory`` lacks stay.

    Args:
        directory: what to upload.
        name: ``owner/name``.
        private: whether a new repository is private; an existing one stays as it is.

    Returns:
        The address of the commit.

    Raises:
        InputError: the hub refused it or was not reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name, private=private or None, exist_ok=True)  # None is the owner's default
        return api.upload_folder(
            repo_id=name, folder_path=directory, commit_message="Upload a model by colbertv2 publish"
        ).commit_url
    except Exception as error:  # the hub's client raises a dozen unrelated types; all mean "not pushed"
        raise InputError(
            f"{directory} is complete, but pushing it to {api.endpoint}/{name} failed: {reason(error)} The hub "
            f"did not confirm a commit. To try again: hf upload {name} {shlex.quote(str(directory))}"
        ) from error


def reason(error: Exception) -> str:
    """Why the hub's client failed, and what to do about it."""
    what = ": ".join(filter(None, (type(error).__name__, brief(error))))
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return "the token is not valid (401). Log in again (hf auth login), or set HF_TOKEN."
    if status == 403:
        return "the token may not write there (403). Use a token with the right to write, or a name of your own."
    if status is not None:
        return f"the hub answered {status} ({what}). Try again later, or read its answer."
    return f"{what}. Check the network, and HF_ENDPOINT if it is set."
