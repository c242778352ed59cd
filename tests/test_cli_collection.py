"""The commands that collect labels, reproduce the paper and plan, from outside."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.test_cli import call

pytestmark = pytest.mark.end_to_end

ANSWERS = pd.DataFrame(
    {
        "task": ["a", "a", "a", "b", "b", "c", "g", "g"],
        "worker": ["u", "v", "w", "u", "v", "u", "u", "v"],
        "label": ["yes", "yes", "yes", "yes", "no", "no", "yes", "yes"],
    }
)


@pytest.fixture
def tables(tmp_path):
    ANSWERS.to_csv(tmp_path / "labels.csv", index=False)
    pd.DataFrame({"task": ["g"], "label": ["yes"]}).to_csv(tmp_path / "gold.csv", index=False)
    pd.DataFrame({"task": ["d", "c", "b", "a", "g"]}).to_csv(tmp_path / "tasks.csv", index=False)
    return tmp_path


class TestNext:
    def call(self, tables, *more):
        return call("next", tables / "labels.csv", "--gold", tables / "gold.csv", *more)

    def test_json(self, tables):
        run = self.call(
            tables, "--tasks", tables / "tasks.csv", "--batch", 3, "--max-labels", 9, "--json"
        )
        assert run.exit_code == 0, run.output
        record = json.loads(run.stdout)
        assert [row["task"] for row in record["examples"]][:2] in (["d", "b"], ["b", "d"])
        assert {row["task"]: row["label"] for row in record["examples"]}["d"] is None
        assert (record["strategy"], record["method"]) == ("uncertainty", "gtx-bayes")
        assert (record["num_open"], record["num_done"], record["max_labels"]) == (4, 1, 9)

    def test_table_and_file(self, tables):
        run = self.call(tables, "--batch", 2, "--output", tables / "next.csv", "--max-labels", 9)
        assert run.exit_code == 0, run.output
        assert "To label next (uncertainty)" in run.stdout
        assert "3 examples want a label, 1 do not." in run.stdout
        batch = pd.read_csv(tables / "next.csv")
        assert list(batch.columns) == ["task", "num_labels", "label", "confidence"]
        assert list(batch["task"]) == ["b", "c"]

    def test_nothing_left(self, tables):
        run = self.call(tables, "--max-labels", 1)
        assert run.exit_code == 0
        assert "All 4 examples have reached the stop rule: nothing to label." in run.stdout
        assert json.loads(self.call(tables, "--max-labels", 1, "--json").stdout)["examples"] == []

    def test_before_the_first_answer(self, tables):
        (tables / "labels.csv").write_text("task,worker,label\n")
        run = call("next", tables / "labels.csv", "--tasks", tables / "tasks.csv", "--batch", 9)
        assert run.exit_code == 0, run.output
        assert "5 examples want a label, 0 do not." in run.stdout
        run = call("next", tables / "labels.csv")
        assert run.exit_code == 2
        assert "the table has no rows" in run.stderr
        run = self.call(tables, "--tasks", tables / "tasks.csv", "--batch", 9, "--json")
        assert sorted(row["task"] for row in json.loads(run.stdout)["examples"]) == list("abcd")
        run = self.call(tables, "--tasks", tables / "tasks.csv", "--method", "best")
        assert run.exit_code == 2

    def test_gold_without_answers_is_a_note(self, tables):
        ANSWERS.head(6).to_csv(tables / "labels.csv", index=False)
        run = self.call(tables, "--tasks", tables / "tasks.csv", "--batch", 9, "--json")
        assert run.exit_code == 0, run.output
        record = json.loads(run.stdout)
        assert sorted(row["task"] for row in record["examples"]) == list("abcd")
        assert "no gold example has an answer yet" in record["notes"][0]

    def test_the_column_of_the_tasks(self, tables):
        for name in ("labels", "tasks"):
            table = pd.read_csv(tables / f"{name}.csv").rename(columns={"task": "img"})
            table.to_csv(tables / f"{name}.csv", index=False)
        run = self.call(
            tables, "--tasks", tables / "tasks.csv", "--task-column", "img", "--batch", 9, "--json"
        )
        assert run.exit_code == 0, run.output
        assert json.loads(run.stdout)["num_open"] == 4

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--strategy", "best"], "there is no strategy 'best'"),
            (["--method", "best"], "there is no method 'best'"),
            (["--threshold", "0.9", "--risk", "0.1"], "a threshold and a risk target"),
            (["--strategy", "fixed", "--risk", "0.1"], "the strategy fixed has no risk"),
            (["--output", "next.doc"], "the ending '.doc' names no known format"),
            (["--tasks", "nowhere.csv"], "there is no such file"),
        ],
    )
    def test_bad_input(self, tables, options, message):
        run = self.call(tables, *options)
        assert run.exit_code == 2
        assert message in run.stderr
        assert not (tables / "next.doc").exists()

    @pytest.mark.slow
    def test_collects_a_real_crowd(self, data_folder, tmp_path):
        """bluebirds replayed: from tables alone, in batches, no task beyond the cap, to the end."""
        folder = data_folder / "crowd" / "bluebirds"
        every = pd.read_csv(folder / "labels.csv", dtype=str).sample(frac=1.0, random_state=0)
        every["place"] = every.groupby("task").cumcount()
        gold = pd.read_csv(folder / "gold.csv", dtype=str).head(11)
        gold.to_csv(tmp_path / "gold.csv", index=False)
        pd.DataFrame({"task": sorted(every["task"].unique())}).to_csv(
            tmp_path / "tasks.csv", index=False
        )
        bought = every[every["task"].isin(gold["task"])]
        counts = dict.fromkeys(set(every["task"]) - set(gold["task"]), 0)
        for _ in range(20):
            bought[["task", "worker", "label"]].to_csv(tmp_path / "labels.csv", index=False)
            run = call(
                *("next", tmp_path / "labels.csv", "--gold", tmp_path / "gold.csv"),
                *("--tasks", tmp_path / "tasks.csv", "--batch", 97, "--json"),
                *("--strategy", "confidence-threshold", "--threshold", 0.9, "--max-labels", 4),
            )
            assert run.exit_code == 0, run.output
            found = [row["task"] for row in json.loads(run.stdout)["examples"]]
            if not found:
                break
            assert len(set(found)) == len(found)
            assert not set(found) & set(gold["task"])
            for task in found:
                counts[task] += 1
            wanted = every[every["task"].isin(found)]
            arrived = wanted[wanted["place"] == wanted["task"].map(counts) - 1]
            assert len(arrived) == len(found)
            bought = pd.concat([bought, arrived])
        assert not found
        assert max(counts.values()) == 4
        assert min(counts.values()) >= 1


class TestReproduce:
    def test_table1(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        run = call("reproduce", "table1", "--output", tmp_path, "--runs", 2)
        assert run.exit_code == 0, run.output
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"notes.txt", "table1.json", "table1.csv", "table1.png"}
        record = json.loads((tmp_path / "table1.json").read_text())
        assert (record["name"], record["runs"], record["seed"]) == ("table1", 2, 0)
        rows = record["rows"]
        assert len(rows) == 2 * (15 + 15 + 5 + 5)
        best = [row for row in rows if row["best"]]
        printed = [row for row in rows if "paper" in row["mae"]]
        assert len(best) == len(printed) == 8
        assert all("paper" in row["error"] for row in best)
        assert all(row["paper_setting"] for row in printed)
        misprints = [
            (row["cohort"], row["method"], name)
            for row in rows
            for name, cell in row.items()
            if isinstance(cell, dict) and cell.get("paper_misprint")
        ]
        assert misprints == [("accurate", "gtx", "num_examples")]
        assert "is a misprint: its own row implies 5455" in run.stdout
        table = pd.read_csv(tmp_path / "table1.csv")
        assert len(table) == len(rows)
        assert {"error", "error_se", "error_paper", "error_z"} <= set(table.columns)

    @pytest.mark.slow
    def test_gold_curve(self, tmp_path):
        """Points of one crowd, scored on the same half of its gold whatever is seen."""
        rng = np.random.default_rng(0)
        truth = rng.integers(0, 2, 40)
        rows = [
            {"task": f"t{i}", "worker": f"w{j}", "label": int(y if rng.random() < 0.8 else 1 - y)}
            for i, y in enumerate(truth)
            for j in range(5)
        ]
        folder = tmp_path / "crowds" / "one"
        folder.mkdir(parents=True)
        (tmp_path / "crowds" / "no crowd").mkdir()
        pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
        gold = pd.DataFrame({"task": [f"t{i}" for i in range(40)], "label": truth})
        gold.to_csv(folder / "gold.csv", index=False)
        options = ("--crowds", tmp_path / "crowds", "--runs", 1, "--output", tmp_path / "out")
        run = call("reproduce", "gold_curve", *options)
        assert run.exit_code == 0, run.output
        record = json.loads((tmp_path / "out" / "gold_curve.json").read_text())
        found = {(row["method"], row["gold"]): row["accuracy"]["mean"] for row in record["rows"]}
        sizes = ["0", "5", "10", "half of all"]
        votes = {found["majority-vote", size] for size in sizes}
        assert len(votes) == 1  # gold changes no vote, and what is scored stays
        assert ("gtx", "0") not in found  # it takes accuracies from gold
        assert set(found) >= {("gtx-bayes", size) for size in sizes}
        assert "mean over the crowds" in run.stdout.lower()

    def test_foreign_files_are_not_replaced(self, tmp_path):
        (tmp_path / "table2.json").write_text("{}")
        run = call("reproduce", "table2", "--output", tmp_path, "--runs", 1)
        assert run.exit_code == 2
        assert "holds a 'table2.json' that is no result of gtx-bayes reproduce" in run.stderr
        assert (tmp_path / "table2.json").read_text() == "{}"

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("table3",), "table3"),
            (("gold_curve",), "gold_curve is of real crowds"),
            (("gold_curve", "--crowds", "nowhere"), "nowhere holds no crowd"),
            (("table1", "--crowds", "c"), "table1 is of no crowds"),
            (("table1", "--quick"), "table1 takes no --quick"),
            (("table2", "--weights", "w"), "table2 takes no --weights"),
            (("efficiency", "--quick"), "efficiency takes no --quick"),
            (("efficiency", "--weights", "w"), "efficiency takes no --weights"),
            (("noise_surface", "--images", "nowhere"), "no such folder"),
            (("figure5", "--images", "nowhere"), "no such folder"),
            (("figure4", "--table", "t.csv"), "--table says what is known of the images of a fol"),
            (("figure4", "--quick", "--allow-missing"), "--allow-missing is about files of weigh"),
        ],
    )
    def test_refusals(self, words, message, tmp_path):
        run = call("reproduce", *words, "--output", tmp_path / "out")
        assert run.exit_code == 2
        assert message in run.stderr
        assert not (tmp_path / "out").exists()


class TestPlan:
    def test_writes_what_it_says(self, tmp_path):
        run = call(
            *("plan", "--target-error", 0.2, "--num-examples", 500, "--num-labelers", 3),
            *("--runs", 2, "--output", tmp_path / "plan", "--json"),
        )
        assert run.exit_code == 0, run.output
        record = json.loads(run.stdout)
        assert record["reachable"]
        assert record["best"] in record["rows"]
        assert record["best"]["error"] <= 0.2
        assert {path.name for path in (tmp_path / "plan").iterdir()} == {
            "plan.json",
            "plan.csv",
            "plan.png",
        }
        assert np.isclose(record["prior"]["a"] / sum(record["prior"].values()), 0.75)

    def test_out_of_reach(self):
        run = call(
            *("plan", "--target-error", 1e-6, "--num-examples", 500, "--num-labelers", 3),
            *("--runs", 2, "--prior", "18,6"),
        )
        assert run.exit_code == 0
        assert "No setting reaches it. The lowest error is" in " ".join(run.stdout.split())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--target-error", 0.9], "the target error is out of range"),
            (["--accuracy", "0.9"], "'0.9' is no pair of numbers"),
            (["--accuracy", "0.9,0.6"], "no range of accuracies"),
            (["--prior", "0,1"], "a and b must be above 0"),
            (["--cost-per-label", 0], "the cost per label is out of range"),
        ],
    )
    def test_bad_input(self, options, message):
        run = call("plan", "--target-error", 0.1, "--num-examples", 10, *options)
        assert run.exit_code == 2
        assert message in run.stderr
