import subprocess
import sys
from collections import Counter

from colbertv2.data.leakage import normalised
from colbertv2.data.sources import stdlib
from colbertv2.data.sources.code_search import MINIMUM_QUERY_WORDS, SPLITS
from colbertv2.data.sources.stdlib import library_files


def test_library_files_leave_out_tests_and_installed_packages(tmp_path):
    for name in ("a.py", "b/c.py", "test/x.py", "b/tests/x.py", "site-packages/y/z.py", "test_root.py", "b/n.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert library_files(tmp_path) == ["a.py", "b/c.py"]


def test_number_of_pairs():
    if sys.version_info[:2] == (3, 11):
        assert 5000 < len(stdlib.pairs()) < 5600
    assert len(stdlib.pairs()) > 3000


def test_pairs_are_unique_on_both_sides_and_long_enough():
    pairs = stdlib.pairs()
    for values in (
        [pair.doc_id for pair in pairs],
        [normalised(pair.source) for pair in pairs],
        [normalised(pair.query) for pair in pairs],
    ):
        assert max(Counter(values).values()) == 1
    assert min(len(pair.query.split()) for pair in pairs) == MINIMUM_QUERY_WORDS
    assert all(pair.doc_id.split() == [pair.doc_id] for pair in pairs)


def test_no_document_holds_its_query():
    assert not [pair.doc_id for pair in stdlib.pairs() if normalised(pair.query) in normalised(pair.source)]


def test_hardly_any_query_stands_in_another_document():
    everything = "\n".join(normalised(pair.source) for pair in stdlib.pairs())
    assert sum(normalised(pair.query) in everything for pair in stdlib.pairs()) <= 10


def test_splits_have_their_shares_and_no_module_straddles():
    split_of = stdlib.split_of_module()
    counts = Counter(split_of[pair.module] for pair in stdlib.pairs())
    assert set(counts) == set(SPLITS)
    for split, share in stdlib.SHARES.items():
        assert abs(counts[split] / len(stdlib.pairs()) - share) < 0.03
    assert {pair.module for pair in stdlib.pairs()} == set(split_of)


def test_another_process_finds_the_same(tmp_path):
    """The other process has an empty cache and another hash seed, so another order of sets."""
    script = (
        "from colbertv2.data.sources import stdlib; from colbertv2.data.opening import content_digest as digest;"
        "print(digest(stdlib.pairs()), digest(sorted(stdlib.split_of_module().items())))"
    )
    environment = {"IR_DATASETS_HOME": str(tmp_path), "PYTHONHASHSEED": "123", "PYTHONPATH": ":".join(sys.path)}
    output = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    from colbertv2.data.opening import content_digest

    here = [content_digest(stdlib.pairs()), content_digest(sorted(stdlib.split_of_module().items()))]
    assert output.stdout.split() == here


def test_the_cache_is_read_and_moves_with_the_library(tmp_path):
    module = tmp_path / "a.py"
    module.write_text('def f():\n    """Return the number one, always."""\n    return 1\n')
    before = stdlib.library_digest(tmp_path)
    assert before == stdlib.library_digest(tmp_path)
    module.write_text(module.read_text() + "\n")
    assert before != stdlib.library_digest(tmp_path)
