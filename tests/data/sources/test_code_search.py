import pytest

from colbertv2.data.sources.code_search import cached, first_sentence, functions, read_functions


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


def test_unreadable_files_and_short_or_quoted_queries_are_left_out(tmp_path):
    (tmp_path / "old.py").write_text('def f():\n    """Return the number one, always."""\n    print 1\n')
    (tmp_path / "null.py").write_bytes(b"x = 1\0")
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n")
    assert [read_functions(tmp_path, f"{name}.py") for name in ("old", "null", "latin")] == [[], [], []]
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "__init__.py").write_text(
        'def f():\n    """Return the number one, always."""\n    return 1\n\n'
        'def short():\n    """Return it."""\n    return 1\n\n'
        'def quoted():\n    """Say that it is too late."""\n    return "Say that it is  too late."\n'
    )
    assert [pair.doc_id for pair in read_functions(tmp_path, "some/__init__.py")] == ["some:f"]


def test_pairs_are_extracted_once(tmp_path):
    pairs = list(functions(SOURCE, "m.tree"))
    assert cached(tmp_path / "pairs.jsonl", lambda: pairs) == tuple(pairs)
    assert cached(tmp_path / "pairs.jsonl", lambda: []) == tuple(pairs)
