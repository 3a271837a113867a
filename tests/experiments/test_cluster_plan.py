"""The page that compares plans for a cluster with reported times."""

from pages import ROOT

from colbertv2.planning.gpus import PEAK_SHARE, table
from experiments.speed.cluster_plan import OUT, REPORTED, report


def test_the_worst_check_is_said_first_and_the_calibration_is_no_check():
    found = [(row, row.value * (100 if row.calibrates else 3 if row.gpu == "t4" else 0.8)) for row in REPORTED]
    text = report(found)
    first = text.splitlines()[4]
    assert first.startswith(
        "- The worst time is off by a factor of 3.0: training with triples (ColBERTv2.0 for Spanish)"
    )
    assert "3 of 4 times are predicted too short" in first and "100.0" not in first
    assert "factor of 1.25" in text.splitlines()[5]


def test_the_page_has_every_row_and_every_gpu_with_its_source():
    page = OUT.read_text(encoding="utf-8")
    assert f"{PEAK_SHARE:.1%} of a GPU's peak" in page
    for row in REPORTED:
        assert row.source in page and f"| {row.value:g} {row.unit} |" in page
    for name, gpu in table().items():
        assert f"| `{name}` |" in page and gpu.source in page


def test_the_docs_show_the_page():
    page = (ROOT / "docs" / "benchmarks" / "msmarco_plan.md").read_text(encoding="utf-8")
    assert "{include} ../../experiments/results/cluster_plan.md" in page
