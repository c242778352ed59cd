"""The paper's section 4 in small: labels under budgets, the log of trainings, rank tests."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gtx_bayes import InputError
from gtx_bayes.experiments import training_log
from gtx_bayes.experiments.imputed_labels import LABELINGS, Labeling, assess_on, impute
from gtx_bayes.experiments.rank_tests import dunn, friedman
from gtx_bayes.experiments.training_log import Setting
from gtx_bayes.labelers import OneCoin
from gtx_bayes.labels import MISSING

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

    def test_comes_back(self, tmp_path):
        log = tmp_path / "log.jsonl"
        assert training_log.recover(log, "a") == ({}, ())
        training_log.append(log, "a", self.record)
        assert training_log.recover(log, "a") == ({self.setting: self.record}, ())

    def test_a_torn_line_is_cut_off(self, tmp_path):
        log = tmp_path / "log.jsonl"
        training_log.append(log, "a", self.record)
        whole = log.read_bytes()
        log.write_bytes(whole + whole[:-1])
        found = training_log.recover(log, "a")
        assert found.records == {self.setting: self.record}
        assert "torn" in found.notes[0]
        assert log.read_bytes() == whole

    def test_another_configuration_is_refused(self, tmp_path):
        log = tmp_path / "log.jsonl"
        training_log.append(log, "a", self.record)
        before = log.read_bytes()
        with pytest.raises(InputError, match=r"line 1: it is of another configuration.*another di"):
            training_log.recover(log, "b")
        assert log.read_bytes() == before

    @pytest.mark.parametrize("line", ["no json", "[1]", '{"configuration": "a"}'])
    def test_another_file_is_refused(self, line, tmp_path):
        log = tmp_path / "log.jsonl"
        training_log.append(log, "a", self.record)
        with log.open("a") as file:
            file.write(line + "\n")
        with pytest.raises(InputError, match="line 2: this is no line of a log"):
            training_log.recover(log, "a")


class TestRankTests:
    def test_friedman_by_hand(self):
        """Ranks 1, 2, 3 in four blocks: 12 / (4 * 3 * 4) * (4^2 + 8^2 + 12^2) - 3 * 4 * 4 = 8."""
        found = friedman(np.array([[1.0, 2.0, 30.0], [4.0, 5.0, 6.0], [0.0, 1.0, 9.0], [2, 3, 4]]))
        assert found.statistic == pytest.approx(8.0)
        assert found.p_value == pytest.approx(np.exp(-4.0))  # chi-square, two degrees of freedom
        assert found.num_blocks == 4

    def test_dunn_by_hand(self):
        """Ranks 1 to 4, 5 to 8, 9 to 12: differences 4 and 8, each of variance 12 * 13 / 12 / 2."""
        values = np.arange(12.0).reshape(3, 4).T
        near, far = (2 * scipy.stats.norm.sf(gap / 6.5**0.5) for gap in (4.0, 8.0))
        found = dunn(values)
        expected = np.array([[1, near, far], [near, 1, near], [far, near, 1]])
        np.testing.assert_allclose(found.p_value, expected, rtol=1e-12)
        holm = np.array([[1, 2 * near, 3 * far], [2 * near, 1, 2 * near], [3 * far, 2 * near, 1]])
        np.testing.assert_allclose(found.p_value_holm, holm, rtol=1e-12)

    def test_where_all_is_one_tie_nothing_is_known(self):
        assert np.isnan(friedman(np.full((3, 4), 0.5)).p_value)
        assert np.isnan(dunn(np.full((3, 4), 0.5)).p_value).all()
