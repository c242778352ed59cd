"""Sampled results: real names, log-likelihoods against references, LOO against the exact one."""

import arviz as az
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.diagnostics import plots
from gtx_bayes.diagnostics.checks import measure_convergence
from gtx_bayes.diagnostics.loo import LeaveOneOut, compare_models, leave_one_out
from gtx_bayes.diagnostics.sampling import sample_posterior, with_log_likelihood
from gtx_bayes.inference import pointwise
from gtx_bayes.inference.crowd_models import crowd_model
from gtx_bayes.inference.gibbs import run_gibbs
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.difficulty import DifficultyPrior
from gtx_bayes.models.one_coin import OneCoin, OneCoinModel
from gtx_bayes.posterior import batch_log_evidence
from tests.crowds import crowd_of, simulated

PRIOR = jnp.array([0.3, 0.7])


def fitted(crowd, model="one-coin"):
    return aggregate(crowd, model=model, dependence=0.0, class_prior=PRIOR)


class TestLogLikelihood:
    LABELS = Labels.from_dense(np.array([[0, 1, 1], [1, 1, MISSING]]), num_classes=2)
    LOG_ODDS = np.array([[[0.4, -0.3], [1.2, 2.0]], [[0.0, 0.1], [3.0, 0.5]]])
    """Two chains of two draws, two labelers."""
    LABELERS = OneCoin(jnp.array([0.5, 0.5]), 2)

    def test_without_gold_it_is_the_evidence(self, rtol):
        accuracy = jax.nn.sigmoid(jnp.asarray(self.LOG_ODDS))
        found = pointwise.of_labelers(
            self.LABELERS, self.LABELS, Assessment.none(3, 2), {"accuracy": accuracy}, PRIOR
        )
        for chain in range(2):
            for draw in range(2):
                model = OneCoin(accuracy[chain, draw], 2)
                expected = batch_log_evidence(model, self.LABELS, PRIOR)
                np.testing.assert_allclose(found[chain, draw], expected, rtol=10 * rtol)

    def test_both_kinds_of_draws_agree(self, rtol):
        """Also with gold, whose other class is no longer possible, and learnt proportions."""
        assessment = Assessment(jnp.array([MISSING, 0, MISSING]), 2)
        learnt = np.array([[[0.3, 0.7], [0.5, 0.5]], [[0.9, 0.1], [0.2, 0.8]]])
        accuracy = jax.nn.sigmoid(jnp.asarray(self.LOG_ODDS))
        gibbs = pointwise.of_labelers(
            self.LABELERS, self.LABELS, assessment, {"accuracy": accuracy, "class_prior": learnt}
        )
        shared = {"mean": np.full((2, 2), 0.7), "log_concentration": np.ones((2, 2))}
        nuts = pointwise.of_crowd_model(
            crowd_model(OneCoinModel()),
            self.LABELS,
            assessment,
            {"log_odds": self.LOG_ODDS, "class_prior": learnt, **shared},
        )
        np.testing.assert_allclose(gibbs, nuts, rtol=10 * rtol)
        both_say_one = accuracy[0, 0]
        by_hand = jnp.log(0.3 * jnp.prod(1 - both_say_one))
        np.testing.assert_allclose(gibbs[0, 0, 1], by_hand, rtol=10 * rtol)

    def test_certain_labelers_who_err_are_not_impossible(self):
        found = pointwise.of_labelers(
            self.LABELERS,
            self.LABELS,
            Assessment(jnp.array([0, 0, 0]), 2),
            {"accuracy": np.ones((1, 1, 2))},
            PRIOR,
        )
        assert np.isfinite(np.asarray(found)).all()

    def test_a_prior_is_needed(self):
        with pytest.raises(ValueError, match="no class_prior"):
            pointwise.of_labelers(
                self.LABELERS,
                self.LABELS,
                Assessment.none(3, 2),
                {"accuracy": np.full((1, 1, 2), 0.7)},
            )


class TestVerdict:
    def test_names_the_examples_that_are_not_to_be_trusted(self):
        names = np.array(["a", "<b>", "c"], object)
        found = LeaveOneOut(-6.0, 1.0, 2.0, np.array([0.1, 0.9, np.nan]), 0.7, names)
        assert found.verdict.startswith("elpd -6.0 (se 1.0), -2.000 nats an example; Pareto k of 2")
        assert "'<b>'" in found.verdict
        np.testing.assert_array_equal(found.is_bad, [False, True, True])
        np.testing.assert_array_equal(found.worst, [2, 1])
        ax = plots.plot_pareto_k(found)
        assert ax.get_title(loc="left") == "2 of 3 above 0.70"
        assert {text.get_text() for text in ax.texts} == {"c", "<b>"}
        plt.close(ax.figure)
        fine = found._replace(pareto_k=np.zeros(3))
        assert "trust it" in fine.verdict


@pytest.mark.end_to_end
class TestGibbs:
    @pytest.mark.slow
    def test_loo_of_gold_against_the_exact_one(self, key):
        """All gold: each answer left out is a Beta-binomial prediction from the labeler's others.

        Importance sampling's error is that of the mean of 1 / likelihood over 2000 draws.
        """
        crowd = simulated(key, 60)
        result = fitted(crowd)
        tree = with_log_likelihood(sample_posterior(key, result, num_warmup=10), result)
        found = leave_one_out(tree)
        truth = np.asarray(crowd.assessment.true_label)
        right = np.zeros((5, 60), bool)
        label, example = np.asarray(crowd.labels.label), np.asarray(crowd.labels.example)
        right[np.asarray(crowd.labels.labeler), example] = label == truth[example]
        a, b = np.asarray(result.fit.joint.prior.shape, np.float64)
        correct = right.sum(axis=1, keepdims=True) - right
        prob = (a + correct) / (a + b + 59)
        exact = (
            np.log(np.where(right, prob, 1 - prob)).sum(axis=0) + np.log(np.asarray(PRIOR))[truth]
        )
        log_likelihood = np.asarray(tree["log_likelihood"]["answers"], np.float64).reshape(-1, 60)
        inverse = np.exp(-log_likelihood)
        se = inverse.std(axis=0) / inverse.mean(axis=0) / np.sqrt(len(inverse))
        each = az.loo(tree, var_name="answers", pointwise=True).elpd_i
        assert (np.abs(np.asarray(each) - exact) < 6 * se).all()
        assert abs(found.elpd - exact.sum()) < 6 * np.sqrt((se**2).sum()) + 1e-3
        assert not found.is_bad.any()

    @pytest.mark.slow
    def test_names_files_and_comparison(self, key, tmp_path):
        """The tree survives a file; labelers biased alike prefer confusion matrices."""
        rng = np.random.default_rng(5)
        truth = rng.integers(0, 2, 60)
        dense = (rng.random((4, 60)) < np.where(truth == 1, 0.95, 0.4)).astype(int)
        crowd = crowd_of(dense, truth)
        trees = {}
        for model in ("one-coin", "confusion"):
            result = fitted(crowd, model)
            tree = sample_posterior(key, result, num_warmup=100)
            assert tree.attrs == {"model": model, "method": "gibbs"}
            trees[model] = with_log_likelihood(tree, result)
        posterior = trees["confusion"]["posterior"]
        assert posterior["confusion"].dims[2:] == ("labeler", "class", "answer")
        assert list(posterior["labeler"].values) == ["w0", "w1", "w2", "w3"]
        assert list(trees["confusion"]["class_posterior"]["example"].values[:2]) == ["e0", "e1"]
        table = compare_models(trees)
        assert list(table.index) == ["confusion", "one-coin"]
        assert table["elpd_diff"].iloc[1] < -3 * table["dse"].iloc[1] < 0
        trees["confusion"].to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
        again = az.from_netcdf(tmp_path / "x.nc")
        assert again.attrs == trees["confusion"].attrs
        before, after = (measure_convergence(tree) for tree in (trees["confusion"], again))
        np.testing.assert_array_equal(before[:-1], after[:-1])
        assert leave_one_out(again).elpd == pytest.approx(table["elpd"].iloc[0])
        fewer = trees["one-coin"].isel(example=slice(10))
        with pytest.raises(ValueError, match="different examples"):
            compare_models({"a": fewer, "b": again})

    def test_what_cannot_be_sampled(self, key):
        crowd = simulated(key, 20)
        with pytest.raises(ValueError, match="no sampler 'hmc'"):
            sample_posterior(key, fitted(crowd), "hmc")
        with pytest.raises(ValueError, match="use gtx-bayes"):
            sample_posterior(key, aggregate(crowd, "majority-vote"))
        with pytest.raises(ValueError, match="takes examples of a class for alike"):
            run_gibbs(key, crowd.labels, crowd.assessment, DifficultyPrior.default(2), PRIOR)
        tree = az.from_dict({"posterior": {"accuracy": np.ones((1, 4, 2))}})
        with pytest.raises(ValueError, match="with_log_likelihood"):
            leave_one_out(tree)
        with pytest.raises(ValueError, match="give at least 2"):
            compare_models({"a": tree})


@pytest.mark.end_to_end
@pytest.mark.slow
def test_nuts_and_gibbs_see_the_same_labels(key):
    """Means of class posteriors within five of their errors, chains taken for independent.

    NUTS learns what Gibbs holds fixed, which moves no probability by more than .05 here.
    """
    result = fitted(simulated(key, 30))
    by_gibbs = sample_posterior(key, result)
    by_nuts = sample_posterior(key, result, "nuts", target_accept_prob=0.95)
    assert set(by_nuts["posterior"].attrs["deterministic"]) == {"accuracy", "concentration"}
    assert {"energy", "diverging", "n_steps"} <= set(by_nuts["sample_stats"].data_vars)
    probs, errors = [], []
    for tree in (by_gibbs, by_nuts):
        by_chain = np.asarray(tree["class_posterior"]["class_probs"])
        probs.append(by_chain.mean(axis=0))
        errors.append(by_chain.std(axis=0, ddof=1) / 2.0)
    error = np.hypot(*errors)
    assert (np.abs(probs[0] - probs[1]) < 0.05 + 5 * error).all()
