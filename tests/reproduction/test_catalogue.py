"""experiments/README.md says what the experiments' files say."""

from colbertv2.reproduction.catalogue import README, comments, generated
from colbertv2.reproduction.experiment import names


def test_the_readme_is_as_generated():
    text = README.read_text(encoding="utf-8")
    assert generated(text) == text, "run: python -m colbertv2.reproduction.catalogue"
    assert all(f"make reproduce T={name}" in text for name in names())


def test_an_ablation_is_described_by_its_first_lines(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("# @package _global_\n# What does it do?\n# Much.\n# Moves: index\nreport: 1\n")
    assert comments(file) == ("What does it do? Much.", "index")
