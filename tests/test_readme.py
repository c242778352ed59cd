"""What a stranger reads first is true: the example, its output, its figures and its links."""

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


def test_figures_are_those_of_the_table_of_real_crowds():
    table = (ROOT / "docs" / "real_crowds_table.md").read_text(encoding="utf-8")
    with_gold = table.partition("**10% gold**")[2].partition("\n\n|")[2].partition("\n\n")[0]
    rows = {cells[0]: cells[1:] for cells in map(cells_of, with_gold.splitlines())}

    def first(name, column):
        return float(rows[name][column].split()[0])

    others = [name for name in rows if name.startswith("crowd-kit")]
    best = [max(first(name, 0) for name in others)]
    best += [min(first(name, column) for name in others) for column in (1, 3)]
    said = re.search(
        r"\((\.\d+) against (\.\d+)\).*log loss (\.\d+) against ([\d.]+),\s+calibration error "
        r"(\.\d+) against (\.\d+)\.",
        README,
        flags=re.DOTALL,
    )
    ours = [first("gtx-bayes", column) for column in (0, 1, 3)]
    figures = [float(number) for number in said.groups()]
    assert figures[::2] == pytest.approx(ours, abs=0.0005)
    assert figures[1::2] == pytest.approx(best, abs=0.005)


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
