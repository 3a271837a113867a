"""What the README tells a newcomer to type exists: make targets, configurations, public names, folders."""

import re
import shlex

import pytest

import colbertv2
from colbertv2.commands import convert
from colbertv2.commands.command_line import VERBS
from colbertv2.configuration.composition import CONF, compose

ROOT = CONF.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
COMMANDS = [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("python -m colbertv2")]


def test_make_targets_exist_and_document_themselves():
    mentioned = set(re.findall(r"make ([a-z-]+)", README)) - {"and"}
    targets = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert mentioned and mentioned <= targets


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command):
    words = shlex.split(command)[3:]
    if words[0] == "convert":
        assert convert.arguments(words[1:]).layout
        return
    overrides = [word for word in words if not word.startswith("-") and word not in VERBS]
    if "-m" in shlex.split(command)[3:] or any(word.startswith("+ablation=") for word in overrides):
        overrides = [re.sub(r"=([^,\[]+),.*", r"=\1", word) for word in overrides]
    assert compose(overrides).pipeline


def test_python_example_uses_public_names():
    for names in re.findall(r"^from colbertv2 import (.+)$", README, re.MULTILINE):
        for name in names.split(", "):
            assert hasattr(colbertv2, name)


def test_every_public_name_resolves():
    for name in colbertv2.__all__:
        assert callable(getattr(colbertv2, name))
    with pytest.raises(AttributeError, match="no attribute"):
        _ = colbertv2.nothing


def test_the_tree_is_the_tree():
    for folder in re.findall(r"^  ([a-z]+)/ ", README, re.MULTILINE):
        assert (ROOT / "conf" / folder).is_dir() or (ROOT / "colbertv2" / folder).is_dir(), folder
