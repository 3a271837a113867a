"""experiments/README.md agrees with the files of the experiments."""

from colbertv2.reproduction.catalogue import README, comments, generated, headed
from colbertv2.reproduction.experiment import names, path_of


def test_the_readme_is_as_generated():
    text = README.read_text(encoding="utf-8")
    assert generated(text) == text, "run: python -m colbertv2.reproduction.catalogue"
    assert all(f"make reproduce T={name}" in text for name in names())


def test_the_files_of_tables_begin_with_claim_command_cost_and_status():
    for name in names():
        text = path_of(name).read_text(encoding="utf-8")
        assert headed(name) == text, "run: python -m colbertv2.reproduction.catalogue"
        assert f"make reproduce T={name}" in text.splitlines()[1]


def test_an_ablation_is_described_by_its_first_lines(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("# @package _global_\n# What does it do?\n# Much.\n# Moves: index\nreport: 1\n")
    assert comments(file) == ("What does it do? Much.", "index")
