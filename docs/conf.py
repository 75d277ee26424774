"""How the documentation is built: `make docs`, without a network."""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import equipoise

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Equipoise"
author = "the Equipoise developers"
project_copyright = author
version = release = equipoise.__version__

extensions = [
    "formulas",
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx_gallery.gen_gallery",
    "terminal",
]
exclude_patterns = ["_build", "examples", "gallery/*.ipynb", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
default_role = "literal"
smartquotes = False
toc_object_entries_show_parents = "hide"
html_math_renderer = "formulas"

# Links are checked; names of other projects are not looked up, since the build has no network.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!equipoise).*"),
    ("py:class", r"equipoise\.\w+\.[A-Z]"),  # type variables
]

# ---------------------------------------------------------------------------------------------------------------------
# Pages

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "tasklist"]
myst_heading_anchors = 3

# Notebooks are committed without outputs. They run here, in the interpreter that builds the pages: the kernel of _ext
# stands before any other of its name.
os.environ["JUPYTER_PATH"] = str(Path(__file__).parent / "_ext")
nb_execution_mode = "force"
nb_execution_raise_on_error = True  # a warning would be passed over by the next build, which keeps the page
nb_execution_timeout = 300  # for a cell; the first call of a kernel compiles it
nb_ipywidgets_js: dict[str, Any] = {}  # scripts from elsewhere

# ---------------------------------------------------------------------------------------------------------------------
# Reference

# Named one by one: with True a page that is new since the last build gets its stubs only in the next.
autosummary_generate = [f"api/{page.name}" for page in sorted((Path(__file__).parent / "api").glob("*.rst"))]
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
maximum_signature_line_length = 90
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

doctest_test_doctest_blocks = ""  # the doctest builder runs the code of the pages; pytest runs that of docstrings

# ---------------------------------------------------------------------------------------------------------------------
# Gallery

sphinx_gallery_conf = {
    "capture_repr": (),
    "download_all_examples": False,
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "image_srcset": ["2x"],
    "matplotlib_animations": False,
    "remove_config_comments": True,
    "reset_modules": ("matplotlib",),
    "show_memory": False,
    "show_signature": False,
    "within_subsection_order": "FileNameSortKey",
    "write_computation_times": False,  # those pages load scripts from elsewhere
}
warnings.filterwarnings("ignore", message=".*is non-interactive, and thus cannot be shown.*")

# ---------------------------------------------------------------------------------------------------------------------
# Looks

html_theme = "pydata_sphinx_theme"
html_title = "Equipoise"
html_static_path = ["_static"]
html_css_files = ["equipoise.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options: dict[str, Any] = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "navbar_end": ["theme-switcher"],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
html_sidebars = {name: [] for name in ("*", "families/*", "gallery/*")}  # the reference has many pages


def _escape_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings write absolute values with bars, which reStructuredText would take for substitutions."""
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else line.replace("|", r"\|") for line in lines]


def _escape_initials(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A reference that begins with an initial would be taken for the item "G." of a list."""
    lines[:] = [re.sub(r"^(\s*\.\. \[[\w-]+\] [A-Z])\. ", r"\1\\. ", line) for line in lines]


def _look_at_the_top(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Modules refer to their functions by name; some of these are documented as names of `equipoise` itself."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in equipoise.__all__:
        return None
    py = env.get_domain("py")
    return py.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], f"equipoise.{name}", node, content)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", _escape_bars)
    app.connect("autodoc-process-docstring", _escape_initials)
    app.connect("missing-reference", _look_at_the_top)
