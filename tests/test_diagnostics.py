import arviz as az
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from gtx_bayes import metrics
from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics import checks, plots
from gtx_bayes.diagnostics.checks import (
    ConvergenceWarning,
    check_convergence,
    measure_convergence,
    summarise,
)
from gtx_bayes.diagnostics.to_arviz import draw_accuracy, draw_labelers, to_datatree
from gtx_bayes.inference import dependence
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.dependence import GRID
from gtx_bayes.inference.nuts import Draws
from tests.test_aggregation import FRAME, GOLD

POSTERIOR = BetaPosterior(jnp.array([5.0, 8.0, 3.0]), jnp.array([2.0, 1.0, 3.0]))
NAMES = ["ann", "<script>", "7"]


class TestDataTree:
    def test_real_names_and_means(self, key):
        tree = to_datatree(draw_accuracy(key, POSTERIOR, num_draws=500), NAMES)
        accuracy = tree["posterior"]["accuracy"]
        assert dict(accuracy.sizes) == {"chain": 4, "draw": 500, "labeler": 3}
        assert list(accuracy["labeler"].values) == NAMES
        mean, sd = np.asarray(POSTERIOR.mean), accuracy.std(["chain", "draw"]).values
        error = np.abs(accuracy.mean(["chain", "draw"]).values - mean)
        assert (error < 5 * sd / np.sqrt(2000)).all()

    def test_file_round_trip(self, key, tmp_path):
        tree = to_datatree(draw_accuracy(key, POSTERIOR, num_draws=50), NAMES)
        tree.to_netcdf(tmp_path / "posterior.nc", engine="h5netcdf")
        again = az.from_netcdf(tmp_path / "posterior.nc")
        assert again["posterior"]["accuracy"].equals(tree["posterior"]["accuracy"])

    def test_from_a_result(self, key):
        tree = draw_labelers(key, aggregate(Crowd.from_frames(FRAME, GOLD)), num_draws=20)
        assert list(tree["posterior"]["labeler"].values) == ["u", "v", "w"]
        with pytest.raises(ValueError, match="gtx has no posterior"):
            draw_labelers(key, aggregate(Crowd.from_frames(FRAME, GOLD), "gtx"))

    def test_sites_by_what_they_are(self):
        """Three labelers, two classes; an axis of the right length alone is no labeler's."""
        shapes = {
            "accuracy": (3, 2),
            "class_prior": (2,),
            "confusion": (3, 2, 2),
            "hard_accuracy": (3,),
            "membership": (3, 4),
            "of_my_own": (3,),
            "log_odds": (5,),
            "mean": (),
        }
        sites = {name: np.ones((2, 5, *shape)) for name, shape in shapes.items()}
        stats = {"diverging": np.zeros((2, 5), bool), "accept_prob": np.ones((2, 5))}
        tree = to_datatree(Draws(sites, stats), NAMES, class_names=["no", 1])
        assert set(tree["sample_stats"].data_vars) == {"diverging", "acceptance_rate"}
        posterior = tree["posterior"]
        assert {name: posterior[name].dims[2:] for name in shapes} == {
            "accuracy": ("labeler", "class"),
            "class_prior": ("class",),
            "confusion": ("labeler", "class", "answer"),
            "hard_accuracy": ("labeler",),
            "membership": ("labeler", "membership_dim_0"),
            "of_my_own": ("of_my_own_dim_0",),
            "log_odds": ("log_odds_dim_0",),
            "mean": (),
        }
        assert list(posterior["answer"].values) == ["no", "1"]

    def test_classes_without_names(self):
        """As many classes as labelers, which used to make the class prior a labeler's."""
        sites = {"class_prior": np.ones((2, 5, 3)), "confusion": np.ones((2, 5, 3, 3, 3))}
        posterior = to_datatree(Draws(sites, {}), NAMES)["posterior"]
        assert posterior["class_prior"].dims[2:] == ("class_prior_dim_0",)
        assert posterior["confusion"].dims[2:] == ("labeler", "confusion_dim_0", "confusion_dim_1")


class TestConvergence:
    def test_chains_that_disagree(self, key):
        draws = draw_accuracy(key, POSTERIOR)
        shifted = draws.posterior["accuracy"].copy()
        shifted[0, :, 1] -= 0.5
        tree = to_datatree(Draws({"accuracy": shifted}, {}), NAMES)
        with pytest.warns(ConvergenceWarning) as caught:
            found = check_convergence(tree)
        assert not found.converged
        assert any("R-hat of accuracy[<script>]" in str(w.message) for w in caught)
        assert any("effective sample size (bulk)" in problem for problem in found.problems)

    def test_sticky_chains(self, key):
        """Each draw repeated 50 times: 20 different ones a chain are too few."""
        draws = draw_accuracy(key, POSTERIOR, num_draws=20)
        tree = to_datatree(
            Draws({"accuracy": np.repeat(draws.posterior["accuracy"], 50, axis=1)}, {}), NAMES
        )
        found = measure_convergence(tree)
        assert found.min_ess_bulk < 400
        assert any("draw more" in problem for problem in found.problems)

    @pytest.mark.parametrize(
        ("name", "values", "problem"),
        [
            ("diverging", np.arange(4000) < 3, "3 transitions diverged"),
            ("num_steps", np.where(np.arange(4000) < 2, 1023, 7), "2 trajectories were cut off"),
            ("energy", np.random.default_rng(0).normal(size=4000), None),
            # Steps whose variance is a small part of that of their sum.
            ("energy", np.random.default_rng(0).normal(size=4000).cumsum(), "the energy moves"),
        ],
    )
    def test_what_the_sampler_says(self, key, name, values, problem):
        stats = {name: values.reshape(4, 1000)}
        found = measure_convergence(
            to_datatree(draw_accuracy(key, POSTERIOR)._replace(sample_stats=stats), NAMES)
        )
        assert found.converged == (problem is None)
        assert problem is None or found.problems[0].startswith(problem)
        assert problem is None or "not to be trusted yet: " + problem in found.verdict

    def test_errors_of_means_are_those_of_independent_draws(self, key):
        """4000 independent draws know a mean to 1 / sqrt(4000) standard deviations."""
        found = check_convergence(to_datatree(draw_accuracy(key, POSTERIOR), NAMES))
        assert found.converged
        assert 0.9 / np.sqrt(4000) < found.max_mcse < 1.2 / np.sqrt(4000)
        assert "means known to 0.02 posterior standard deviations" in found.verdict
        assert np.isnan(found.min_bfmi)
        assert np.isnan(found.class_prob_range)

    def test_chains_that_label_otherwise(self, key):
        tree = to_datatree(draw_accuracy(key, POSTERIOR), NAMES)
        probs = np.full((4, 2, 2), 0.5)
        probs[3, 1] = [0.9, 0.1]
        tree["class_posterior"] = xr.Dataset(
            {"class_probs": (("chain", "example", "class"), probs)}
        )
        found = measure_convergence(tree)
        np.testing.assert_allclose(found.class_prob_range, 0.4)
        assert "believe different labelers" in found.problems[0]

    def test_functions_of_parameters_are_left_out(self, key, tmp_path):
        """Of a tree in memory, and of one from a file, where one name is kept as a string."""
        draws = draw_accuracy(key, POSTERIOR, num_draws=500)
        stuck = np.tile(np.arange(4.0)[:, None], (1, 500))
        draws = draws._replace(
            posterior={**draws.posterior, "concentration": stuck}, deterministic=("concentration",)
        )
        tree = to_datatree(draws, NAMES)
        tree.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
        for each in (tree, az.from_netcdf(tmp_path / "x.nc")):
            assert measure_convergence(each).converged
        assert not measure_convergence(
            to_datatree(draws._replace(deterministic=()), NAMES)
        ).converged


class TestSummary:
    def test_intervals_are_equal_tailed_at_the_level_asked_for(self, key):
        tree = to_datatree(draw_accuracy(key, POSTERIOR, num_draws=500), NAMES)
        table = summarise(tree, prob=0.9)
        assert list(table.index) == [f"accuracy[{name}]" for name in NAMES]
        draws = np.asarray(tree["posterior"]["accuracy"]).reshape(-1, 3)
        np.testing.assert_allclose(table["eti90_lb"], np.quantile(draws, 0.05, axis=0), rtol=1e-2)

    def test_large_variables_are_left_out_unless_named(self, monkeypatch):
        monkeypatch.setattr(checks, "MAX_SUMMARISED", 3)
        rng = np.random.default_rng(0)
        sites = {"accuracy": rng.random((2, 20, 3)), "confusion": rng.random((2, 20, 3, 2, 2))}
        tree = to_datatree(Draws(sites, {}), NAMES)
        assert len(summarise(tree)) == 3
        assert len(summarise(tree, ["confusion"])) == 12
        with pytest.raises(ValueError, match="name those"):
            summarise(to_datatree(Draws({"confusion": sites["confusion"]}, {}), NAMES))


LABELERS = pd.DataFrame(
    {
        "worker": ["good", "bad", "unknown"],
        "accuracy": [0.9, 0.2, np.nan],
        "ci_low": [0.8, 0.1, np.nan],
        "ci_high": [0.95, 0.4, np.nan],
        "num_labels": [10, 20, 5],
    }
)


class TestPlots:
    @pytest.fixture(autouse=True)
    def close(self):
        yield
        plt.close("all")

    def test_forest_shows_the_known_in_order(self):
        ax = plots.plot_labeler_forest(LABELERS, chance=0.5)
        assert [text.get_text() for text in ax.get_yticklabels()] == ["bad", "good"]
        assert ax.get_title(loc="left") == "Labelers, 2 of 3"
        bad, good = ax.collections[0].get_colors()
        assert not np.array_equal(bad, good)

    def test_forest_of_a_large_crowd_keeps_the_busiest(self):
        crowd = pd.concat([LABELERS.head(2)] * 50, ignore_index=True)
        ax = plots.plot_labeler_forest(crowd, chance=0.5, max_labelers=40)
        assert {text.get_text() for text in ax.get_yticklabels()} == {"bad"}

    def test_reliability(self):
        probs = jnp.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.6, 0.4]])
        curve = metrics.reliability_curve(probs, jnp.array([0, 0, 0, 1]), num_bins=10)
        ax = plots.plot_reliability({"one": curve, "two": curve})
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "two"]
        drawn = [line for line in ax.get_lines() if line.get_label() == "one"]
        np.testing.assert_allclose(drawn[0].get_ydata(), [0.5, 1.0, 1.0])

    def test_names_are_plain_text(self, tmp_path):
        """Dollars would be formulas, and this one is broken; line breaks would break the layout."""
        names = LABELERS.assign(worker=["$v^{$", "a\nb", "c"])
        plots.save_figure(plots.plot_labeler_forest(names, chance=0.5), tmp_path / "x.png")
        assert (tmp_path / "x.png").stat().st_size > 0

    def test_confidence_on_axes_given(self):
        _, ax = plt.subplots()
        assert plots.plot_confidence(np.array([0.5, 0.9, 0.9]), num_classes=2, ax=ax) is ax
        assert sum(bar.get_height() for bar in ax.patches) == 3
        assert "half above 0.900" in ax.get_title(loc="left")
        empty = plots.plot_confidence(np.zeros(0), num_classes=2)
        assert empty.get_title(loc="left") == "Confidence of 0 examples"

    def test_counts_in_whole_bars(self):
        ax = plots.plot_counts(np.array([2, 2, 5]), of="answers per example", by="examples")
        assert [bar.get_height() for bar in ax.patches] == [0, 0, 2, 0, 0, 1]
        assert [round(bar.get_x() + bar.get_width() / 2) for bar in ax.patches] == list(range(6))
        assert ax.get_title(loc="left") == "Answers per example, median 2"
        many = plots.plot_counts(np.arange(1000), of="answers", by="labelers")
        assert len(many.patches) <= 30
        assert sum(bar.get_height() for bar in many.patches) == 1000

    def test_dependence(self):
        """The density covers an area of one; a value given is a line alone."""
        found, _ = dependence.learn(np.zeros(GRID.size))
        density = plots.plot_dependence(found).get_lines()[0]
        area = np.trapezoid(density.get_ydata(), density.get_xdata())
        assert area == pytest.approx(1.0, abs=0.01)
        given = plots.plot_dependence(dependence.Dependence.known(0.3))
        assert len(given.get_lines()) == 1
        assert "0.30, given" in given.get_title(loc="left")

    def test_result_plots(self, tmp_path):
        plots.save_result_plots(aggregate(Crowd.from_frames(FRAME, GOLD)), tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {
            "confidence.png",
            "labelers.png",
            "confusion.png",
        }
        (tmp_path / "votes").mkdir()
        plots.save_result_plots(
            aggregate(Crowd.from_frames(FRAME), "majority-vote"), tmp_path / "votes"
        )
        drawn = {path.name for path in (tmp_path / "votes").iterdir()}
        assert drawn == {"confidence.png", "confusion.png"}
        assert not plt.get_fignums()
