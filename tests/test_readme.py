"""All that the README and CONTRIBUTING mention exists: targets, configurations, public names, folders."""

import re
from itertools import pairwise

import pytest
from pages import ROOT, TARGETS, blocks, check_snippet, commands, snippets, try_command

import colbertv2

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TYPED = [
    one for one in commands(README + CONTRIBUTING) if one.startswith(("python -m colbertv2", "colbertv2 ", "make "))
]


def test_make_targets_exist_and_document_themselves():
    mentioned = set(re.findall(r"make ([a-z-]+)", README)) - {"and"}
    assert mentioned and mentioned <= TARGETS


@pytest.mark.parametrize("command", TYPED)
def test_commands_compose(command):
    try_command(command)


def test_python_example_uses_public_names():
    for names in re.findall(r"^from colbertv2 import (.+)$", README, re.MULTILINE):
        for name in names.split(", "):
            assert hasattr(colbertv2, name)
    for text in snippets(README):
        check_snippet(text)


SHOWN = [
    pytest.param(code.text, output.text, id=f"{page}-{place}")
    for page in ("README.md", "docs/guides/python.md")
    for place, (code, output) in enumerate(pairwise(blocks((ROOT / page).read_text(encoding="utf-8"))))
    if code.language == "python"
]


@pytest.mark.parametrize(("code", "output"), SHOWN)
def test_python_examples_print_what_is_shown(code, output, capsys):
    exec(compile(code, "example", "exec"), {})
    assert capsys.readouterr().out == output


def test_every_public_name_resolves():
    for name in colbertv2.__all__:
        assert callable(getattr(colbertv2, name))
    with pytest.raises(AttributeError, match="no attribute"):
        _ = colbertv2.nothing


def test_the_tree_is_the_tree():
    for folder in re.findall(r"^  ([a-z]+)/ ", README, re.MULTILINE):
        assert (ROOT / "conf" / folder).is_dir() or (ROOT / "colbertv2" / folder).is_dir(), folder


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/README.md"])
def test_every_link_to_a_file_leads_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    for link in filter(None, links):
        assert (ROOT / page).parent.joinpath(link).exists(), f"{page} links to {link}"
