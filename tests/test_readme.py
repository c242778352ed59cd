"""What a stranger reads first is true: the example, its output, its figures and its links."""

import json
import re
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@pytest.mark.end_to_end
def test_python_example(capsys):
    """It prints what stands below it: the words as they are, the numbers within .02."""
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.split()
    assert len(printed) == len(shown.split())
    for found, said in zip(printed, shown.split(), strict=True):
        if re.fullmatch(r"\d+\.\d+", said):
            assert float(found) == pytest.approx(float(said), abs=0.02)
        else:
            assert found == said


def test_a_stranger_finishes_it():
    assert len(README.splitlines()) <= 120
    assert README.index("![") < README.index("```sh") < README.index("```python")


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_figures_are_those_that_a_command_wrote():
    """All that README says of real crowds stands in docs/quality.json, and no other figure."""
    record = json.loads((ROOT / "docs" / "quality.json").read_text(encoding="utf-8"))
    rows = {row["method"]: row for row in record["results"] if row["gold"] == 0.1}
    others = [row for name, row in rows.items() if name.startswith("crowd-kit")]
    best = [max(row["accuracy"]["mean"] for row in others)]
    best += [min(row[metric]["mean"] for row in others) for metric in ("log_loss", "ece")]
    said = re.search(
        r"\((\.\d+) against (\.\d+)\).*log loss (\.\d+) against ([\d.]+),\s+calibration error "
        r"(\.\d+) against (\.\d+)\.",
        README,
        flags=re.DOTALL,
    )
    ours = [rows["gtx-bayes"][metric]["mean"] for metric in ("accuracy", "log_loss", "ece")]
    pairs = [value for pair in zip(ours, best, strict=True) for value in pair]
    for figure, found in zip(said.groups(), pairs, strict=True):  # to as many digits as are shown
        digits = len(figure.partition(".")[2])
        assert abs(float(figure) - found) <= 0.5 * 10**-digits * (1 + 1e-9), (figure, found)
    assert len(record["sets"]) == 13
    assert "thirteen real crowds" in README
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    prose = re.sub(r"\]\([^)]*\)", "]", prose)
    numbers = re.findall(r"(?<![\w.-])\d*\.\d+", prose)
    assert sorted(numbers) == sorted([*said.groups(), "3.12"])


def test_registries_are_described_by_a_page_made_from_them(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    import registries

    page = (ROOT / "docs" / "registries.md").read_text(encoding="utf-8")
    for kind, registry in registries.KINDS.items():
        assert f"<!-- {kind} -->" in page
        rows = [cells_of(line) for line in registries.table(registry).splitlines()[2:]]
        assert [row[0] for row in rows] == [f"`{name}`" for name in registry.names(installed=False)]
        assert all(row[1] for row in rows)
    del sys.modules["registries"]


@pytest.mark.slow
@pytest.mark.end_to_end
def test_code_beside_that_of_other_libraries(tmp_path, monkeypatch):
    """Every block of ours in the page for people who come from them, in turn, and ten lines."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs" / "coming_from.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    ten = re.findall(r"^\| [\w' -]+ \| [^|]+ \| `([^`]+)`[^|]*\|$", page, flags=re.MULTILINE)
    assert len(ten) == 10
    found, values = {}, {}
    for block in blocks:
        exec(compile(block, "coming_from.md", "exec"), found)
        if "result" in found and not values:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of draws of so few answers
                values = {line: eval(line, found) for line in ten}
    assert len(blocks) == 6
    assert (
        list(found["labels"].index)
        == list(found["probs"].index)
        == list(dict.fromkeys(found["answers"]["task"]))
    )
    assert list(values["CrowdClassifier().fit_predict(answers)"].index) == list(
        found["labels"].index
    )
    assert values["loo.leave_one_out(exporters.arviz(result))"].pareto_k.size == 12
    assert (tmp_path / "crowd.npz").exists()
    assert list(found["summary"]["num_abstained"]) == [1, 1, 2]
