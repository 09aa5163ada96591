"""How the site is built: `sphinx-build -W --keep-going -n docs site`. Tables come from the package; see tables.py."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import tables  # noqa: E402

project = "pytest-diffprivacy"
author = "the authors of pytest-diffprivacy"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = project
html_show_copyright = False
html_copy_source = False
nitpicky = True
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]


def fill(app, page, source):
    """Put the tables where a page asks for them."""
    source[0] = tables.filled(source[0])


def setup(app):
    """Register `fill`."""
    app.connect("source-read", fill)
