"""What is added to pages when they are read: one-line summaries of the API, and what to do next.

And what is changed in them when they are written, for those who have pages read to them.

Modules are read and not imported, so that a summary is the first line that stands in the file.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from next_steps import NEXT, colab
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]


def first_line(node: ast.AST) -> str:
    """The first line of a docstring, as text of Markdown."""
    assert isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    return plain(ast.get_docstring(node) or "")


def plain(text: str) -> str:
    """The first paragraph of a docstring, as a cell of a table."""
    line = text.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    return re.sub(r":math:`([^`]*)`", r"$\1$", line)


def tree_of(module: str) -> ast.Module:
    """The code of a module."""
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def exported() -> dict[str, str]:
    """Every name that the package exports, and its module."""
    for node in tree_of("gtx_bayes").body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HOME":
            return {
                name: f"gtx_bayes.{home}" for name, home in ast.literal_eval(node.value).items()
            }
    raise LookupError("gtx_bayes exports nothing")


def summary(name: str, module: str) -> str:
    """What a name is, in a line: of a class or function its docstring, else the text below it."""
    body = tree_of(module).body
    for at, node in enumerate(body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return first_line(node)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(getattr(target, "id", "") == name for target in targets):
            below = body[at + 1 : at + 2]
            if (
                below
                and isinstance(below[0], ast.Expr)
                and isinstance(below[0].value, ast.Constant)
            ):
                return plain(str(below[0].value.value))
    return ""


def with_summaries(page: str) -> str:
    """A page of the API with a table of its modules under the title."""
    modules = re.findall(r"^\.\. automodule:: (\S+)", page, flags=re.MULTILINE)
    if not modules:
        return page
    rows = [f"| {{mod}}`{m}` | {first_line(tree_of(m))} |" for m in modules]
    table = "\n".join(["| module | what is in it |", "|---|---|", *rows])
    title, _, rest = page.partition("\n")
    return f"{title}\n\n{table}\n{rest}"


def with_names(page: str) -> str:
    """The index of the API with what each exported name is."""
    homes = exported()

    def rows(line: re.Match[str]) -> str:
        found: list[str] = []
        for at, name in enumerate(re.findall(r"`(\w+)`", line["names"])):
            words = summary(name, homes[name]) if name in homes else ""
            found.append(f"| {'' if at else line['group']} | `{name}` | {words} |")
        return "\n".join(found)

    row = r"^\| (?P<group>[\w ]*) \| (?P<names>(?:`\w+`(?:, )?)+) \|$"
    return re.sub(row, rows, page.replace("| | |\n|---|---|", "| | | |\n|---|---|---|"), flags=re.M)


def steps(page: str) -> Iterator[str]:
    """Lines of Markdown that say where a reader goes from a page."""
    yield from ("", "## Next", "")
    for target, words in NEXT[page]:
        yield f"- [](/{target}): {words}"


def read(_: Sphinx, page: str, source: list[str]) -> None:
    """Add what is to be added to the source of a page."""
    if page == "api/index":
        source[0] = with_names(source[0])
    elif page.startswith("api/"):
        source[0] = with_summaries(source[0])
    if page not in NEXT:
        return
    if page.startswith("notebooks/"):
        notebook = json.loads(source[0])
        cell = {"cell_type": "markdown", "metadata": {}, "source": "\n".join(steps(page))}
        if notebook["nbformat_minor"] >= 5:
            cell["id"] = "next"
        first, *rest = notebook["cells"]
        if link := colab(page):
            first = first | {"source": f"{''.join(first['source'])}\n\n{link}"}
        source[0] = json.dumps(notebook | {"cells": [first, *rest, cell]})
    else:
        source[0] = source[0].rstrip() + "\n" + "\n".join(steps(page)) + "\n"


def written(_: Sphinx, __: str, ___: str, context: dict[str, Any], ____: Any) -> None:
    """Headers without words become cells, and the lines of a signature no list of definitions."""
    if body := context.get("body"):
        body = re.sub(r"<th(?: [^>]*)?>(?:<p></p>)?</th>", "<td></td>", body)
        context["body"] = re.sub(r"<dl>\n((?:<dd>.*</dd>\n)+)</dl>", _lines, body)


def _lines(found: re.Match[str]) -> str:
    """Parameters of a signature, each on its line."""
    return found[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")


def skip(_: Sphinx, __: str, ___: str, found: Any, is_skipped: bool, ____: Any) -> bool | None:
    """Leave out fields of named tuples, which the text of their class describes."""
    return True if type(found).__name__ == "_tuplegetter" else None


def described(_: Sphinx, what: str, ___: str, ____: Any, _____: Any, lines: list[str]) -> None:
    """Texts of variables, whose words up to a first colon would be read as a type."""
    if what in ("data", "attribute", "property") and lines:
        lines[0] = f": {lines[0]}"


def sign(_: Sphinx, __: str, ___: str, ____: Any, _____: Any, signature: str, result: str) -> Any:
    """Signatures in Python's own syntax, in which names are short and become links."""
    return (signature or "").replace("<factory>", "...") or signature, result


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", read)
    app.connect("html-page-context", written)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", described, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", sign)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
