"""The README's own example, run as it stands."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.end_to_end
def test_python_example(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "prob_cat" in printed
    assert "ci_low" in printed


def test_table_of_methods_is_complete():
    from gtx_bayes import METHODS

    listed = re.findall(r"^\| `([a-z-]+)` \|", README, flags=re.MULTILINE)
    assert listed == list(METHODS)
