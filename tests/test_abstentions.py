"""Answers that say nothing about the class: no evidence, no class, but counted."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from typer.testing import CliRunner

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.state import read_state, write_state
from gtx_bayes.aggregation.update import update
from gtx_bayes.classifier.imputed import Imputed
from gtx_bayes.cli.commands import app
from gtx_bayes.crowd import Crowd, update_crowd
from gtx_bayes.errors import InputError
from gtx_bayes.evaluation import match_truth
from gtx_bayes.io import read_crowd
from gtx_bayes.registry import METHODS

FRAME = pd.DataFrame(
    [
        ("a", "u", "cat"),
        ("a", "v", "unsure"),
        ("b", "u", "unsure"),
        ("b", "v", "unsure"),
        ("b", "v", "unsure"),  # again
        ("c", "w", "unsure"),  # and yet answered
        ("c", "w", "dog"),
        ("c", "u", "dog"),
        ("a", "x", "unsure"),
    ],
    columns=["task", "worker", "label"],
)
GOLD = pd.DataFrame({"task": ["a", "c"], "label": ["cat", "dog"]})
QUICK = {"model": "one-coin", "dependence": 0.2, "class_prior": [0.3, 0.7]}


def simulated(num_examples=60, seed=3):
    """Six labelers, right four times of five, who abstain one time in five; five asked."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, num_examples)
    who = np.argsort(rng.random((num_examples, 6)), axis=1)[:, :5]
    label = np.where(rng.random(who.shape) < 0.8, truth[:, None], 1 - truth[:, None])
    says = np.array(["cat", "dog"], object)[label]
    says[rng.random(who.shape) < 0.2] = "unsure"
    answers = pd.DataFrame(
        {
            "task": np.repeat([f"t{i}" for i in range(num_examples)], 5),
            "worker": [f"w{j}" for j in who.ravel()],
            "label": says.ravel(),
        }
    )
    gold = pd.DataFrame({"task": [f"t{i}" for i in range(8)], "label": truth[:8]})
    return answers, gold.replace({"label": {0: "cat", 1: "dog"}})


class TestTables:
    def test_no_class_no_answer_and_counted_once(self):
        """Also an example and labelers with nothing else stay; who answered has not abstained."""
        crowd = Crowd.from_frames(FRAME, GOLD, abstain=("unsure",))
        assert list(crowd.class_names) == ["cat", "dog"]
        assert list(crowd.example_names) == ["a", "b", "c"]
        assert list(crowd.labeler_names) == ["u", "v", "w", "x"]
        np.testing.assert_array_equal(
            crowd.labels.dense(), [[0, -1, 1], [-1, -1, -1], [-1, -1, 1], [-1, -1, -1]]
        )
        assert list(crowd.num_abstained()) == [1, 2, 0, 1]
        assert crowd.notes == (
            "1 example(s) have abstentions and no answer: their probabilities are the class "
            "prior's.",
        )
        assert Crowd.from_frames(FRAME[FRAME["label"] != "unsure"], GOLD).num_abstained() is None

    @pytest.mark.parametrize(
        "value", ["unsure", "Skip", "ignore", "NA", "None", r"\N", "can\u2019t_tell", "-1", "n/a"]
    )
    def test_a_class_that_looks_like_an_abstention(self, value):
        frame = FRAME.assign(label=FRAME["label"].replace({"unsure": value}))
        note = f"'{value}' is taken for a class, answered 6 time(s); if it says nothing about the"
        crowd = Crowd.from_frames(frame, duplicates="last")
        assert [n for n in crowd.notes if note in n and "name it in `abstain`" in n]
        for options in ({"abstain": (value,)}, {"classes": [value, "cat", "dog"]}):
            notes = Crowd.from_frames(frame, duplicates="last", **options).notes
            assert not any("taken for a class" in note for note in notes)

    @pytest.mark.parametrize("labels", [[-1, 1, 1, -1], [-2, -1, 0, 1], ["no", "yes", "no", "no"]])
    def test_classes_that_do_not(self, labels):
        assert Crowd.from_frames(FRAME[:4].assign(label=labels)).notes == ()

    def test_numbers(self):
        """As a library of labeling functions has it; floats, since one cell is blank."""
        answers = [(1, 1, 0.0), (1, 2, 1.0), (2, 1, -1.0), (2, 2, 1.0), (3, 1, np.nan)]
        frame = pd.DataFrame(answers, columns=FRAME.columns)
        crowd = Crowd.from_frames(frame, abstain=(-1,), blank="abstain")
        assert list(crowd.class_names) == [0, 1]
        assert list(crowd.num_abstained()) == [2, 0]

    def test_categories(self):
        """A category that is an abstention is no class, whether or not a row has it."""
        for frame in (FRAME, FRAME[FRAME["label"] != "unsure"]):
            frame = frame.assign(label=pd.Categorical(frame["label"], ["cat", "dog", "unsure"]))
            crowd = Crowd.from_frames(frame, GOLD, abstain=("unsure",))
            assert list(crowd.class_names) == ["cat", "dog"]

    def test_blank_answers(self, tmp_path):
        """Refused by default; dropped, or counted as abstentions; their number is said."""
        path = tmp_path / "labels.csv"
        path.write_text("task,worker,label\na,u,cat\na,v,\nb,v,NaN\nc,u,dog\nc,u,cat\n")
        with pytest.raises(
            InputError, match=r"row 3: column 'label' has no value.*\(2 such.*`blank`.*abstain"
        ):
            read_crowd(path)
        dropped = read_crowd(path, blank="drop", duplicates="first")
        assert list(dropped.example_names) == ["a", "c"]
        assert list(dropped.labeler_names) == ["u"]
        assert f"{path}: 2 row(s) with a blank answer are dropped." in dropped.notes
        kept = read_crowd(path, blank="abstain", duplicates="first")
        assert list(kept.example_names) == ["a", "b", "c"]
        assert list(kept.num_abstained()) == [0, 2]
        assert f"{path}: 2 row(s) with a blank answer count as abstentions." in kept.notes
        for blank in ("drop", "abstain"):  # rows keep their numbers
            with pytest.raises(InputError, match=r"row 6: 'u' .* 'dog' in row 5 and with 'cat'"):
                read_crowd(path, blank=blank)

    def test_other_blank_cells_stay_errors(self):
        frame = FRAME.assign(worker=["", *FRAME["worker"][1:]])
        for blank in ("drop", "abstain"):
            with pytest.raises(InputError, match="row 0: column 'worker' has no value"):
                Crowd.from_frames(frame, abstain=("unsure",), blank=blank)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"abstain": "unsure"}, "is the text 'unsure', not several values"),
            ({"abstain": (None,)}, "stands for a blank cell.*`blank`"),
            ({"abstain": ("cat",), "classes": ["cat", "dog"]}, "'cat' is named as an abst.*class"),
            ({"abstain": ("cat", "dog", "unsure")}, "labels: no row holds an answer"),
        ],
    )
    def test_bad_requests(self, options, message):
        with pytest.raises(InputError, match=message) as caught:
            Crowd.from_frames(FRAME, **options)
        assert caught.value.hint

    def test_a_value_that_nobody_gave_is_noted(self):
        notes = Crowd.from_frames(FRAME, abstain=("unsure", "unsrue")).notes
        assert "labels: no answer is 'unsrue', named as an abstention." in notes

    def test_gold_filled_in_for_gold_alone(self, tmp_path):
        """In the table of answers itself, as crowdsourcing sites export it."""
        path = tmp_path / "pool.tsv"
        path.write_text(
            "INPUT:image\tOUTPUT:result\tGOLDEN:result\tASSIGNMENT:worker_id\n"
            "1.png\tcat\tcat\tu\n1.png\tdog\tcat\tv\n2.png\tdog\t\tu\n2.png\tdog\t\tv\n"
            "3.png\tcat\tunsure\tu\n"
        )
        columns = {
            "example": "INPUT:image",
            "labeler": "ASSIGNMENT:worker_id",
            "label": "OUTPUT:result",
        }
        gold_columns = {"example": "INPUT:image", "label": "GOLDEN:result"}
        crowd = read_crowd(
            path, path, columns=columns, gold_columns=gold_columns, abstain=("unsure",)
        )
        assert list(crowd.assessment.true_label) == [0, -1, -1]
        assert f"{path}: 3 row(s) without a label are left out." in crowd.notes

    def test_truth_with_blanks(self):
        """What is not known is neither scored nor left out of the scores as gold."""
        results = pd.DataFrame(
            {"task": ["a", "b", "c"], "prob_cat": [0.9, 0.2, 0.4], "prob_dog": [0.1, 0.8, 0.6]}
        )
        truth = pd.DataFrame({"task": ["a", "b", "c"], "label": ["cat", None, "dog"]})
        scored = match_truth(results, truth)
        assert list(scored.true_label) == [0, 1]
        assert scored.notes == ("truth: 1 row(s) without a label are left out.",)
        gold = pd.DataFrame({"task": ["a", "b", "c"], "gold": ["cat", "", ""]})
        assert list(match_truth(results, truth, gold).true_label) == [1]


class TestResults:
    def test_as_if_the_rows_were_not_there(self):
        """To the last digit, where every example has an answer left: rho too."""
        answers, gold = simulated()
        spoken = answers[answers["label"] != "unsure"]
        assert spoken["task"].nunique() == answers["task"].nunique()
        order = pd.unique(answers["worker"])
        without = aggregate(Crowd.from_frames(spoken, gold), model="one-coin")
        result = aggregate(Crowd.from_frames(answers, gold, abstain=("unsure",)), model="one-coin")
        np.testing.assert_array_equal(result.class_probs, without.class_probs)
        assert result.fit.joint.dependence.mean == without.fit.joint.dependence.mean
        table = result.labelers().set_index("worker")
        columns = list(without.labelers().columns[1:])
        pd.testing.assert_frame_equal(
            table[columns].loc[order], without.labelers().set_index("worker")[columns].loc[order]
        )
        abstained = answers[answers["label"] == "unsure"].groupby("worker").size()
        assert (table["num_abstained"] == abstained.reindex(table.index, fill_value=0)).all()

    @pytest.mark.parametrize("method", METHODS.names())
    def test_examples_without_an_answer(self, key, method):
        """They stay, at the class prior; a labeler without one stays too."""
        takes_prior = method not in ("majority-vote", "weighted-majority-vote", "soft-vote", "wawa")
        options = QUICK if method == "gtx-bayes" else {}
        options = options | ({"class_prior": [0.3, 0.7]} if takes_prior else {})
        result = aggregate(Crowd.from_frames(FRAME, GOLD, abstain=("unsure",)), method, **options)
        examples = result.examples(key).set_index("task")
        expected = [0.3, 0.7] if takes_prior else [0.5, 0.5]
        np.testing.assert_allclose(
            examples.loc["b", ["prob_cat", "prob_dog"]].astype(float), expected, rtol=1e-6
        )
        assert list(examples["num_labels"]) == [1, 0, 2]
        assert list(result.labelers()["num_abstained"]) == [1, 2, 0, 1]

    def test_rate_and_interval(self):
        """Against another library's; the interval holds its point."""
        counts = [(k, m) for k in (1, 2, 3, 7, 20) for m in (1, 2, 5, 30)]
        rows = [
            (f"t{i}", f"{k} {m}", "unsure" if i < k else "cat")
            for k, m in counts
            for i in range(k + m)
        ]
        frame = pd.DataFrame(rows, columns=FRAME.columns)
        crowd = Crowd.from_frames(frame, classes=["cat", "dog"], abstain=("unsure",))
        table = aggregate(crowd, "majority-vote").labelers()
        for (k, m), (_, row) in zip(counts, table.iterrows(), strict=True):
            ci = stats.binomtest(k, k + m).proportion_ci(method="wilson")
            assert row["abstention_rate"] == k / (k + m)
            np.testing.assert_allclose(row["abstention_low"], ci.low, atol=1e-12)
            np.testing.assert_allclose(row["abstention_high"], ci.high, atol=1e-12)

    def test_nothing_and_nothing_else(self):
        """The interval of a labeler who never, or always, abstained holds 0, or 1."""
        result = aggregate(Crowd.from_frames(FRAME, abstain=("unsure",)), "majority-vote")
        table = result.labelers().set_index("worker")
        assert tuple(table.loc["w", ["abstention_rate", "abstention_low"]]) == (0.0, 0.0)
        assert tuple(table.loc["v", ["abstention_rate", "abstention_high"]]) == (1.0, 1.0)
        assert table.loc["v", "abstention_low"] < 1.0

    def test_a_classifier_learns_from_answers_alone(self):
        crowd = Crowd.from_frames(FRAME, GOLD, abstain=("unsure",))
        imputed = Imputed.by(aggregate(crowd, "majority-vote"))
        assert list(imputed.names) == ["a", "c"]
        assert imputed.class_probs.shape == (2, 2)

    @pytest.mark.end_to_end
    def test_world(self, worlds):
        """The world "unsure", over twice three seeds, 20 gold each; nearly its bars.

        With `prior_independent=0` the log loss is .363: three answers to an example hardly show
        that hard examples make labelers err together.
        """
        scores = []
        for seed in range(2, 8):
            labels, gold, truth = worlds.make("unsure", seed, 20)
            result = aggregate(Crowd.from_frames(labels, gold, abstain=("unsure",)))
            examples = pd.DataFrame(np.asarray(result.class_probs, float), columns=["cat", "dog"])
            examples.index = result.crowd.example_names
            wanted = truth.set_index("task")["label"].drop(gold["task"])
            probs = examples.loc[wanted.index]
            given = np.where(wanted == "cat", probs["cat"], probs["dog"])
            scores.append([(given > 0.5).mean(), -np.log(given).mean()])
        accuracy, log_loss = np.mean(scores, axis=0)
        assert accuracy >= 0.83
        assert log_loss <= 0.38


class TestGrowth:
    crowd = Crowd.from_frames(FRAME, GOLD, abstain=("unsure",))

    def test_the_whole_export_again(self):
        """Abstentions that are known count no second time; who answers now has not abstained."""
        new = pd.DataFrame(
            [("b", "v", "cat"), ("d", "v", "unsure"), ("a", "u", "unsure")], columns=FRAME.columns
        )
        for table in (new, pd.concat([FRAME, new])):
            growth = update_crowd(self.crowd, table, abstain=("unsure",))
            assert growth.num_new_labels == 1
            assert list(growth.crowd.example_names) == ["a", "b", "c", "d"]
            assert list(growth.crowd.num_abstained()) == [1, 2, 0, 1]
            assert growth.crowd.labels.num_labels == self.crowd.labels.num_labels + 1

    def test_blank_answers(self):
        new = pd.DataFrame(
            [("b", "u", "cat"), ("c", "v", None), ("d", "u", "")], columns=FRAME.columns
        )
        with pytest.raises(InputError, match="row 1: column 'label' has no value"):
            update_crowd(self.crowd, new)
        kept = update_crowd(self.crowd, new, blank="abstain")
        assert list(kept.crowd.num_abstained()) == [1, 3, 0, 1]
        assert "labels: 2 row(s) with a blank answer count as abstentions." in kept.crowd.notes
        dropped = update_crowd(self.crowd, new, blank="drop")
        assert list(dropped.crowd.example_names) == ["a", "b", "c"]

    def test_new_rows_without_an_answer(self):
        new = pd.DataFrame([("a", "y", "unsure"), ("d", "u", "unsure")], columns=FRAME.columns)
        growth = update_crowd(self.crowd, new, abstain=("unsure", "skip"))
        assert (growth.num_new_labels, growth.changed.size) == (0, 0)
        assert list(growth.crowd.num_abstained()) == [2, 2, 0, 1, 1]
        (note,) = growth.crowd.notes
        assert "2 example(s) have abstentions and no answer" in note

    def test_refused(self):
        with pytest.raises(InputError, match=r"'unsure' is none of the classes.*in `abstain`"):
            update_crowd(self.crowd, FRAME)
        as_class = Crowd.from_frames(FRAME, duplicates="last")
        with pytest.raises(InputError, match="'unsure' is named as an abstention and is a class"):
            update_crowd(as_class, FRAME, abstain=("unsure",))

    def test_kept_in_a_file_and_grown(self, tmp_path):
        """An example that came with an abstention alone is one, at the class prior."""
        write_state(aggregate(self.crowd, **QUICK), tmp_path / "fit.npz")
        back = read_state(tmp_path / "fit.npz")
        assert list(back.labelers()["num_abstained"]) == [1, 2, 0, 1]
        new = pd.DataFrame([("d", "y", "unsure"), ("a", "w", "cat")], columns=FRAME.columns)
        grown = update(back, new, abstain=("unsure",))
        assert (grown.num_new_examples, grown.num_new_labels) == (1, 1)
        assert list(grown.result.labelers()["num_abstained"]) == [1, 2, 0, 1, 1]
        np.testing.assert_allclose(grown.result.class_probs[3], [0.3, 0.7], rtol=1e-6)
        with np.load(tmp_path / "fit.npz") as archive:
            arrays = dict(archive)
        np.savez(tmp_path / "fit", **arrays | {"abstentions.labeler": np.array([9, 0, 0, 0])})
        with pytest.raises(InputError, match="abstentions are no indices"):
            read_state(tmp_path / "fit.npz")


@pytest.mark.end_to_end
class TestCommands:
    def call(self, *words):
        run = CliRunner().invoke(app, [str(word) for word in words])
        return run, json.loads(run.stdout) if run.exit_code == 0 else {}

    @pytest.fixture
    def tables(self, tmp_path):
        answers, gold = simulated()
        answers.loc[answers.index[::50], "label"] = ""
        answers.to_csv(tmp_path / "labels.csv", index=False)
        for number, rows in enumerate(np.array_split(np.arange(len(answers)), 2)):
            (tmp_path / "parts").mkdir(exist_ok=True)
            part = answers.iloc[rows].replace({"label": {"": None}})
            table = pa.Table.from_pandas(part, preserve_index=False)
            pq.write_table(table, tmp_path / "parts" / f"{number}.parquet", row_group_size=40)
        blank = pd.DataFrame({"task": ["t30", "t31"], "label": ["", "unsure"]})
        pd.concat([gold, blank]).to_csv(tmp_path / "gold.csv", index=False)
        return tmp_path

    @pytest.mark.parametrize("blank", ["drop", "abstain"])
    def test_aggregate_in_memory_and_streamed(self, tables, blank):
        found = []
        for labels, output in (("labels.csv", "memory"), ("parts", "stream")):
            options = ("--abstain", "unsure", "--blank", blank, "--method", "gtx", "--json")
            run, summary = self.call(
                *("aggregate", tables / labels, "--gold", tables / "gold.csv", *options),
                *("--output", tables / output, "--class-prior", "dog=0.6,cat=0.4"),
            )
            assert run.exit_code == 0, run.output
            assert summary["classes"] == ["cat", "dog"]
            what = "are dropped" if blank == "drop" else "count as abstentions"
            assert f"6 row(s) with a blank answer {what}." in run.stderr
            assert "gold.csv: 2 row(s) without a label are left out." in run.stderr
            labelers = pd.read_csv(tables / output / "labelers.csv").set_index("worker")
            assert labelers["num_abstained"].sum() == summary["num_abstained"]
            found.append((summary, labelers))
        (summary, labelers), (streamed, streamed_labelers) = found
        for name in ("num_examples", "num_labelers", "num_labels", "num_abstained", "num_gold"):
            assert summary[name] == streamed[name]
        np.testing.assert_allclose(
            streamed_labelers.loc[labelers.index], labelers[list(streamed_labelers)], atol=2e-5
        )
        examples = pd.read_csv(tables / "memory" / "examples.csv").set_index("task")
        other = pd.read_parquet(tables / "stream" / "examples.parquet").set_index("task")
        np.testing.assert_allclose(
            other.loc[examples.index, "prob_dog"], examples["prob_dog"], atol=2e-5
        )
        assert (other.loc[examples.index, "num_labels"] == examples["num_labels"]).all()

    def test_streamed_examples_without_an_answer(self, tmp_path):
        """One file holds nothing else; the joint fit leaves them at the prior."""
        alone = FRAME[FRAME["label"] == "unsure"].assign(task="z")
        numbers = {"cat": 0, "dog": 1, "unsure": -1}
        (tmp_path / "parts").mkdir()
        for number, part in enumerate((FRAME, alone)):
            part = part.replace({"label": numbers}).astype({"label": int})
            part.to_parquet(tmp_path / "parts" / f"{number}.parquet", index=False)
        options = ("--model", "one-coin", "--dependence", "0.2", "--class-prior", "0=0.3,1=0.7")
        run, summary = self.call(
            *("aggregate", tmp_path / "parts", "--output", tmp_path / "out", "--json"),
            *("--abstain", "-1", *options),
        )
        assert run.exit_code == 0, run.output
        assert (summary["num_examples"], summary["num_labels"]) == (4, 3)
        assert "2 example(s) have abstentions and no answer" in run.stderr
        examples = pd.read_parquet(tmp_path / "out" / "examples.parquet").set_index("task")
        np.testing.assert_allclose(examples.loc[["b", "z"], "prob_1"], 0.7, rtol=1e-6)
        labelers = pd.read_csv(tmp_path / "out" / "labelers.csv").set_index("worker")
        assert dict(labelers["num_abstained"]) == {"u": 2, "v": 3, "w": 1, "x": 2}

    def test_notes_and_errors_name_options(self, tables):
        command = ("aggregate", tables / "labels.csv", "--output", tables / "out", "--json")
        run, _ = self.call(*command)
        assert run.exit_code == 2
        assert "row 2: column 'label' has no value" in run.stderr
        assert "or say by `--blank` what a blank answer is: drop or abstain" in run.stderr
        options = ("--method", "majority-vote", "--blank", "drop")
        run, summary = self.call(*command, *options)
        assert run.exit_code == 0, run.output
        note = next(note for note in summary["warnings"] if "taken for a class" in note)
        assert "'unsure'" in note
        assert "name it in `--abstain`" in note
        run, _ = self.call(
            *("aggregate", tables / "parts", "--output", tables / "out", "--json", *options)
        )
        assert note in run.stderr

    def test_next_counts_answers(self, tables):
        """Blank gold is no gold, and may be named; an abstention is no label."""
        run, found = self.call(
            *("next", tables / "labels.csv", "--gold", tables / "gold.csv", "--batch", "60"),
            *("--abstain", "unsure", "--blank", "abstain", "--method", "gtx", "--json"),
        )
        assert run.exit_code == 0, run.output
        named = {row["task"]: row["num_labels"] for row in found["examples"]}
        assert {"t30", "t31"} <= set(named)
        assert len(named) == found["num_open"] == 52
        answers = pd.read_csv(tables / "labels.csv").dropna()
        counts = answers[answers["label"] != "unsure"].groupby("task").size()
        assert named == dict(counts.reindex(list(named), fill_value=0))

    def test_state_continues(self, tables):
        command = ("aggregate", tables / "labels.csv", "--output", tables / "out", "--json")
        state = ("--state", tables / "fit", "--blank", "abstain", "--model", "one-coin")
        first, summary = self.call(*command, *state, "--abstain", "unsure", "--dependence", "0.2")
        assert first.exit_code == 0, first.output
        again, repeated = self.call(*command, *state, "--abstain", "unsure")
        assert again.exit_code == 0, again.output
        assert repeated["num_new_labels"] == 0
        assert repeated["num_abstained"] == summary["num_abstained"] > 0
        without, _ = self.call(*command, *state)
        assert without.exit_code == 2
        assert "name it in `--abstain`" in without.stderr


def test_a_name_that_reads_like_a_blank():
    """As spreadsheets write in their pivot tables."""
    table = FRAME.drop(index=5).replace("unsure", "(blank)")  # who says one thing of each
    found = Crowd.from_frames(table, abstain=["(blank)"], keep_abstentions=True)
    assert list(found.answer_names) == ["cat", "dog", "(blank)"]
    assert int((np.asarray(found.labels.label) == 2).sum()) == 4
