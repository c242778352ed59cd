"""The paper's section 4 in small: labels under budgets, the log of trainings, the study."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import typer
from matplotlib import pyplot as plt

from gtx_bayes import InputError
from gtx_bayes.cli import finetuning as cli_finetuning
from gtx_bayes.cli.terminal import command
from gtx_bayes.experiments import figure4, figure5, finetuning, taught_start, training_log
from gtx_bayes.experiments.imputed_labels import LABELINGS, SOFT, Labeling, assess_on, impute
from gtx_bayes.experiments.training_log import Setting
from gtx_bayes.experiments.trainings import FullFineTuning, HeadOnly
from gtx_bayes.finetune import synthetic_drilling
from gtx_bayes.finetune.efficientnet import EfficientNetConfig, Stage, initial_network
from gtx_bayes.finetune.head import HeadConfig, train_head
from gtx_bayes.finetune.images import ImageSet
from gtx_bayes.finetune.split import Split
from gtx_bayes.finetune.targets import known_targets
from gtx_bayes.finetune.train import TrainingConfig, _step
from gtx_bayes.labels import MISSING
from gtx_bayes.models.one_coin import OneCoin
from tests.test_cli import call

pytestmark = pytest.mark.end_to_end

LABELING = Labeling(budgets=(20, 33, 500), num_labelers=6)
POOL = np.arange(40) % 3 // 2  # a third of the images are of class 1


@pytest.fixture(scope="module")
def imputed():
    found = impute(jax.random.key(3), 0.6, 0.9, POOL, np.arange(15) % 2, LABELING, num_classes=2)
    return jax.device_get(found)


class TestImputedLabels:
    def test_majority_votes_take_five_labels_each(self, imputed):
        """20 // 5 and 33 // 5 images; forty at most, however much is left of 500."""
        for method in ("majority-vote", "weighted-majority-vote"):
            np.testing.assert_array_equal(imputed[method].num_images, [4, 6, 40])
            np.testing.assert_array_equal(imputed[method].labels_spent, [20, 33, 200])

    @pytest.mark.parametrize("method", LABELINGS)
    def test_what_is_said_of_the_labels_is_so(self, method, imputed, rtol):
        found = imputed[method]
        assert set(found.hard_label[-1]) == {0, 1}
        assert found.labels_spent[-1] <= 200
        for at in range(3):
            counted = found.hard_label[at] != MISSING
            assert counted.sum() == found.num_images[at]
            wrong = found.hard_label[at][counted] != POOL[counted]
            assert found.noise_rate[at] == pytest.approx(wrong.mean(), rel=rtol)
            doubt = 1 - found.class_probs[at][counted].max(axis=1)
            assert found.expected_noise_rate[at] == pytest.approx(doubt.mean(), rel=1e-4, abs=1e-6)

    def test_all_methods_label_the_same_images_first(self, imputed):
        """Few images are the first of many, in an order of images that is not that of the pool."""
        labelled = [
            found.hard_label[at] != MISSING for found in imputed.values() for at in range(3)
        ]
        labelled.sort(key=np.sum)
        for few, many in itertools.pairwise(labelled):
            assert (few <= many).all()
        assert not labelled[0][: labelled[0].sum()].all()

    def test_gtx_doubts_its_own_labels_as_gtx_does(self, imputed):
        found = imputed["gtx"]
        np.testing.assert_allclose(
            found.expected_noise_rate_gtx, found.expected_noise_rate, rtol=1e-4, atol=1e-6
        )
        votes = imputed["majority-vote"]
        assert (votes.expected_noise_rate_gtx < votes.expected_noise_rate).all()

    def test_assessment_by_hand(self, key):
        """Always right and never right: 3 of the first 3 and 7 of 7, and none."""
        labelers = OneCoin(jnp.array([1.0, 0.0]), 2)
        first, whole = assess_on(key, labelers, jnp.arange(7) % 2, 3)
        np.testing.assert_array_equal(first.num_correct, [3, 0])
        np.testing.assert_array_equal(first.num_gold, [3, 3])
        np.testing.assert_array_equal(whole.num_correct, [7, 0])
        np.testing.assert_array_equal(whole.num_gold, [7, 7])


class TestLog:
    setting = Setting("accurate", "gtx", 250, 0, 1)
    record = setting._asdict() | {"ece": 0.125, "auroc": None}
    listed = json.dumps(record | {"seed": [0], "configuration": "a"})

    @pytest.fixture
    def log(self, tmp_path):
        """A log of one training."""
        training_log.append(tmp_path / "log.jsonl", "a", self.record)
        return tmp_path / "log.jsonl"

    def test_comes_back(self, log):
        assert training_log.recover(log.with_name("none"), "a") == ({}, ())
        assert training_log.recover(log, "a") == ({self.setting: self.record}, ())

    def test_a_torn_line_is_cut_off(self, log):
        whole = log.read_bytes()
        log.write_bytes(whole + whole[:-1])
        found = training_log.recover(log, "a")
        assert found.records == {self.setting: self.record}
        assert "torn" in found.notes[0]
        assert log.read_bytes() == whole

    def test_another_configuration_is_refused(self, log):
        before = log.read_bytes()
        with pytest.raises(InputError, match=r"line 1: it is of another configuration.*another di"):
            training_log.recover(log, "b")
        assert log.read_bytes() == before

    @pytest.mark.parametrize("line", ["no json", "[1]", '{"configuration": "a"}', listed])
    def test_another_file_is_refused(self, line, log):
        with log.open("a") as file:
            file.write(line + "\n")
        with pytest.raises(InputError, match="line 2: this is no line of a log"):
            training_log.recover(log, "a")


def image_set(num_images=60):
    """Noise, a little brighter where the class is 1; every third image is of it."""
    rng = np.random.default_rng(1)
    truth = (np.arange(num_images) % 3 == 0).astype(np.int32)
    noise = rng.integers(0, 200, (num_images, 8, 8, 3))
    return ImageSet(
        (noise + 40 * truth[:, None, None, None]).astype(np.uint8),
        np.arange(num_images).astype(str),
        truth,
        np.array(["no", "yes"]),
        np.arange(num_images),
    )


IMAGES = image_set()
SMALL = finetuning.Config(
    dataclasses.replace(LABELING, budgets=(20, 60)),
    HeadOnly(HeadConfig(num_epochs=2)),
    num_seeds=2,
    num_repetitions=1,
    assessment=0.2,
    evaluation=0.2,
)


@pytest.fixture(scope="module")
def network():
    config = EfficientNetConfig(2, width=0.25, dropout=0.0, stages=(Stage(3, 1, 32, 1, 1),))
    return initial_network(jax.random.key(5), config)


def untimed(log):
    """The lines of a log without the seconds."""
    lines = log.read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("study") / "whole.jsonl"


@pytest.fixture(scope="module")
def study(log, network):
    compiled = train_head._cache_size()
    found = finetuning.run(jax.random.key(7), SMALL, IMAGES, network, log=log)
    assert train_head._cache_size() == compiled + 1  # whatever the budget and the method
    return found


@pytest.mark.slow
class TestStudy:
    def test_every_training_has_a_line(self, study, log):
        assert len(study.points) == SMALL.num_trainings == 2 * 6 * 2 * 2
        assert len(untimed(log)) == SMALL.num_trainings
        assert (study.points["labels_spent"] <= study.points["budget"]).all()
        votes = study.points.query("method == 'majority-vote'")
        np.testing.assert_array_equal(votes["num_training_images"], votes["budget"] // 5)

    def test_hard_and_soft_targets_are_of_the_same_labels(self, study):
        of_labels = ["num_training_images", "labels_spent", "noise_rate", "expected_noise_rate"]
        hard, soft = (
            study.points[study.points["method"] == method].reset_index(drop=True)
            for method in ("gtx-bayes", SOFT)
        )
        assert hard[of_labels].equals(soft[of_labels])
        assert not hard["log_loss"].equals(soft["log_loss"])

    def test_rows_are_means_and_errors_over_seeds(self, study):
        row = next(row for row in study.rows if row["method"] == "soft-vote")
        mine = study.points.query("cohort == 'accurate' and method == 'soft-vote' and budget == 20")
        low, high = mine["ece"]
        assert row["ece"]["mean"] == pytest.approx((low + high) / 2)
        assert row["ece"]["se"] == pytest.approx(abs(low - high) / 2)
        assert len(study.rows) == 2 * 6 * 2
        last = study.rows[-1]
        assert (last["cohort"], last["method"]) == ("less_accurate", SOFT)
        at = f"cohort == 'less_accurate' and method == '{SOFT}' and budget == 60"
        mine = study.points.query(at)
        assert last["noise_rate"]["mean"] == pytest.approx(mine["noise_rate"].mean())

    def test_a_training_without_a_score_leaves_none(self, study):
        """One of the two seeds: not the mean of the other."""
        points = study.points.copy()
        points.loc[0, "auroc"] = np.nan
        rows = finetuning.rows_of(SMALL, points)
        assert rows[0]["auroc"] == {"mean": None, "se": None}
        assert rows[1]["auroc"] == study.rows[1]["auroc"]

    def test_a_stopped_run_goes_on_where_it_was(self, study, log, network, tmp_path):
        """The lines left are those of the run that was not stopped; the torn one is made anew."""
        done = 17
        lines = log.read_bytes().splitlines(keepends=True)
        stopped = tmp_path / "stopped.jsonl"
        stopped.write_bytes(b"".join(lines[:done]) + lines[done][:40])
        again = finetuning.run(jax.random.key(7), SMALL, IMAGES, network, log=stopped)
        assert stopped.read_bytes().splitlines(keepends=True)[:done] == lines[:done]
        assert untimed(stopped) == untimed(log)
        assert again.rows == study.rows
        assert "torn" in " ".join(again.notes)

    @pytest.mark.parametrize("other", ["key", "config", "images", "network"])
    def test_the_log_of_another_run_is_refused(self, other, study, log, network):
        given = [jax.random.key(7), SMALL, IMAGES, network]
        given[["key", "config", "images", "network"].index(other)] = {
            "key": jax.random.key(8),
            "config": dataclasses.replace(SMALL, num_repetitions=2),
            "images": dataclasses.replace(IMAGES, true_label=1 - IMAGES.true_label),
            "network": initial_network(jax.random.key(6), network.config),
        }[other]
        with pytest.raises(InputError, match="another configuration"):
            finetuning.run(*given, log=log)

    def test_significance(self, study):
        """By SciPy and by hand from the table of trainings; other errors, lest methods tie."""
        errors = np.random.default_rng(0).random(len(study.points))
        study = dataclasses.replace(study, points=study.points.assign(balanced_error=errors))
        found = finetuning.significance(study)
        json.dumps(found, allow_nan=False)
        diverged = study.points.assign(balanced_error=[None, *errors[1:]])
        of_these = finetuning.significance(dataclasses.replace(study, points=diverged))
        json.dumps(of_these, allow_nan=False)
        assert of_these[0]["p_value"] is None
        assert [row["test"] for row in found] == 2 * (["friedman"] * 2 + ["dunn"] * 6)
        first, means, pair = found[:3]
        assert (first["num_blocks"], means["num_blocks"]) == (4, 4)
        mine = study.points[study.points["cohort"] == "accurate"]
        by_method = [
            mine.loc[mine["method"] == method, "balanced_error"] for method in LABELINGS[:4]
        ]
        expected = scipy.stats.friedmanchisquare(*by_method)
        assert first["p_value"] == pytest.approx(expected.pvalue) == means["p_value"]
        assert first["paper_p_value"] == 2.5e-9
        assert pair["pair"] == ["gtx", "soft-vote"]
        difference = by_method[3].mean() - by_method[2].mean()
        assert pair["difference"]["mean"] == pytest.approx(difference)
        assert all(row["p_value_holm"] >= row["p_value"] for row in found if "pair" in row)
        printed = {tuple(row["pair"]): row["paper_p_value"] for row in found[2:8]}
        assert printed["gtx", "majority-vote"] == 0.043
        tied = dataclasses.replace(study, points=study.points.assign(balanced_error=0.5))
        assert {row["p_value"] for row in finetuning.significance(tied)} == {None}

    def test_plots(self, study):
        plt.close(figure4.plot(study))
        plt.close(figure5.plot(study))


@pytest.mark.slow
def test_full_fine_tuning_starts_anew_each_time(network):
    """Two trainings with one key agree, another number of images compiles nothing, the network
    given stays as it was."""
    before = finetuning.fingerprint(jax.random.key(0), SMALL, IMAGES, network)
    split = Split(np.arange(40), np.arange(40, 50), np.arange(50, 60))
    training = FullFineTuning(TrainingConfig(num_epochs=1, batch_size=4))
    trainer = training.prepare(network, IMAGES, split)
    label = np.where(np.arange(40) < 12, IMAGES.true_label[:40], MISSING)
    few = known_targets(jnp.asarray(label), 2)
    first = trainer(jax.random.key(1), few)
    assert first.evaluation.shape == first.assessment.shape == (10, 2)
    compiled = _step._cache_size()
    more = trainer(jax.random.key(1), few._replace(weight=jnp.ones(40)))
    again = trainer(jax.random.key(1), few)
    assert _step._cache_size() == compiled
    np.testing.assert_array_equal(again.evaluation, first.evaluation)
    assert not np.array_equal(more.evaluation, first.evaluation)
    assert finetuning.fingerprint(jax.random.key(0), SMALL, IMAGES, network) == before


class TestRefusals:
    def test_images_without_a_class(self, key, network):
        label = IMAGES.true_label.copy()
        label[4] = MISSING
        with pytest.raises(InputError, match=r"1 of 60 images have no class.*leave the others out"):
            finetuning.run(key, SMALL, dataclasses.replace(IMAGES, true_label=label), network)

    def test_a_budget_that_may_finish_no_image(self, key, network):
        config = dataclasses.replace(SMALL, labeling=Labeling(budgets=(4,)))
        with pytest.raises(ValueError, match="a budget of 4"):
            finetuning.run(key, config, IMAGES, network)

    def test_a_network_of_other_classes(self, key, network):
        images = dataclasses.replace(IMAGES, class_names=np.array(["a", "b", "c"]))
        with pytest.raises(ValueError, match="a network of 2 classes for 3"):
            finetuning.run(key, SMALL, images, network)


@pytest.mark.slow
def test_figures_from_one_interrupted_run(network, monkeypatch, tmp_path):
    """In small: the images, the network and the settings of the other tests."""
    monkeypatch.setattr(synthetic_drilling, "render", lambda key, num_images, size: IMAGES)
    monkeypatch.setattr(taught_start, "taught_network", lambda key: network)
    monkeypatch.setattr(finetuning.Config, "quick", lambda training: SMALL)

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    log = tmp_path / "finetuning.jsonl"
    options = cli_finetuning.Options(quick=True)
    with pytest.raises(KeyboardInterrupt, match=r"are in .*jsonl, and the same command goes"):
        cli_finetuning.run(options, 0, 2, log, stop)
    begun = log.read_bytes()
    assert begun.count(b"\n") == 3

    words = ("--quick", "--runs", 2, "--output", tmp_path)
    run = call("reproduce", "figure4", *words)
    assert run.exit_code == 0, run.output
    assert "first taught on 600 other drawn images" in run.stdout
    whole = log.read_bytes()
    assert whole.startswith(begun)
    record = json.loads((tmp_path / "figure4.json").read_text())
    assert (record["name"], record["runs"], len(record["rows"])) == ("figure4", 2, 24)
    assert len(record["tests"]) == 2 * (2 + 6)
    assert record["notes"][0] == "Images: synthetic-drilling."
    assert any("Budgets: 20, 60;" in note for note in record["notes"])

    run = call("reproduce", "figure5", *words, "--json")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["rows"] == record["rows"]
    assert log.read_bytes() == whole  # nothing was trained again
    assert len(pd.read_csv(tmp_path / "figure5.csv")) == SMALL.num_trainings
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".jsonl", ".csv", ".png"}

    run = call("reproduce", "figure4", *words, "--seed", 1)
    assert run.exit_code == 2
    assert "another configuration" in run.stderr
    assert log.read_bytes() == whole


def test_an_interrupt_says_what_is_left(capsys):
    @command
    def interrupted(*, message):
        raise KeyboardInterrupt(*message)

    for message, told in (((), "no result is half-written."), (("half is in x",), "half is in x.")):
        with pytest.raises(typer.Exit) as stop:
            interrupted(message=message)
        assert stop.value.exit_code == 130
        assert capsys.readouterr().err == f"Error: interrupted by SIGINT; {told}\n"
