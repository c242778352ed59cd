import ast
import importlib
import inspect

import gtx_bayes


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
    assert sorted(gtx_bayes.__all__) == sorted(typed)
    assert set(typed) <= set(dir(gtx_bayes))


def test_unknown_name():
    assert not hasattr(gtx_bayes, "gtx_bayse")
