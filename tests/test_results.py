"""What a result says by name: examples, labelers, confusion matrices, other examples, a page."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from gtx_bayes.aggregation import tables
from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.base import Fit
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics import plots
from gtx_bayes.errors import InputError
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.class_conditional import ClassConditional
from gtx_bayes.models.confusion import ConfusionMatrix
from gtx_bayes.models.difficulty import HardExamples
from gtx_bayes.models.one_coin import OneCoin
from tests.test_aggregation import FRAME, GOLD

QUICK = {"model": "one-coin", "dependence": 0.0, "class_prior": [0.5, 0.5]}
MATRICES = [[[0.9, 0.1], [0.3, 0.7]], [[0.6, 0.4], [0.2, 0.8]]]


@pytest.fixture(scope="module")
def joint():
    return aggregate(Crowd.from_frames(FRAME, GOLD), **QUICK)


class TestExamples:
    def test_needs_no_key(self, joint):
        """None, a seed and the seed's key draw alike."""
        table = joint.examples()
        for key in (0, jax.random.key(0)):
            pd.testing.assert_frame_equal(joint.examples(key), table)
        pd.testing.assert_frame_equal(joint.examples(7), joint.examples(jax.random.key(7)))
        assert not joint.examples(7).equals(table)  # the draws behind the intervals

    @pytest.mark.parametrize("seed", [-1, 2**32])
    def test_a_seed_that_is_none(self, joint, seed):
        with pytest.raises(InputError, match="the seed is"):
            joint.examples(seed)

    def test_notes_are_worked_out_once(self, joint):
        assert joint.notes is joint.notes


class TestConfusion:
    def test_of_a_model(self, joint):
        """Accuracies on the diagonal; the counts are those of the answers, example by example."""
        table = joint.confusion()
        assert list(table.columns) == [
            *("worker", "true_label", "label", "probability", "num_labels", "source")
        ]
        assert set(table["source"]) == {"model"}
        assert len(table) == 3 * 2 * 2
        right = table[table["true_label"] == table["label"]]
        accuracy = np.repeat(joint.fit.aggregator.model.accuracy, 2)
        np.testing.assert_allclose(right["probability"], accuracy, rtol=1e-5)
        counts = table.pivot_table("num_labels", "worker", "label", aggfunc="sum")
        given = pd.crosstab(FRAME["worker"], FRAME["label"])
        np.testing.assert_allclose(counts, given.loc[counts.index, counts.columns], rtol=1e-5)
        probs = dict(
            zip(joint.crowd.example_names, np.asarray(joint.class_probs)[:, 1], strict=True)
        )
        by_hand = sum(probs[task] for task in ("a", "b", "g"))  # u said yes to these
        found = table.set_index(["worker", "true_label", "label"])["num_labels"]
        np.testing.assert_allclose(found["u", "yes", "yes"], by_hand, rtol=1e-5)

    def test_of_votes_with_gold(self):
        """One gold example, "yes": u and v were right, w was not; nothing is known of "no"."""
        result = aggregate(Crowd.from_frames(FRAME, GOLD), "majority-vote")
        table = result.confusion()
        assert set(table["source"]) == {"gold"}
        found = table.set_index(["worker", "true_label", "label"])
        assert [found.loc[(who, "yes", "yes"), "probability"] for who in "uvw"] == [1, 1, 0]
        assert found.xs("no", level="true_label")["probability"].isna().all()
        assert found["num_labels"].sum() == 3

    def test_of_votes_without_gold(self):
        """By the majority a and g are "yes", c is "no", and b is half of both."""
        result = aggregate(Crowd.from_frames(FRAME), "majority-vote")
        assert set(result.confusion()["source"]) == {"hard labels"}
        matrix = result.confusion_matrix("u")
        np.testing.assert_allclose(matrix.loc["yes", "yes"], 1.0)  # 2.5 of 2.5
        np.testing.assert_allclose(matrix.loc["no", "no"], 1 / 1.5)

    def test_one_labeler_is_part_of_all(self, joint):
        table = joint.confusion()
        own = table[table["worker"] == "v"].pivot_table("probability", "true_label", "label")
        pd.testing.assert_frame_equal(joint.confusion_matrix("v"), own, check_dtype=False)

    def test_nobody_of_that_name(self, joint):
        with pytest.raises(InputError, match="no labeler 'x'"):
            joint.confusion_matrix("x")

    def test_too_large(self, monkeypatch, joint):
        monkeypatch.setattr(tables, "MOST_CELLS", 11)
        with pytest.raises(InputError, match="3 labelers have 12 cells, more than 11"):
            joint.confusion()
        assert joint.confusion_matrix("u").shape == (2, 2)

    @pytest.mark.parametrize(
        ("model", "expected"),
        [
            (
                OneCoin(jnp.array([0.9, 0.6]), 2),
                [[[0.9, 0.1], [0.1, 0.9]], [[0.6, 0.4], [0.4, 0.6]]],
            ),
            (ClassConditional(jnp.array([[0.9, 0.7], [0.6, 0.8]]), 2), MATRICES),
            (ConfusionMatrix(jnp.array(MATRICES), 2), MATRICES),
            (
                HardExamples(jnp.array([0.9, 0.6]), jnp.array([0.1, 0.6]), jnp.array(0.25), 2),
                [[[0.7, 0.3], [0.3, 0.7]], [[0.6, 0.4], [0.4, 0.6]]],
            ),
        ],
        ids=lambda model: type(model).__name__,
    )
    def test_every_model(self, joint, model, expected):
        labels = Labels.from_arrays([0], [0], [1], num_classes=2, num_labelers=2)
        fit = Fit(
            aggregator=type(joint.fit.aggregator)(model, jnp.full(2, 0.5), 0.0),
            labeler_accuracy=joint.fit.labeler_accuracy,
            model="any",
        )
        found = tables.confusion_of(fit, labels, Assessment.none(1, 2), jnp.array([[0.3, 0.7]]))
        np.testing.assert_allclose(found.probability, expected, rtol=1e-5)
        np.testing.assert_allclose(found.num_labels, [[[0, 0.3], [0, 0.7]], np.zeros((2, 2))])

    def test_plot(self, joint):
        """Of one labeler its matrix; of all the mean over labelers by their answers."""
        table = joint.confusion()
        ax = plots.plot_confusion(table, worker="u")
        np.testing.assert_allclose(ax.images[0].get_array(), joint.confusion_matrix("u"))
        assert [label.get_text() for label in ax.get_yticklabels()] == ["no", "yes"]
        ax = plots.plot_confusion(table)
        cells = table.assign(
            weight=table.groupby(["worker", "true_label"])["num_labels"].transform("sum")
        )
        cells = cells[(cells["true_label"] == "no") & (cells["label"] == "yes")]
        mean = np.average(cells["probability"], weights=cells["weight"])
        np.testing.assert_allclose(ax.images[0].get_array()[0, 1], mean)
        with pytest.raises(InputError, match="no labeler 'x'"):
            plots.plot_confusion(table, worker="x")
        plt.close("all")


class TestPredict:
    NEW = pd.DataFrame(
        {"task": ["x", "x", "y"], "worker": ["w", "u", "v"], "label": ["no", "yes", "yes"]}
    )

    def test_by_hand(self, joint):
        """The odds of each answer's accuracy, times those of the prior."""
        table = joint.predict(self.NEW)
        assert list(table["task"]) == ["x", "y"]
        assert list(table["num_labels"]) == [2, 1]
        accuracy = np.asarray(joint.fit.aggregator.model.accuracy, float)
        at = dict(zip(joint.crowd.labeler_names, accuracy / (1 - accuracy), strict=True))
        prior = np.asarray(joint.class_prior, float)
        odds = prior[1] / prior[0] * np.array([at["u"] / at["w"], at["v"]])
        np.testing.assert_allclose(table["prob_yes"], odds / (1 + odds), rtol=1e-4)
        assert list(table["label"]) == list(np.where(odds > 1, "yes", "no"))

    def test_votes(self):
        result = aggregate(Crowd.from_frames(FRAME), "majority-vote")
        np.testing.assert_allclose(result.predict(self.NEW)["prob_yes"], [0.5, 1.0])

    def test_names_that_are_numbers(self):
        """A worker 3 of the crowd is the worker "3" of a file of new answers."""
        names = dict(zip("uvw", (3, 1, 2), strict=True))
        frame = FRAME.assign(worker=[names[who] for who in FRAME["worker"]])
        result = aggregate(Crowd.from_frames(frame, GOLD), "gtx")
        new = self.NEW.assign(worker=[str(names[who]) for who in self.NEW["worker"]])
        plain = aggregate(Crowd.from_frames(FRAME, GOLD), "gtx").predict(self.NEW)
        pd.testing.assert_frame_equal(result.predict(new), plain)

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            ("worker", "nobody", "the fit does not know 'nobody'"),
            ("label", "maybe", "'maybe' is none of the classes"),
        ],
    )
    def test_unknown_names(self, joint, column, value, message):
        with pytest.raises(InputError, match=message):
            joint.predict(self.NEW.assign(**{column: [value, *self.NEW[column][1:]]}))

    def test_a_prior_of_each_example(self):
        prior = np.full((4, 2), 0.5)
        result = aggregate(Crowd.from_frames(FRAME, GOLD), "gtx", class_prior=prior)
        with pytest.raises(InputError, match="example by example"):
            result.predict(self.NEW)


class TestPage:
    def test_in_a_line(self, joint):
        assert repr(joint).startswith(
            "<Aggregation by gtx-bayes (one-coin): 4 examples (1 gold), 3 labelers, 2 classes, "
            "10 labels, mean confidence 0."
        )

    def test_escaped_and_short(self):
        """Names are text, whatever they look like; of many rows the first are shown."""
        num = 50
        frame = pd.DataFrame(
            {
                "task": [f"<b>{i}</b>" for i in range(num) for _ in "ab"],
                "worker": ["<script>", "w&v"] * num,
                "label": ["yes", "no<br>"] * num,
            }
        )
        text = aggregate(Crowd.from_frames(frame), "majority-vote")._repr_html_()
        for name in ("<script>", "<b>0", "no<br>", "w&v"):
            assert name not in text
        assert "&lt;script&gt;" in text
        assert "5 of 50 examples" in text
        assert "2 of 2 labelers" in text
        assert text.count("<tr") <= 2 * 6
        assert len(text) < 6_000
