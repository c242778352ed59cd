"""How many independent labelers a panel is worth."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from gtx_bayes.blocs import find_blocs, join
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.panel import panel_of
from gtx_bayes.diagnostics.plots import plot_panel

NUM_GOLD = 60


def crowd_of(says, truth):
    """All labels of some labelers to gold, missing where negative."""
    labels = pd.DataFrame(
        [
            {"task": i, "worker": worker, "label": int(label)}
            for worker, answers in says.items()
            for i, label in enumerate(answers)
            if label >= 0
        ]
    )
    return Crowd.from_frames(labels, pd.DataFrame({"task": range(truth.size), "label": truth}))


def independent(rng, num_labelers, num_classes=2, accuracy=0.8, gaps=0.0, size=NUM_GOLD):
    truth = rng.integers(0, num_classes, size)
    says = {}
    for j in range(num_labelers):
        wrong = (truth + rng.integers(1, num_classes, size)) % num_classes
        label = np.where(rng.random(size) < accuracy, truth, wrong)
        says[f"w{j:02}"] = np.where(rng.random(size) < gaps, -1, label)
    return says, truth


def with_copies(seed, num_copies=4):
    """Copies of a judge of .75 who slip one time in twenty, and three people."""
    rng = np.random.default_rng(seed)
    says, truth = independent(rng, 3, accuracy=0.85)
    verdict = np.where(rng.random(truth.size) < 0.75, truth, 1 - truth)
    for j in range(num_copies):
        says[f"copy{j}"] = np.where(rng.random(truth.size) < 0.95, verdict, 1 - verdict)
    return says, truth


def examined(says, truth):
    crowd = crowd_of(says, truth)
    blocs = find_blocs(crowd)
    return panel_of(crowd, None if blocs is None else join(crowd, blocs).members)


class TestEffectiveNumber:
    def test_copies_count_once(self):
        """Twins and a stranger: correlations 1, r and r, and Kish's number from their mean."""
        rng = np.random.default_rng(3)
        says, truth = independent(rng, 2)
        says["twin"] = says["w00"]
        found = panel_of(crowd_of(says, truth))
        pair = panel_of(crowd_of({name: says[name] for name in ("w00", "w01")}, truth))
        r = pair.correlation[0, 1]
        np.testing.assert_allclose(found.correlation[0, 2], 1.0)
        np.testing.assert_allclose([found.correlation[0, 1], found.correlation[1, 2]], r)
        without = found.table.set_index("worker")["effective_without"]
        np.testing.assert_allclose(without["w01"], 1.0)
        np.testing.assert_allclose(without["twin"], pair.effective)
        assert found.interval[0] <= found.effective <= found.interval[1]

    def test_the_correlation_is_that_of_errors_given_the_class(self):
        """By the definition, where both labelled; class by class, so that bias is no dependence."""
        rng = np.random.default_rng(4)
        says, truth = independent(rng, 2, num_classes=3, gaps=0.1)
        found = panel_of(crowd_of(says, truth))
        errors = []
        for label in says.values():
            own = np.where(label >= 0, label != truth, np.nan).astype(float)
            for y in range(3):
                own[truth == y] -= np.nanmean(own[truth == y])
            errors.append(own)
        one, other = errors
        both = ~np.isnan(one * other)
        expected = (one * other)[both].sum()
        expected /= np.sqrt((one[both] ** 2).sum() * (other[both] ** 2).sum())
        np.testing.assert_allclose(found.correlation[0, 1], expected)
        biased = {f"yes{j}": np.ones_like(truth) for j in range(3)}
        always = panel_of(crowd_of(biased, (truth > 0).astype(int)))
        assert always.effective == 3.0

    @pytest.mark.slow
    def test_independent_panels_raise_no_alarm(self):
        """With gaps and few gold labels, where chance correlates errors."""
        alarms = 0
        for seed in range(40):
            says, truth = independent(np.random.default_rng(seed), 8, gaps=0.4)
            alarms += panel_of(crowd_of(says, truth)).errs_together
        # The true chance is one in forty each, a little more by the draws behind the limits.
        assert alarms <= scipy.stats.binom.ppf(1.0 - 1e-6, 40, 0.04)

    @pytest.mark.parametrize("seed", range(4))
    def test_only_copies_are_one_too_many(self, seed):
        found = examined(*with_copies(seed))
        assert found.errs_together
        assert found.effective < 5.0
        assert set(found.table.loc[found.table["bloc"] != "", "worker"]) == {
            f"copy{j}" for j in range(4)
        }
        # Three people and a family: whoever of the people leaves is missed.
        without = found.table.set_index("worker")["effective_without"]
        people = without[[f"w0{j}" for j in range(3)]]
        assert (people < found.effective).all()

    def test_names_do_not_matter(self):
        says, truth = with_copies(0)
        turned = {f"z{name}": says[name] for name in reversed(says)}
        one, other = (panel_of(crowd_of(each, truth)) for each in (says, turned))
        np.testing.assert_allclose(one.effective, other.effective)

    def test_little_gold_says_nothing(self):
        says, truth = independent(np.random.default_rng(0), 3, size=19)
        assert panel_of(crowd_of(says, truth)) is None


class TestPlot:
    def test_members_of_a_bloc_stand_together(self):
        """Framed, first, and with the others below."""
        found = examined(*with_copies(1))
        ax = plot_panel(found)
        names = [text.get_text() for text in ax.get_yticklabels()]
        assert names == [*(f"copy{j}" for j in range(4)), *(f"w0{j}" for j in range(3))]
        (frame,) = ax.patches
        assert (frame.get_width(), frame.get_xy()) == (4, (-0.5, -0.5))
