"""Settings of the documentation site (``make docs``): Markdown as GitHub shows it, and the reference from docstrings.

The site's source is the whole repository, so that a link between pages is the same one on GitHub and here.
"""

import importlib
import io
import os
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

ROOT = Path(__file__).resolve().parents[1]
# What is imported for the reference must not touch the Airflow of whoever builds the site.
os.environ["AIRFLOW_HOME"] = str(ROOT / "build" / "airflow")
os.environ["COLUMNS"] = "86"

import airflow_provider_achieveit  # noqa: E402

project = "airflow-provider-achieveit"
version = release = airflow_provider_achieveit.__version__
copyright = "the authors; Apache License 2.0"  # noqa: A001 - Sphinx's name for it
extensions = ["myst_parser", "sphinx.ext.autodoc"]

root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/RESULTS.md",
    "dags_examples/README.md",
    "docs/*.md",
    "docs/reference/*.md",
]
exclude_patterns = [".*", "build", "dist"]
myst_heading_anchors = 4

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
nitpicky = True
# A quote that goes over several lines is right in a shell, and is coloured all the same.
suppress_warnings = ["misc.highlighting_failure"]
# Other people's names are not looked up: the site is built without a network.
nitpick_ignore_regex = [("py:.*", r"(?!\.?airflow_provider_achieveit).*")]

html_theme = "furo"
html_title = f"AchieveIt for Apache Airflow {version}"
html_extra_path = ["site_root"]
html_static_path = ["site_static"]
html_css_files = ["narrow.css"]
html_copy_source = False
html_show_sphinx = False


class CommandHelp(Directive):
    """Show what a command prints with ``--help``: the module to run, and its arguments."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return the printed text as a block."""
        module, *arguments = self.arguments[0].split()
        printed = io.StringIO()
        with redirect_stdout(printed), suppress(SystemExit):
            importlib.import_module(f"{module}.__main__").main([*arguments, "--help"])
        text = f"$ {' '.join(['python -m', module, *arguments])} --help\n{printed.getvalue()}"
        return [nodes.literal_block(text, text, language="console")]


def setup(app: Any) -> None:
    """Make the directive known to Sphinx."""
    app.add_directive("command-help", CommandHelp)
