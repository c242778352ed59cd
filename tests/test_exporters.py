"""Results as other tools take them."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gtx_bayes import Crowd, aggregate, exporters
from gtx_bayes.cli.commands import app
from gtx_bayes.errors import InputError
from gtx_bayes.io.writers import OutputDirectory, write_summary
from tests.exports import ANSWERS

EXAMPLES = pd.DataFrame(
    {"task": [11, 12], "prob_cat": [0.25, 1.0], "prob_dog": [0.75, 0.0], "label": ["dog", "cat"]}
)


def test_predictions_for_label_studio():
    first, second = exporters.label_studio(EXAMPLES, from_name="animal", to_name="image")
    value = {"choices": ["dog"]}
    choice = {"from_name": "animal", "to_name": "image", "type": "choices", "value": value}
    assert first == {"task": 11, "result": [choice], "score": 0.75, "model_version": "gtx-bayes"}
    assert second["score"] == 1.0
    with pytest.raises(InputError, match=r"row 1: task 'b.jpg' is no number"):
        exporters.label_studio(EXAMPLES.assign(task=["1", "b.jpg"]))


def test_fields_of_fiftyone():
    found = exporters.fiftyone(EXAMPLES)
    assert found["11"] == {"label": "dog", "confidence": 0.75}
    assert json.loads(exporters.as_text(found)) == found


def test_what_cleanlab_takes():
    """Its consensus by the majority is that of the columns."""
    crowd = Crowd.from_frames(pd.DataFrame(ANSWERS, columns=["task", "worker", "label"]))
    result = aggregate(crowd, "majority-vote")
    wide, probs = exporters.cleanlab(crowd.to_frames()[0], result.examples())
    np.testing.assert_allclose(probs, result.class_probs)
    assert list(wide.columns) == ["ann", "bob", "cyd"]
    for task, worker, label in ANSWERS:
        assert result.crowd.class_names[wide.loc[task, worker]] == label
    assert int(wide.notna().to_numpy().sum()) == len(ANSWERS)
    shares = [wide.eq(k).sum(axis=1) / wide.notna().sum(axis=1) for k in range(2)]
    np.testing.assert_allclose(np.stack(shares, axis=1), probs)


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(app, ["export", *map(str, arguments)])

    @pytest.fixture
    def examples(self, tmp_path):
        (tmp_path / "result").mkdir()
        EXAMPLES.to_csv(tmp_path / "result" / "examples.csv", index=False)
        return tmp_path / "result"

    @pytest.mark.parametrize("tool", exporters.IN_JSON)
    def test_json(self, tool, examples, tmp_path):
        run = self.run(examples, "--to", tool, "-o", tmp_path / "out.json", "--json")
        assert run.exit_code == 0, run.stderr
        expected = exporters.IN_JSON[tool](EXAMPLES)
        assert json.loads((tmp_path / "out.json").read_text()) == json.loads(json.dumps(expected))
        assert json.loads(run.stdout)["classes"] == ["cat", "dog"]

    def test_a_dataset(self, examples, tmp_path):
        out = tmp_path / "out"
        for _ in range(2):  # the second replaces the first
            run = self.run(examples / "examples.csv", "--to", "hugging-face", "-o", out)
            assert run.exit_code == 0, run.stderr
        rows = pq.read_table(out / "data.parquet").to_pylist()
        assert rows[0] == {
            **{"task": "11", "label": "dog", "confidence": 0.75},
            "soft_label": [0.25, 0.75],
        }
        assert "in this order: cat, dog" in (out / "README.md").read_text()

    def test_no_file_is_put_into_a_result(self, examples, tmp_path):
        """What wrote the result would replace it no more."""
        with OutputDirectory(tmp_path / "r", "gtx-bayes aggregate", ("summary.json",)) as made:
            write_summary({"command": "gtx-bayes aggregate"}, made.path)
        run = self.run(examples, "--to", "fiftyone", "-o", tmp_path / "r" / "out.json")
        assert run.exit_code == 2
        assert "holds a result of gtx-bayes aggregate" in run.stderr
        assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["summary.json"]

    def test_it_replaces_nothing_of_the_users(self, examples, tmp_path):
        (tmp_path / "mine.json").write_text("mine")
        run = self.run(examples, "--to", "fiftyone", "-o", tmp_path / "mine.json")
        assert run.exit_code == 2
        assert (tmp_path / "mine.json").read_text() == "mine"
