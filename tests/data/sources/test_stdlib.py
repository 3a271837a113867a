import subprocess
import sys
from collections import Counter

import pytest

from colbertv2.data.sources import stdlib
from colbertv2.data.sources.stdlib import first_sentence, functions, library_files


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Return a name.  Then more.", "Return a name."),
        ("Return a name, e.g. 'ls' or i.e. nothing.\n\nMore.", "Return a name, e.g. 'ls' or i.e. nothing."),
        ("A first line\n   that runs on.\n More!", "A first line that runs on."),
        ("Really? Yes.", "Really?"),
        ("See version 3.11 of it. Fine", "See version 3.11 of it."),
        ("One, two etc. and three", "One, two etc. and three"),
    ],
)
def test_first_sentence(docstring, sentence):
    assert first_sentence(docstring) == sentence


SOURCE = '''
class Tree:
    """A class is no document."""

    @property
    def height(self):
        """Return the height of it."""
        return self.h

    def walk(self):
        """Walk all the nodes.

        In order.
        """
        def visit(node):
            "Visit one single inner node."
            return node
        return visit

    def abstract(self):
        """Has nothing besides its docstring."""

    def plain(self):
        return 1
'''


def test_functions_are_documents_without_any_docstring():
    pairs = {pair.doc_id: pair for pair in functions(SOURCE, "m.tree")}
    assert list(pairs) == ["m.tree:Tree.height", "m.tree:Tree.walk", "m.tree:Tree.walk.visit"]
    assert pairs["m.tree:Tree.walk"].query == "Walk all the nodes."
    assert pairs["m.tree:Tree.walk"].source == (
        "def walk(self):\n    def visit(node):\n        return node\n    return visit"
    )
    assert pairs["m.tree:Tree.walk.visit"].module == "m"


def test_form_feeds_do_not_shift_lines():
    source = '"""Module."""\n\x0c\ndef f():\n    """Return the number one."""\n    return 1\n'
    (pair,) = functions(source, "m")
    assert pair.source == "def f():\n    return 1"


def test_code_on_the_docstring_line_is_not_lost():
    assert list(functions('def f(): "Return the number one."; return 1\n', "m")) == []


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
        [stdlib.normalised(pair.source) for pair in pairs],
        [stdlib.normalised(pair.query) for pair in pairs],
    ):
        assert max(Counter(values).values()) == 1
    assert min(len(pair.query.split()) for pair in pairs) == stdlib.MINIMUM_QUERY_WORDS
    assert all(pair.doc_id.split() == [pair.doc_id] for pair in pairs)


def test_no_document_holds_its_query():
    assert not [
        pair.doc_id for pair in stdlib.pairs() if stdlib.normalised(pair.query) in stdlib.normalised(pair.source)
    ]


def test_hardly_any_query_stands_in_another_document():
    everything = "\n".join(stdlib.normalised(pair.source) for pair in stdlib.pairs())
    assert sum(stdlib.normalised(pair.query) in everything for pair in stdlib.pairs()) <= 10


def test_splits_have_their_shares_and_no_module_straddles():
    split_of = stdlib.split_of_module()
    counts = Counter(split_of[pair.module] for pair in stdlib.pairs())
    assert set(counts) == set(stdlib.SPLITS)
    for split, share in stdlib.SPLITS.items():
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
