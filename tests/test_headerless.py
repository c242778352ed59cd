"""Tables without a line that names their columns, or with names that R and pandas write."""

import numpy as np
import pandas as pd
import pytest

from gtx_bayes.columns import LABELER_COLUMNS, TRUTH_ROLES, read_columns
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.io import read_crowd
from gtx_bayes.io.readers import read_gold, read_table
from tests.exports import ANSWERS, GOLD
from tests.test_cli import call
from tests.test_importers import long_table, rows_of

TEXT = "".join(f"{worker}\t{task}\t{label}\n" for task, worker, label in ANSWERS)
HEADER = ["worker", "task", "label"]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "labels.txt").write_text(TEXT)
    (tmp_path / "gold.txt").write_text("".join(f"{task}\t{label}\n" for task, label in GOLD))
    return tmp_path / "labels.txt", tmp_path / "gold.txt"


def test_columns_are_named(files):
    crowd = read_crowd(*files, header=HEADER, gold_header=["task", "label"])
    expected = Crowd.from_frames(
        pd.DataFrame(ANSWERS, columns=["task", "worker", "label"]), dict(GOLD)
    )
    assert rows_of(crowd) == rows_of(expected)
    np.testing.assert_array_equal(crowd.assessment.true_label, expected.assessment.true_label)


def test_places_are_lines(files):
    labels, _ = files
    labels.write_text(TEXT + "dan\t4\t\n")
    with pytest.raises(InputError, match=f"row {len(ANSWERS) + 1}"):
        read_crowd(labels, header=HEADER)


def test_a_first_line_that_is_a_row_says_what_to_do(files):
    with pytest.raises(InputError, match="first line is a row already, name the columns: `header="):
        read_crowd(files[0])
    good = files[0].with_name("good.csv")
    pd.DataFrame(ANSWERS, columns=["task", "worker", "label"]).to_csv(good, index=False)
    with pytest.raises(InputError, match="`gold_header=`"):
        read_crowd(good, files[1])
    with pytest.raises(InputError, match=r"^header: .*`format=`"):
        read_crowd(good, header=HEADER, format="mturk")
    for header in ("worker", [], [""]):
        with pytest.raises(InputError, match=r"^header: .*such as worker, task, label"):
            read_crowd(files[0], header=header)
    with pytest.raises(InputError, match=r"^gold_header: .*such as task, label"):
        read_crowd(*files, header=HEADER, gold_header=[""])
    with pytest.raises(InputError, match=r"^gold_header: there is no gold"):
        read_crowd(files[0], header=HEADER, gold_header=["task", "label"])
    with pytest.raises(InputError, match="has names for its columns"):
        good.with_suffix(".json").write_text('[{"task": 1}]')
        read_crowd(good.with_suffix(".json"), header=HEADER)


def test_a_first_line_of_names_is_no_row(files):
    labels, gold = files
    for line in ("worker\ttask\tlabel\n", "Rater\titem\trating\n", "judge\tid\tverdict\n"):
        labels.write_text(line + TEXT)
        with pytest.raises(InputError, match=r"first line names the columns.*`header=`"):
            read_crowd(labels, header=HEADER)
    labels.write_text("t\tann\tbob\n1\tx\ty\n")
    with pytest.raises(InputError, match="first line names the columns"):
        read_crowd(labels, header=["t", "ann", "bob"], wide=True)
    labels.write_text(TEXT)
    gold.write_text("task\ttruth\n" + gold.read_text())
    with pytest.raises(InputError, match=r"first line names the columns.*`gold_header=`"):
        read_crowd(labels, gold, header=HEADER, gold_header=["a", "b"])


def test_no_header_is_hinted_at_where_there_is_no_option(files):
    for roles in ({"labeler": LABELER_COLUMNS, "cost": ("cost",)}, TRUTH_ROLES):
        table = read_table(files[1])
        with pytest.raises(InputError, match="no column holds the") as caught:
            read_columns(table.frame, roles, {}, table.source)
        assert "header=" not in str(caught.value)
        assert "wide=" not in str(caught.value)
    files[1].write_text("x\tx\n")
    with pytest.raises(InputError, match="more than once") as caught:
        read_table(files[1])
    assert "header=" not in str(caught.value)
    with pytest.raises(InputError, match=r"more than once.*`gold_header=`"):
        read_gold(files[1])


@pytest.mark.end_to_end
def test_command(files, tmp_path):
    words = ("aggregate", files[0], "--gold", files[1], "-o", tmp_path / "out")
    words += ("--method", "majority-vote")
    run = call(*words)
    assert run.exit_code == 2
    assert "`--header`" in run.stderr
    words += ("--header", "worker,task,label")
    for more, message in (
        (["--gold-header", ""], "--gold-header: these are no names"),
        (["--stream"], "--header: a streamed table"),
        (["--format", "mturk"], "Leave out `--header`, or `--format`"),
    ):
        run = call(*words, *more)
        assert run.exit_code == 2
        assert message in run.stderr
    run = call(*words, "--gold-header", "task,label")
    assert run.exit_code == 0, run.output
    assert len(pd.read_csv(tmp_path / "out" / "examples.csv")) == 4


def test_names_of_rows_are_tasks_of_counts(tmp_path):
    """As R and pandas write them; and `question` is a task where nothing else is."""
    counts = pd.DataFrame({"cat": [3, 0], "dog": [1, 2]}, index=["a", "b"])
    counts.to_csv(tmp_path / "counts.csv")
    crowd = read_crowd(tmp_path / "counts.csv", counts=["cat", "dog"])
    assert list(crowd.example_names) == ["a", "b"]
    assert crowd.labels.num_labels == 6
    table = long_table(None, []).to_frames()[0].set_axis(["question", "worker", "answer"], axis=1)
    table.to_csv(tmp_path / "answer.csv", index=False)
    assert rows_of(read_crowd(tmp_path / "answer.csv")) == rows_of(long_table(None, []))
