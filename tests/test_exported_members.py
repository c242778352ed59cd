"""The public names: a list that is changed on purpose, and what importing them costs."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gtx_bayes

PAGE = Path(__file__).parents[1] / "docs" / "api" / "index.md"
LISTED = re.search(r"from `gtx_bayes` itself\.\n(.*?)\n```", PAGE.read_text("utf-8"), re.DOTALL)[1]
PUBLIC = re.findall(r"`(\w+)`", LISTED)


def test_the_list():
    """The one of the documentation."""
    assert 40 <= len(PUBLIC) <= 60
    assert sorted(gtx_bayes.__all__) == sorted(PUBLIC)
    assert dir(gtx_bayes) == sorted(PUBLIC)


def test_every_listed_name_is_what_the_type_checker_sees():
    """The lazy table and the imports for type checkers are two lists of one thing."""
    tree = ast.parse(inspect.getsource(gtx_bayes))
    typed = {
        alias.asname: node.module.removeprefix("gtx_bayes.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gtx_bayes.")
        for alias in node.names
    }
    assert typed == gtx_bayes._HOME
    for name, home in typed.items():
        assert getattr(gtx_bayes, name) is getattr(
            importlib.import_module(f"gtx_bayes.{home}"), name
        )
    assert set(typed) | {"metrics", "__version__"} == set(PUBLIC)


def test_modules_need_no_import_and_nothing_heavy_is_loaded():
    """In a process of its own: here everything is imported already."""
    code = (
        "import sys, gtx_bayes\n"
        "heavy = {'jax', 'numpy', 'pandas', 'typing', 'importlib.metadata'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert gtx_bayes.errors.InputError is gtx_bayes.InputError\n"
        "assert 'jax' not in sys.modules\n"
        "assert callable(gtx_bayes.metrics.brier)\n"
        "assert gtx_bayes.__version__[0].isdigit()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["gtx_bayse", "__wrapped__", "_private"])
def test_unknown_name(name):
    assert not hasattr(gtx_bayes, name)
