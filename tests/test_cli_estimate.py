"""`gtx-bayes estimate` from outside."""

import json

import jax
import numpy as np
import pandas as pd
import pytest

from tests.crowds import simulated
from tests.test_cli import call

pytestmark = pytest.mark.end_to_end

SHARES = ["label", "share", "low", "high", "gold_share", "gold_low", "gold_high", "worth"]
SHARES += ["num_gold", "num_examples", "crowd_share", "vote_share"]


@pytest.fixture
def tables(tmp_path):
    crowd = simulated(jax.random.key(4), 30, num_examples=90)
    answers, gold = crowd.to_frames()
    place = answers["task"].str[1:].astype(int)
    answers["system"] = np.where(place % 2 == 0, "A", "B")
    answers["question"] = "q" + (place // 2).astype(str)
    gold["one_over_p"] = ["" if at < 5 else "4" for at in range(len(gold))]
    answers.to_csv(tmp_path / "labels.csv", index=False)
    gold.to_csv(tmp_path / "gold.csv", index=False)
    return tmp_path


def run(tables, *more):
    words = ("estimate", tables / "labels.csv", "--gold", tables / "gold.csv")
    return call(*words, "--method", "majority-vote", *more)


def test_prints_a_table_and_what_to_trust(tables):
    found = run(tables)
    assert found.exit_code == 0, found.output
    assert "Shares of the classes among these examples" in found.stdout
    assert "gold alone" in found.stdout
    assert "30 gold labels" in found.stdout


def test_tables_without_a_header(tables):
    """Slices and weights by the names that --header and --gold-header give."""
    options = ("--by", "system", "--gold-weight", "one_over_p", "--json")
    expected = run(tables, *options)
    heads = {}
    for name, option in (("labels.csv", "--header"), ("gold.csv", "--gold-header")):
        first, _, rest = (tables / name).read_text().partition("\n")
        (tables / name).write_text(rest)
        heads[option] = first
    rows = (tables / "labels.csv").read_text().splitlines(keepends=True)
    (tables / "labels.csv").write_text("".join(rows[:100]))
    (tables / "more.csv").write_text("".join(rows[100:]))
    words = (word for pair in heads.items() for word in pair)
    found = run(tables, tables / "more.csv", *options, *words)
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["shares"] == json.loads(expected.stdout)["shares"]


def test_writes_what_it_says(tables):
    out = tables / "out"
    options = ("--by", "system", "--compare", "A", "B", "--cluster", "question")
    found = run(tables, *options, "--output", out, "--plots", "--json")
    assert found.exit_code == 0, found.output
    files = {"shares.csv", "difference.csv", "summary.json", "shares.png"}
    assert {path.name for path in out.iterdir()} == files
    shares = pd.read_csv(out / "shares.csv")
    assert list(shares.columns) == ["slice", *SHARES]
    assert list(shares["slice"]) == ["(all)"] * 2 + ["A"] * 2 + ["B"] * 2
    summary = json.loads((out / "summary.json").read_text())
    printed = json.loads(found.stdout)
    assert printed["output"] == str(out)
    assert summary["shares"] == printed["shares"]
    assert summary["compared"] == ["A", "B"]
    taken = pd.read_csv(out / "difference.csv")
    np.testing.assert_allclose(
        taken["difference"], [r["difference"] for r in summary["difference"]]
    )
    assert (summary["num_gold"], summary["num_folds"], summary["population"]) == (30, 5, "finite")
    again = run(tables, "--output", out)
    assert again.exit_code == 0, again.output
    assert {path.name for path in out.iterdir()} == {"shares.csv", "summary.json"}


def test_gold_drawn_with_known_probabilities(tables):
    found = run(tables, "--gold-weight", "one_over_p", "--json")
    assert found.exit_code == 0, found.output
    weighed = json.loads(found.stdout)["shares"]
    plain = json.loads(run(tables, "--json").stdout)["shares"]
    assert weighed[0]["gold_share"] != plain[0]["gold_share"]


def test_columns_of_a_table_of_examples(tables):
    names = pd.read_csv(tables / "labels.csv")["task"].drop_duplicates()
    table = pd.DataFrame({"task": names, "kind": ["odd", "even"] * 45})
    table.to_csv(tables / "tasks.csv", index=False)
    found = run(tables, "--example-table", tables / "tasks.csv", "--by", "kind", "--json")
    assert found.exit_code == 0, found.output
    slices = [row["slice"] for row in json.loads(found.stdout)["shares"]]
    assert slices == ["(all)"] * 2 + ["even"] * 2 + ["odd"] * 2


def test_gates(tables):
    low = json.loads(run(tables, "--json").stdout)["shares"][0]["low"]
    found = run(tables, "--fail-under", f"c0={low - 0.01}", "--fail-over", "c1=1")
    assert found.exit_code == 0, found.output
    assert "The share of c0 is at least" in found.stdout
    found = run(tables, "--fail-under", f"c0={low + 0.01}", "--output", tables / "out", "--json")
    assert found.exit_code == 3
    gate = json.loads((tables / "out" / "summary.json").read_text())["gates"][0]
    assert gate == {
        "label": "c0",
        "limit": "low",
        "value": pytest.approx(low),
        "bound": pytest.approx(low + 0.01),
        "holds": False,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "team"], "there is no column 'team'"),
        (["--by", "worker"], "and 'w0' before in 'worker'"),
        (["--compare", "A", "B"], "there are no slices to compare"),
        (["--by", "system", "--compare", "A", "C"], "no example is of 'C'"),
        (["--gold-weight", "price"], "there is no column 'price'"),
        (["--fail-under", "c0"], "'c0' is no class and share"),
        (["--fail-under", "yes=.5"], "'yes' is none of the classes"),
        (["--plots"], "there is no directory to write a plot to"),
        (["--method", "best"], "there is no method 'best'"),
    ],
)
def test_bad_input(tables, options, message):
    found = run(tables, *options)
    assert found.exit_code == 2
    assert message in found.stderr


def test_gold_drawn_where_it_tells_most(tables):
    """The batch, labelled, goes back into `estimate` as it is."""
    words = ("next", tables / "labels.csv", "--gold", tables / "gold.csv", "--for", "estimate")
    batch = tables / "batch.csv"
    found = call(*words, "--method", "majority-vote", "--batch", 25, "--output", batch)
    assert found.exit_code == 0, found.output
    assert "--gold-weight weight" in found.stdout
    drawn = pd.read_csv(batch)
    assert list(drawn.columns) == ["task", "probability", "weight"]
    gold = pd.read_csv(tables / "gold.csv")[["task", "label"]]
    both = pd.concat([gold, drawn.assign(label="c0")[["task", "label", "weight"]]])
    both.to_csv(tables / "gold.csv", index=False)
    found = run(tables, "--gold-weight", "weight", "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["num_gold"] == 55
    found = call(*words, "--risk", "0.1")
    assert found.exit_code == 2
    assert "--risk: has no say in which gold is drawn" in found.stderr


def test_plan_a_width(tables):
    found = call("plan", "--width", "0.1", "--num-examples", 10_000, "--json")
    assert found.exit_code == 0, found.output
    record = json.loads(found.stdout)
    assert record["num_gold"] == 370  # 384.1 of an infinite population
    assert run(tables, "--output", tables / "out").exit_code == 0
    options = ("--pilot", tables / "out", "--output", tables / "plan")
    found = call("plan", "--width", "0.1", *options)
    assert found.exit_code == 0, found.output
    assert "gold labels in all" in found.stdout
    record = json.loads((tables / "plan" / "plan.json").read_text())
    assert record["num_examples"] == 90
    assert all(row["num_gold"] < row["num_gold_alone"] for row in record["rows"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--width", "0.1"], "--num-examples: is missing"),
        (["--width", "2", "--num-examples", "9"], "the width is 2"),
        (["--width", "0.1", "--target-error", "0.1", "--num-examples", "9"], "a target error too"),
        (["--width", "0.1", "--cost", "a.csv", "--num-examples", "9"], "--cost: says nothing of"),
        (["--num-examples", "9"], "--target-error: is missing"),
        (["--width", "0.1", "--pilot", "nowhere.json"], "there is no such file"),
    ],
)
def test_plan_of_nothing(options, message):
    found = call("plan", *options)
    assert found.exit_code == 2
    assert message in found.stderr
