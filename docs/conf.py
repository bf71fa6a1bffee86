"""Settings of the site, which `python -m docs.make_site` builds."""

import crabnet_jit
from docs.extension import with_public_bases

project = "crabnet_jit"
author = "crabnet_jit developers"
project_copyright = "crabnet_jit developers"
version = release = crabnet_jit.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "docs.extension",
]
exclude_patterns = ["__pycache__"]
templates_path = ["templates"]
default_role = "literal"  # docstrings have code in single backticks
highlight_language = "none"
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings say the types in words
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autosummary_generate = True
autosummary_context = {"with_public_bases": with_public_bases()}
numpydoc_show_class_members = False  # they are on the page anyway, in full
nitpick_ignore_regex = [
    ("py:class", r"(?!crabnet_jit)[a-z_]+\..*|object|[A-Z]?[a-z]*Exception|[A-Za-z]*Error"),
]

pygments_dark_style = "github-dark"
html_theme = "furo"
html_title = f"crabnet_jit {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "sidebar_hide_name": False,
    "top_of_page_buttons": [],
    "light_css_variables": {"font-stack": "system-ui, sans-serif"},
}
html_use_opensearch = ""
