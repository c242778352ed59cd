"""Labelers who copy each other count as one."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from typer.testing import CliRunner

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.state import write_state
from gtx_bayes.aggregation.update import update
from gtx_bayes.blocs import find_blocs, given_blocs, join
from gtx_bayes.cli.commands import app
from gtx_bayes.crowd import Crowd, update_crowd
from gtx_bayes.errors import InputError

FAMILY = [f"copy{j}" for j in range(4)]
QUICK = {"model": "one-coin"}  # one fit, and none to choose by: labelers are joined before it


def panel(num_examples=400, num_gold=40, seed=0, copied=0.95):
    """Four copies of a judge who is right three times in four, and three people of .85."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, num_examples)
    verdict = np.where(rng.random(num_examples) < 0.75, truth, 1 - truth)
    says = {
        name: np.where(rng.random(num_examples) < copied, verdict, 1 - verdict) for name in FAMILY
    }
    for j in range(3):
        right = rng.random(num_examples) < 0.85
        says[f"person{j}"] = np.where(right, truth, 1 - truth)
    labels = pd.DataFrame(
        [
            {"task": i, "worker": worker, "label": int(answers[i])}
            for worker, answers in says.items()
            for i in range(num_examples)
        ]
    )
    labels["family"] = np.where(labels["worker"].str.startswith("copy"), "machine", "")
    gold = pd.DataFrame({"task": np.arange(num_gold), "label": truth[:num_gold]})
    return labels, gold if num_gold else None, truth


def right(result, truth, num_gold):
    order = np.asarray(result.crowd.example_names, int)
    found = np.asarray(result.class_probs).argmax(axis=1) == truth[order]
    return found[order >= num_gold].sum()


class TestFound:
    def test_by_gold(self):
        """The copies, and nobody else: four people outvote nobody, and three are heard."""
        labels, gold, truth = panel()
        crowd = Crowd.from_frames(labels, gold)
        result = aggregate(crowd, **QUICK)
        assert result.blocs is not None
        assert list(result.blocs["worker"]) == FAMILY
        assert set(result.blocs["bloc"]) == {"copy0 and 3 more"}
        assert list(result.labelers()["worker"]) == [
            "copy0 and 3 more",
            *(f"person{j}" for j in range(3)),
        ]
        assert any("copy each other, as gold shows" in note for note in result.notes)
        # With all accuracies known it is .93; the copies alone are right in .75.
        assert right(result, truth, 40) >= scipy.stats.binom.ppf(1e-6, 360, 0.92)
        alone = aggregate(crowd, finds_blocs=False, **QUICK)
        assert alone.blocs is None
        assert right(alone, truth, 40) < right(result, truth, 40)

    def test_further_answers_are_of_members(self):
        """New answers of copies are one of the bloc; a fit with blocs neither grows nor is kept."""
        labels, gold, truth = panel()
        result = aggregate(Crowd.from_frames(labels, gold), **QUICK)
        new = labels[labels["task"] < 30].assign(task=lambda rows: rows["task"] + 1000)
        found = result.predict(new)
        assert set(found["num_labels"]) <= {3, 4}  # three where the copies tie
        assert np.mean(found["label"].to_numpy(int) == truth[:30]) > 0.8
        with pytest.raises(InputError, match="does not know 'stranger'"):
            result.predict(new.head(1).assign(worker="stranger"))
        with pytest.raises(InputError, match="labelers count as one"):
            update(result, new)
        with pytest.raises(InputError, match="labelers count as one"):
            write_state(result, "never")

    @pytest.mark.parametrize("seed", range(5))
    def test_not_among_independent_labelers(self, seed):
        labels, gold, _ = panel(seed=seed, copied=0.5)
        assert find_blocs(Crowd.from_frames(labels, gold)) is None

    def test_not_where_examples_are_hard_for_all(self):
        """Everybody errs on a fifth of the examples: that is no copying."""
        rng = np.random.default_rng(1)
        truth, hard = rng.integers(0, 2, 300), rng.random(300) < 0.2
        rows = [
            {
                "task": i,
                "worker": j,
                "label": int(truth[i] ^ (rng.random() < (0.7 if hard[i] else 0.1))),
            }
            for i in range(300)
            for j in range(8)
        ]
        gold = pd.DataFrame({"task": np.arange(100), "label": truth[:100]})
        assert find_blocs(Crowd.from_frames(pd.DataFrame(rows), gold)) is None

    def test_little_gold_shows_nothing(self):
        labels, gold, _ = panel(num_gold=10)
        assert find_blocs(Crowd.from_frames(labels, gold)) is None
        labels, _, _ = panel(num_gold=0)
        assert find_blocs(Crowd.from_frames(labels)) is None


class TestGiven:
    def test_by_a_column_without_gold(self):
        labels, _, truth = panel(num_gold=0)
        result = aggregate(Crowd.from_frames(labels, groups="family"), **QUICK)
        assert set(result.blocs["bloc"]) == {"machine"}
        assert right(result, truth, 0) >= scipy.stats.binom.ppf(1e-6, 400, 0.92)
        votes = aggregate(Crowd.from_frames(labels, groups="family"), "majority-vote")
        assert list(votes.labelers()["worker"]) == ["machine", *(f"person{j}" for j in range(3))]

    def test_verdict_by_hand(self):
        """Two against one is a verdict, one against one is none, and a label alone is."""
        rows = [("a", "u", 1), ("a", "v", 1), ("a", "w", 0), ("b", "u", 0), ("b", "v", 1)]
        rows += [("c", "v", 0), ("c", "x", 1), ("b", "x", 1), ("a", "x", 1)]
        labels = pd.DataFrame(rows, columns=["task", "worker", "label"])
        labels["family"] = np.where(labels["worker"] == "x", None, "f")
        crowd = Crowd.from_frames(
            labels, pd.DataFrame({"task": ["a"], "label": [1]}), groups="family"
        )
        joined = join(crowd, given_blocs(crowd))
        found = joined.crowd
        at = {
            (found.example_names[i], found.labeler_names[j]): int(k)
            for i, j, k in zip(
                found.labels.example, found.labels.labeler, found.labels.label, strict=True
            )
        }
        assert at == {("a", "f"): 1, ("c", "f"): 0, ("a", "x"): 1, ("b", "x"): 1, ("c", "x"): 1}
        members = joined.members.set_index("worker")
        assert list(members.index) == ["u", "v", "w"]
        assert list(members["num_labels"]) == [2, 3, 1]
        np.testing.assert_allclose(members["agreement"], [0.0, 0.0, 0.0])
        assert list(members["num_correct"]) == [1, 1, 0]

    def test_what_does_not_fit(self):
        labels, gold, _ = panel(num_examples=30, num_gold=5)
        with pytest.raises(InputError, match="there is no column 'tribe'"):
            Crowd.from_frames(labels, gold, groups="tribe")
        labels.loc[labels.index[0], "family"] = "other"
        with pytest.raises(
            InputError, match="labeler 'copy0' is in the groups 'other' and 'machine'"
        ):
            Crowd.from_frames(labels, gold, groups="family")
        labels["family"] = np.where(labels["worker"].str.startswith("copy"), "person1", "")
        with pytest.raises(InputError, match="'person1' is the name of a group and of a labeler"):
            aggregate(Crowd.from_frames(labels, gold, groups="family"))

    def test_new_labelers_are_in_no_group(self):
        labels, gold, _ = panel(num_examples=30, num_gold=5)
        crowd = Crowd.from_frames(labels, gold, groups="family")
        new = pd.DataFrame({"task": [1], "worker": ["new"], "label": [1]})
        grown = update_crowd(crowd, new).crowd
        assert list(grown.groups) == [*["machine"] * 4, *[""] * 4]

    def test_groups_of_one_are_labelers(self):
        labels, gold, _ = panel(num_examples=30, num_gold=5)
        labels["family"] = labels["worker"]
        assert given_blocs(Crowd.from_frames(labels, gold, groups="family")) is None


@pytest.mark.end_to_end
class TestCommandLine:
    def run(self, folder, *more):
        arguments = ["aggregate", str(folder / "labels.csv"), "-o", str(folder / "out")]
        return CliRunner().invoke(app, [*arguments, "--model", "one-coin", *more])

    @pytest.fixture
    def folder(self, tmp_path):
        labels, gold, _ = panel()
        labels.to_csv(tmp_path / "labels.csv", index=False)
        gold.to_csv(tmp_path / "gold.csv", index=False)
        return tmp_path

    def test_blocs_are_written(self, folder):
        run = self.run(folder, "--groups", "family", "--gold", str(folder / "gold.csv"))
        assert run.exit_code == 0, run.output
        members = pd.read_csv(folder / "out" / "blocs.csv")
        assert list(members["worker"]) == FAMILY
        assert json.loads((folder / "out" / "summary.json").read_text())["num_blocs"] == 1
        run = self.run(folder, "--groups", "none", "--gold", str(folder / "gold.csv"))
        assert run.exit_code == 0, run.output
        assert not (folder / "out" / "blocs.csv").exists()

    def test_the_next_label_is_asked_outside_the_bloc(self, folder):
        """Whoever is most accurate of those who have not answered, alone or by a copy."""
        labels, _, _ = panel()
        first, task = labels["worker"] == "person0", labels["task"]
        few = labels[labels["worker"].isin(FAMILY) | np.where(first, task >= 300, task < 300)]
        few.to_csv(folder / "labels.csv", index=False)
        tasks = pd.DataFrame({"task": range(401)})  # the last has no answer
        tasks.to_csv(folder / "tasks.csv", index=False)
        arguments = ["next", str(folder / "labels.csv"), "--groups", "family", "--batch", "401"]
        arguments += ["--tasks", str(folder / "tasks.csv"), "-o", str(folder / "batch.csv")]
        run = CliRunner().invoke(app, [*arguments, "--model", "one-coin"])
        assert run.exit_code == 0, run.output
        batch = pd.read_csv(folder / "batch.csv").set_index("task")["worker"]
        assert batch.notna().all()
        assert not batch[batch.index < 400].isin(FAMILY).any()
        assert set(batch[batch.index < 300]) == {"person0"}
        best = batch[399]
        assert best in {"person1", "person2"}
        assert set(batch[(batch.index >= 300) & (batch.index < 400)]) == {best}
        labels.to_csv(folder / "labels.csv", index=False)  # everybody has answered
        run = CliRunner().invoke(app, [*arguments, "--model", "one-coin"])
        batch = pd.read_csv(folder / "batch.csv").set_index("task")["worker"]
        assert list(batch.index[batch.notna()]) == [400]

    def test_errors_name_the_option(self, folder):
        run = self.run(folder, "--groups", "family", "--state", str(folder / "state"))
        assert run.exit_code == 2
        assert "--groups" in run.output
        run = self.run(folder, "--groups", "tribe")
        assert run.exit_code == 2
        assert "no column 'tribe'" in " ".join(run.output.split())
