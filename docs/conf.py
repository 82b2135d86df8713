"""Settings of Sphinx; every page is made from the code and the repository's own texts."""

from __future__ import annotations

import configparser
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for docs.*; the package itself is installed

_setup = configparser.ConfigParser()
_setup.read(ROOT / "setup.cfg", encoding="utf-8")

project = "Routing Gym"
author = "The Routing Gym authors"
version = release = _setup["metadata"]["version"]
copyright = author

extensions = [
    "sphinx.ext.autodoc",
    "myst_parser",
    "docs.pages",
    "docs.docstrings",
    "docs.references",
    "docs.mathematics",
    "docs.navigation",
    "docs.links",
]
root_doc = "index"
html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"

default_role = "py:obj"
add_module_names = False
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
maximum_signature_line_length = 120
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "ignore-module-all": True,  # what a module passes on stands where it was written
}
autodoc_use_type_comments = False
myst_heading_anchors = 4

# The network is not there, and so no other project's inventory: of these names only those of
# other projects may stay without a link. Every name of our own has to lead somewhere.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:(?!obj).*", r"(?!routing_gym\b).*"),
    # Single backticks hold code as well as names: `render()`, `K + 1`, a column, an option.
    (r"py:obj", r"(?!routing_gym\.).*"),
]
# Reports begin their sections where their page has put them.
suppress_warnings = ["myst.header"]
linkcheck_timeout = 20
