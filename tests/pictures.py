"""Pictures of README and docs, drawn anew where what draws them has changed: `make pictures`.

    python -m tests.pictures [NAME ...] [--data FOLDER] [--browser PROGRAM] [--record]

`docs/images/pictures.json` has for each picture a signature of what drew it: of a study the
functions that `plot` reaches, of a page its template, its styles and what draws on it; comments and
docstrings are no part of it. Without NAME those are drawn whose signature is another now. FOLDER
holds the real crowds; PROGRAM is a headless browser that takes Chrome's options. `--record` writes
the signature of pictures that another command has drawn, such as `make paper`.
"""

import argparse
import ast
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
RECORD = IMAGES / "pictures.json"
PACKAGE = ROOT / "gtx_bayes"
REPORT = PACKAGE / "diagnostics" / "report"

STUDIES = ("table1", "figure1", "figure2", "assessment", "optimality", "policies")
PRICES = "worker,cost,accuracy\n" + "".join(
    f"{worker},{cost},{accuracy}\n"
    for worker, cost, accuracy in (
        ("judge a", 0.01, 0.85),
        ("judge b", 0.01, 0.8),
        ("judge c", 0.01, 0.75),
        ("person a", 1, 0.95),
        ("person b", 1, 0.93),
    )
)


class Picture(NamedTuple):
    """What draws a picture.

    Attributes:
        modules: Python files, of which those functions count that `roots` reach.
        roots: names of functions; all of the files where there are none.
        texts: templates and style sheets.
    """

    modules: tuple[Path, ...] = ()
    roots: tuple[str, ...] = ()
    texts: tuple[Path, ...] = ()


def _study(name):
    experiments = PACKAGE / "experiments"
    return Picture((experiments / f"{name}.py", experiments / "drawing.py"), ("plot",))


PICTURES = {
    **{name: _study(name) for name in (*STUDIES, "plan", "panel_plan", "gold_curve")},
    "sbc": Picture(
        (ROOT / "tests" / "benchmarks" / "sbc.py", PACKAGE / "diagnostics" / "plots.py"), ("draw",)
    ),
    "report": Picture(
        (REPORT / "figures.py", REPORT / "drawing.py"),
        texts=(*sorted(REPORT.glob("*.jinja")), *sorted(REPORT.glob("*.css"))),
    ),
}
"""All that a command here draws."""

TRAINED = ("figure4", "figure5", "noise_surface", "efficiency")
"""Of trainings that take an accelerator for hours; drawn by `gtx-bayes reproduce`, there."""

BY_HAND = ("live_label_studio", "live_page", "plates", "logo")
"""Screenshots of a running server, a drawing, and the logo, which `make furniture` checks."""


def _without_docstrings(tree):
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
            continue
        if isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):
            node.body = body[1:] or [ast.Pass()]
    return tree


def _definitions(tree):
    """The statements at the top of a module, by the names that they give."""
    found = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        for target in targets:
            name = getattr(target, "id", getattr(node, "name", None))
            if name is not None:
                found[name] = node
    return found


def _written(node):
    """The code of a node, the same in every version of Python, other than `ast.dump`."""
    if isinstance(node, list):
        return f"[{','.join(map(_written, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
    return f"{type(node).__name__}({','.join(f'{n}={_written(v)}' for n, v in fields)})"


def drawn_by(sources, roots):
    """The code of some modules that functions reach by name, or all of it without `roots`."""
    trees = [_without_docstrings(ast.parse(source)) for source in sources]
    if not roots:
        return "".join(map(_written, trees))
    found, reached, left = {}, {}, list(roots)
    for tree in reversed(trees):  # the first module's names come before those it imports
        found |= _definitions(tree)
    while left:
        name = left.pop()
        if name in found and name not in reached:
            reached[name] = _written(found[name])
            left += [node.id for node in ast.walk(found[name]) if isinstance(node, ast.Name)]
    return "".join(reached[name] for name in sorted(reached))


def signature(name):
    """Of what draws a picture today."""
    picture = PICTURES[name]
    code = drawn_by([path.read_text(encoding="utf-8") for path in picture.modules], picture.roots)
    texts = "".join(path.read_text(encoding="utf-8") for path in picture.texts)
    return hashlib.sha256((code + texts).encode()).hexdigest()[:16]


def recorded():
    return json.loads(RECORD.read_text(encoding="utf-8"))


def run(*words, **options):
    subprocess.run([*map(str, words)], check=True, **options)


def program(*words):
    run(sys.executable, "-m", "gtx_bayes", *words)


def draw(name, data, browser, folder):
    """One picture, into `folder`; the path of it."""
    if name in STUDIES:
        program("reproduce", name, "--output", folder)
    elif name == "plan":
        words = ("--target-error", 0.05, "--num-examples", 10000)
        program("plan", *words, "--output", folder)
    elif name == "panel_plan":
        (folder / "panel.csv").write_text(PRICES)
        words = ("--target-error", 0.02, "--num-examples", 10000, "--cost", folder / "panel.csv")
        program("plan", *words, "--output", folder / "panel")
        return folder / "panel" / "plan.png"
    elif name == "sbc":
        words = ("--output", folder / "sbc.md", "--plot", folder / "sbc.png")
        run(sys.executable, "-m", "tests.benchmarks.sbc", *words)
    elif data is None:
        raise SystemExit(f"{name} is of real crowds: --data FOLDER")
    elif name == "gold_curve":
        program("reproduce", name, "--crowds", data, "--output", folder)
    elif browser is None:
        raise SystemExit("the report's picture takes a headless browser: --browser PROGRAM")
    else:
        crowd, gold = Path(data) / "rte", folder / "gold.csv"
        lines = (crowd / "gold.csv").read_text().splitlines(keepends=True)
        gold.write_text("".join([lines[0], *lines[1::10]]))  # a tenth of what is known
        words = (crowd / "labels.csv", "--gold", gold, "--output", folder / "report")
        program("diagnose", *words)
        page, shot = folder / "report" / "report.html", folder / "report.png"
        run(
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1100,1230",
            f"--screenshot={shot}",
            page.as_uri(),
        )
    return folder / f"{name}.png"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="by default those that are not up to date")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--browser")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    record = recorded() if RECORD.exists() else {}
    stale = [name for name in PICTURES if record.get(name) != signature(name)]
    for name in options.names or stale:
        if not options.record:
            with tempfile.TemporaryDirectory() as folder:
                found = draw(name, options.data, options.browser, Path(folder))
                shutil.copy(found, IMAGES / f"{name}.png")
        record[name] = signature(name)
        RECORD.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")
        print(f"{name}.png", flush=True)


if __name__ == "__main__":
    main()
