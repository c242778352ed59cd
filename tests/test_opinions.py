"""Class probabilities from elsewhere, weighed in with a crowd's answers."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.special

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.opinions import read_opinions
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.inference.opinions import calibrate
from tests.test_cli import call

ANSWERS = pd.DataFrame(
    [(task, worker, "yes") for task in "abcd" for worker in "uvw"]
    + [(f"g{at}", worker, ["no", "yes"][at % 2]) for at in range(8) for worker in "uvw"],
    columns=["task", "worker", "label"],
)
GOLD = pd.DataFrame({"task": [f"g{at}" for at in range(8)], "label": 4 * ["no", "yes"]})
OPINION = pd.DataFrame(
    {"task": list("cba"), "prob_yes": [0.02, 0.9, 0.9], "prob_no": [0.98, 0.1, 0.1], "doubt": 0.5}
)


def crowd():
    return Crowd.from_frames(ANSWERS, GOLD)


def opinion_of(truth, right, confidence, num_classes):
    """One that says the truth where it is right, and the next class elsewhere."""
    says = np.where(right, truth, (truth + 1) % num_classes)
    rest = (1.0 - confidence) / (num_classes - 1)
    return np.where(np.arange(num_classes) == says[:, None], confidence, rest)


def test_a_table_by_name():
    found = read_opinions(crowd(), {"net": OPINION})["net"]
    np.testing.assert_allclose(found[:3], [[0.1, 0.9], [0.1, 0.9], [0.98, 0.02]])
    assert np.isnan(found[3:]).all()


class TestCalibration:
    """Against what is known of the opinions."""

    TRUTH = np.arange(4000) % 2
    EVEN = np.full(2, 0.5)

    def test_an_opinion_is_as_probable_as_it_is_right(self):
        """Sure .97, right .75: with everything known, a weight of log 3 / log(97 / 3)."""
        said = opinion_of(self.TRUTH, np.arange(4000) // 2 % 4 > 0, 0.97, 2)
        found = calibrate([said], np.eye(2)[self.TRUTH], self.EVEN)
        right = scipy.special.logit(0.75) / scipy.special.logit(0.97)
        np.testing.assert_allclose(found.weights, right, rtol=0.02)
        prior = found.class_prior([said], self.EVEN)
        np.testing.assert_allclose(prior.max(axis=1), 0.75, atol=0.01)

    def test_answers_tell_as_well(self):
        """No gold: answers that are right in .8 say the same, in a larger number."""
        said = opinion_of(self.TRUTH, np.arange(4000) // 2 % 4 > 0, 0.97, 2)
        answer = np.where(np.arange(4000) // 8 % 5 > 0, self.TRUTH, 1 - self.TRUTH)
        likelihood = np.where(np.arange(2) == answer[:, None], 0.8, 0.2)
        prior = calibrate([said], likelihood, self.EVEN).class_prior([said], self.EVEN)
        np.testing.assert_allclose(prior.max(axis=1), 0.75, atol=0.02)

    def test_nothing_is_taken_at_its_word(self):
        """Where nothing is known of an opinion it does not count, nor where it guesses."""
        said = opinion_of(self.TRUTH, np.arange(4000) // 2 % 2 > 0, 0.99, 2)
        nothing = calibrate([said], np.ones((4000, 2)), self.EVEN)
        np.testing.assert_allclose(nothing.weights, 0.0, atol=1e-3)
        rng = np.random.default_rng(0)
        says = rng.integers(2, size=4000)
        guess = np.where(np.arange(2) == says[:, None], 0.99, 0.01)
        assert calibrate([guess], np.eye(2)[self.TRUTH], self.EVEN).weights[0] < 0.05

    def test_two_that_are_one_count_as_one(self):
        said = opinion_of(self.TRUTH, np.arange(4000) // 2 % 4 > 0, 0.97, 2)
        known = np.eye(2)[self.TRUTH]
        one = calibrate([said], known, self.EVEN)
        two = calibrate([said, said], known, self.EVEN)
        np.testing.assert_allclose(two.weights.sum(), one.weights.sum(), rtol=1e-3)

    def test_the_slope_is_that_of_the_density(self):
        """No weight or bias nearby is more probable; classes unequal, some unsaid."""
        rng = np.random.default_rng(1)
        said = rng.dirichlet(np.ones(3), size=40)
        said[:7] = np.nan
        likelihood, prior = rng.random((40, 3)), np.array([0.6, 0.3, 0.1])
        found = calibrate([said], likelihood, prior)

        def log_density(weights, biases):
            own = found._replace(weights=weights, biases=biases).class_prior([said], prior)
            total = np.log((own * likelihood).sum(axis=1)).sum()
            return total - (weights @ weights + biases @ biases) / 2.0

        best = log_density(found.weights, found.biases)
        for step in (-1e-2, 1e-2):
            if found.weights[0] + step >= 0.0:
                assert log_density(found.weights + step, found.biases) < best + 1e-9
            for axis in np.eye(3):
                assert log_density(found.weights, found.biases + step * axis) < best + 1e-9


def simulated(confidence, seed=0):
    """Two answers an example, 40 gold, and a classifier that is right in .75."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=400)
    skill = rng.uniform(0.6, 0.85, size=20)
    who = np.stack([rng.permutation(20)[:2] for _ in range(400)])
    label = np.where(rng.random((400, 2)) < skill[who], truth[:, None], 1 - truth[:, None])
    answers = pd.DataFrame(
        {"task": np.repeat(np.arange(400), 2), "worker": who.ravel(), "label": label.ravel()}
    )
    said = opinion_of(truth, rng.random(400) < 0.75, confidence, 2)
    table = pd.DataFrame(said, columns=["prob_0", "prob_1"]).assign(task=np.arange(400))
    return answers, {str(task): truth[task] for task in range(40)}, truth, table


@pytest.mark.slow
@pytest.mark.end_to_end
def test_a_boastful_classifier_lowers_no_accuracy():
    """Sure .97 and right .75: taken at its word it is all that counts; weighed it helps."""
    answers, gold, truth, table = simulated(0.97)
    crowd = Crowd.from_frames(answers, gold)
    model = {"model": "one-coin", "dependence": 0.0}

    def error(result):
        return np.mean(result.label[40:].astype(int) != truth[40:])

    alone = aggregate(crowd, **model)
    weighed = aggregate(crowd, opinions={"net": table}, **model)
    said = read_opinions(crowd, {"net": table})["net"]
    at_its_word = aggregate(crowd, class_prior=said, **model)
    assert error(weighed) < min(error(alone), error(at_its_word)) - 0.02
    row = weighed.opinions.iloc[0]
    assert 0.2 < row["weight"] < 0.45
    assert abs(row["accuracy"] - 0.75) < 0.06
    assert row["num_examples"] == 400
    assert any(note.startswith("Opinion net counts with weight 0.") for note in weighed.notes)
    new = answers[answers["task"] < 2].replace({"task": {0: "x", 1: "y"}})
    blind = weighed.predict(new)
    seen = weighed.predict(new, opinions={"net": table.head(2).assign(task=["x", "y"])})
    assert (seen["confidence"] != blind["confidence"]).all()
    with pytest.raises(InputError, match="has no opinion 'other'"):
        weighed.predict(new, opinions={"other": table})
    with pytest.raises(InputError, match="has no opinions"):
        alone.predict(new, opinions={"net": table})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (OPINION.rename(columns={"prob_no": "prob_No"}), "about the classes"),
        (OPINION.assign(prob_maybe=0.0), "about the classes"),
        (OPINION.assign(task=["x", "y", "z"]), "names none of the crowd's examples: 'x'"),
        (OPINION.assign(task="a"), "'a' has more than one row"),
        (OPINION.assign(prob_no=0.5), "are no distribution"),
        (OPINION[["task"]], "no two columns"),
        (OPINION.iloc[:0], "no rows"),
    ],
)
def test_tables_that_do_not_do(table, message):
    with pytest.raises(InputError, match=message):
        read_opinions(crowd(), {"net": table})


def test_methods_of_votes_take_none():
    with pytest.raises(InputError, match="takes no class prior"):
        aggregate(crowd(), "majority-vote", opinions={"net": OPINION})


@pytest.fixture
def files(tmp_path):
    ANSWERS.to_csv(tmp_path / "labels.csv", index=False)
    GOLD.to_csv(tmp_path / "gold.csv", index=False)
    OPINION.to_csv(tmp_path / "opinion.csv", index=False)
    return tmp_path


@pytest.mark.end_to_end
def test_aggregate_writes_what_opinions_are_worth(files):
    words = ("aggregate", files / "labels.csv", "--gold", files / "gold.csv", "--json")
    words += ("--method", "gtx", "-o", files / "out")
    run = call(*words, "--opinion", f"net={files / 'opinion.csv'}")
    assert run.exit_code == 0, run.output
    (row,) = json.loads(run.stdout)["opinions"]
    assert (row["opinion"], row["num_examples"]) == ("net", 3)
    for more, message in (
        (("--opinion", files / "opinion.csv"), "is no NAME=FILE. Write --opinion NAME=FILE"),
        (("--opinion", "net=x.csv", "--state", files / "s", "--method", "gtx-bayes"), "--opinion"),
    ):
        run = call(*words, *more)
        assert run.exit_code == 2
        assert message in run.stderr


@pytest.mark.end_to_end
def test_next_names_the_label_that_the_opinion_contradicts(files):
    """Four tasks with the same answers, all wrong about c, of which the opinion says so."""
    opinion = pd.concat(
        [OPINION, GOLD.assign(prob_yes=4 * [0.1, 0.9], prob_no=4 * [0.9, 0.1])[["task", *PROBS]]]
    )
    opinion.to_csv(files / "opinion.csv", index=False)
    words = ("next", files / "labels.csv", "--gold", files / "gold.csv", "--json")
    words += ("--model", "one-coin", "--second-opinion", files / "opinion.csv")
    run = call(*words)
    assert run.exit_code == 0, run.output
    named = json.loads(run.stdout)["examples"]
    assert named[0]["task"] == "c"
    assert named[0]["confidence"] < min(row["confidence"] for row in named[1:])
    run = call(*words, "--opinion", f"second opinion={files / 'opinion.csv'}")
    assert run.exit_code == 2
    assert "Give it another name" in run.stderr
    run = call(*words, "--model", "auto", "--method", "majority-vote")
    assert run.exit_code == 2
    assert "takes no class prior" in run.stderr
    (files / "labels.csv").write_text("task,worker,label\n")
    run = call(*words[:2], *words[4:], "--tasks", files / "gold.csv")
    assert run.exit_code == 2
    assert "no answer yet to weigh an opinion" in run.stderr


PROBS = ["prob_yes", "prob_no"]


@pytest.mark.slow
@pytest.mark.end_to_end
def test_the_report_says_what_an_opinion_is_worth(files):
    words = ("diagnose", files / "labels.csv", "--gold", files / "gold.csv", "-o", files / "out")
    words += ("--model", "one-coin", "--dependence", "none")
    run = call(*words, "--opinion", f"net={files / 'opinion.csv'}")
    assert run.exit_code == 0, run.output
    page = (files / "out" / "report.html").read_text(encoding="utf-8")
    assert "Opinion net counts with weight" in page
    assert str(files) not in page
