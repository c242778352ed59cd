"""Sphinx configuration: Markdown, notebooks as they are kept, formulas as MathML."""

import os
import shutil
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "gtx_bayes"
author = "the gtx_bayes maintainers"
copyright = "2026, the gtx_bayes maintainers"
release = version = installed_version("gtx_bayes")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "pages",
    "registries",
]
exclude_patterns = [
    "_ext",
    "accelerators_table.md",
    "coverage_table.md",
    "dependence_table.md",
    "estimates_table.md",
    "opinions_table.md",
    "panels_table.md",
    "real_crowds_table.md",
    "reproducing_tables.md",
    "sbc_table.md",
    "spread_table.md",
    "worlds_table.md",
]
nitpicky = False

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = os.environ.get("NB_EXECUTION_MODE", "off")
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_output_stderr = "remove"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
autodoc_default_options = {"members": True}
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

html_theme = "furo"
html_title = "gtx_bayes"
html_static_path = ["images", "_static"]
html_css_files = ["style.css"]
html_js_files = ["page.js"]
html_logo = html_favicon = "images/logo.svg"
html_math_renderer = "mathml"

# The notebooks stand beside the docs, with what they showed (`make notebooks`).
notebooks = HERE / "notebooks"
shutil.rmtree(notebooks, ignore_errors=True)
notebooks.mkdir()
for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
    shutil.copy(notebook, notebooks)
