"""The documentation is correct: its commands compose, its Python runs, its reference is complete."""

import re
import subprocess
import sys

import code_reference
import configuration_reference
import draw
import pytest
import results_pages
import yaml
from pages import ROOT, ablations, check_snippet, commands, site_pages, snippets, try_command

import colbertv2
from colbertv2.commands.command_line import VERBS
from colbertv2.configuration.composition import CONF, EXPERIMENTS, build, compose

PAGES = site_pages()
COMMANDS = sorted({(page, command) for page, text in PAGES.items() for command in commands(text)})
SNIPPETS = [
    pytest.param(text, id=f"{page}-{place}") for page, one in PAGES.items() for place, text in enumerate(snippets(one))
]
REFERENCE = configuration_reference.FOLDER


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    return configuration_reference.pages()


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_composes(page, command):
    try_command(command)


def test_a_command_that_does_not_exist_is_found():
    for wrong in ("make nothing", "python -m colbertv2 no_such_key=1", "python -m experiments.nothing", "rm -rf data"):
        with pytest.raises(Exception):  # noqa: B017
            try_command(wrong)


@pytest.mark.parametrize("text", SNIPPETS)
def test_every_snippet_imports_what_is_there(text):
    check_snippet(text)


@pytest.mark.parametrize("text", [param for param in SNIPPETS if str(param.id).startswith("guides/extend")])
def test_the_parts_of_the_guide_run(text):
    made = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr


def test_the_tutorial_makes_a_folder_that_opens(tmp_path):
    (text,) = snippets(PAGES["tutorial.md"])
    made = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    number = int(made.stdout.split()[0])
    small = [f"collection.path={tmp_path / 'data' / 'manual'}", f"runtime.root={tmp_path / 'artifacts'}"]
    found = build(compose(["collection=folder", *small, "target=bm25_metrics"]))
    assert number > 300 and (found.path / "metrics.json").is_file()


def test_every_group_and_every_key_is_in_the_reference(reference):
    folders = {file.name for file in CONF.iterdir() if file.is_dir()}
    assert folders == set(configuration_reference.GROUPS)
    for group in folders:
        page = reference[f"{REFERENCE}/{group}.md"]
        for file in (CONF / group).glob("*.yaml"):
            assert f"\n## {file.stem}\n" in page
            if group not in configuration_reference.WHOLE:
                for key in yaml.safe_load(file.read_text(encoding="utf-8")) or {}:
                    assert key in ("defaults", "_target_") or re.search(rf"^`{key}[.`]", page, re.MULTILINE), key


def test_every_key_of_the_top_is_in_the_reference(reference):
    page = reference[f"{REFERENCE}/top.md"]
    for key in set(yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))) - {"defaults", "hydra"}:
        assert re.search(rf"^`{key}[.`]", page, re.MULTILINE), key


def test_every_verb_is_in_the_reference():
    for verb in VERBS:
        assert f"| `colbertv2 {verb}` |" in PAGES["reference/commands.md"]


def test_every_ablation_is_in_the_reference(reference):
    for name in ablations():
        assert f"\n## {name}\n" in reference[f"{REFERENCE}/ablation.md"]


@pytest.mark.parametrize("name", ablations())
def test_what_a_key_moves_is_what_its_ablation_says(name):
    """Found by following references; tests/experiments/test_ablation.py compares addresses with the same comment."""
    text = (EXPERIMENTS / "ablation" / f"{name}.yaml").read_text(encoding="utf-8")
    stated = re.search(r"^# Moves: (.*)$", text, re.MULTILINE)
    axes = configuration_reference.merged(EXPERIMENTS / "ablation" / f"{name}.yaml")["hydra"]["sweeper"]["params"]
    keys = [key for key in axes if "@" not in key and key not in ("pipeline",)]
    if stated is None or not keys or len(keys) < len(axes) or stated[1].startswith("all but"):
        return
    content = yaml.safe_load(text)
    parents = [one for one in content.get("defaults", []) if isinstance(one, dict)]
    chosen = [(key, choice) for one in parents for key, choice in one.items() if key.startswith("override /")]
    groups = [f"{key.removeprefix('override /')}={choice}" for key, choice in chosen]
    found = configuration_reference.composed(*groups, f"target={content.get('target', 'metrics')}")
    moved = {node for key in keys for node in found.affected(key) if not node.startswith("teacher")}
    assert moved == set(stated[1].split())


def test_every_module_and_every_public_name_is_in_the_reference():
    pages = "\n".join(code_reference.pages().values())
    for name in code_reference.modules_of(colbertv2):
        assert f".. automodule:: {name}\n" in pages or name.endswith("__main__")
    for name, module in colbertv2.PUBLIC.items():
        assert f":: {module}.{name}\n" in pages


def test_every_result_has_a_page_and_is_listed_once():
    pages = results_pages.pages()
    listed = [name for group in results_pages.groups().values() for name in group]
    assert sorted(listed) == sorted(results_pages.sources())
    assert {f"{results_pages.FOLDER}/{name}.md" for name in listed} < set(pages)


@pytest.mark.parametrize("name", draw.DRAWINGS)
def test_a_diagram_is_what_its_script_draws(name):
    assert (ROOT / "docs" / "images" / f"{name}.svg").read_text(encoding="utf-8") == draw.DRAWINGS[name]().svg()


def test_the_conclusions_that_a_page_quotes_are_in_their_reports():
    quoted = re.findall(
        r"```\{conclusions\} (\S+)\n(.*?)```", (ROOT / "docs/benchmarks/worth_doing.md").read_text(), re.S
    )
    assert len(quoted) > 3
    for name, body in quoted:
        report = results_pages.sources()[name].read_text(encoding="utf-8")
        assert results_pages.conclusions(report, [line for line in body.splitlines() if line])
        with pytest.raises(ValueError, match="no conclusion begins with 'nothing like this'"):
            results_pages.conclusions(report, ["nothing like this"])
