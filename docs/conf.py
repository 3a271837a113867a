"""Sphinx settings of the site; `make docs` builds it, and every warning is an error."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

project = "colbertv2"
author = "The colbertv2 authors"
project_copyright = author
html_title = "colbertv2"
exclude_patterns = ["_build", "notebooks/.ipynb_checkpoints"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinx_copybutton",
    "conclusions",
    "generated_pages",
    "math_in_html",
]

# Markdown
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # a generated page may begin its sections at any level

# Notebooks are run by `make docs` once, and again when they change; NOTEBOOKS=off shows them without output.
nb_execution_mode = {"on": "cache", "off": "off"}[os.environ.get("NOTEBOOKS", "on")]
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

# The reference. Names of other projects are not resolved, since a build asks the network for nothing.
nitpicky = True
TYPE_VARIABLES = "Item|Model|Part|Query|Record|Result|StageFunction|Class"
nitpick_ignore_regex = [
    ("py:.*", r"(?!colbertv2\.).*"),
    ("py:class", rf"colbertv2\.[\w.]+\.({TYPE_VARIABLES})"),
]
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# The look
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
highlight_language = "bash"
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"
