"""Imports point down the house, as docs/developer/house.md draws it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def floors():
    """Rooms from the top down, as listed in the page's first block."""
    page = (ROOT / "docs" / "developer" / "house.md").read_text(encoding="utf-8")
    block = re.search(r"```\n(.*?)```", page, flags=re.DOTALL)[1]
    return [re.split(r"[/.\s]", line)[0] for line in block.splitlines()]


def imports():
    """(room, room it imports) for every import within the package, at any depth of the code."""
    for path in (ROOT / "gtx_bayes").rglob("*.py"):
        room = path.relative_to(ROOT / "gtx_bayes").with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            name = node.module.split(".")
            if name[0] == "gtx_bayes":
                targets = [name[1]] if len(name) > 1 else [alias.name for alias in node.names]
                yield from ((room, target) for target in targets)


def test_every_room_is_listed():
    found = {path.stem for path in (ROOT / "gtx_bayes").iterdir() if path.stem[0] != "_"}
    assert set(floors()) == found - {"py"}


def test_imports_point_down():
    floor = {room: at for at, room in enumerate(floors())}
    upward = {
        (room, target)
        for room, target in imports()
        if room[0] != "_" and room != target and floor[room] >= floor[target]
    }
    assert not upward


def test_finetuning_knows_labels_and_metrics_but_no_aggregation():
    """It reads tables of images as crowds are read: same columns, same order of classes."""
    seen = {target for room, target in imports() if room == "finetune"}
    tables = {"io", "classes", "columns"}
    assert seen <= {"finetune", "metrics", "decisions", "labels", "errors"} | tables


def test_libraries_stay_in_their_rooms():
    allowed = {
        "arviz": {"diagnostics"},
        "numpyro": {"inference", "models"},
        "flax": {"finetune"},
    }
    for path in (ROOT / "gtx_bayes").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for library, rooms in allowed.items():
            if re.search(rf"^\s*(import|from) {library}\b", text, flags=re.MULTILINE):
                assert rooms & set(path.parts), path


def test_no_module_branches_on_a_concrete_model():
    """Models are told apart by what they say of themselves; only abstract classes are asked for.

    Labelers with known parameters and priors may be made by name, as the paper's methods do.
    """
    model = r"\w+(?<!Labeler)(?<!Conjugate)Model"
    concrete = (
        "OneCoin|ClassConditional|ConfusionMatrix|HardExamples|ModelLabelers|SharedLooks|"
        rf"(OneCoin|ClassConditional|Confusion|Difficulty)Prior|{model}"
    )
    asked = re.compile(rf"isinstance\([^()]*,\s*[^()]*\b({concrete})\b")
    named = re.compile(rf"^\s*from gtx_bayes\.models\.\w+ import .*\b{model}\b", flags=re.MULTILINE)
    for path in (ROOT / "gtx_bayes").rglob("*.py"):
        where = path.relative_to(ROOT / "gtx_bayes").parts[0]
        text = path.read_text(encoding="utf-8")
        assert not asked.search(text), path
        if where != "models":
            assert not named.search(text), path
