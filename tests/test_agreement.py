"""Coefficients of agreement: published values, other libraries, and what their intervals are."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from statsmodels.stats import inter_rater

from gtx_bayes.aggregation.tables import overlap_counts
from gtx_bayes.agreement import (
    agreement,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    label_counts,
    percent_agreement,
)
from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING, Labels
from tests.crowds import crowd_of, voted

krippendorff = pytest.importorskip("krippendorff")

NONE = 0
FOUR_OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ]
)
"""Krippendorff (2011), example C: 12 units, 5 values, some observers silent."""

FOURTEEN_RATERS = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)
"""Ten subjects in five categories, the usual worked example of Fleiss' kappa."""


def labels_of(dense, num_classes=5):
    return Labels.from_dense(np.asarray(dense), num_classes=num_classes)


def counts_of(dense, num_classes=5):
    return label_counts(labels_of(dense, num_classes))


class TestPublished:
    def test_krippendorffs_example(self):
        counts = counts_of(np.where(FOUR_OBSERVERS == NONE, MISSING, FOUR_OBSERVERS - 1))
        assert round(float(krippendorff_alpha(counts)), 3) == 0.743
        assert round(float(krippendorff_alpha(counts, metric="ordinal")), 3) == 0.815

    def test_fleiss_example(self):
        assert round(float(fleiss_kappa(FOURTEEN_RATERS)), 3) == 0.210
        assert round(float(percent_agreement(FOURTEEN_RATERS)), 3) == 0.378

    def test_cohens_two_readers(self):
        """Fifty proposals, 20 and 15 of them judged alike: 0.7 of them, 0.5 by chance."""
        assert float(cohen_kappa([[[20, 5], [10, 15]]])) == pytest.approx(0.4)


DENSE = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).choice(
        [MISSING, 0, 1, 2, 3], (4, 9), p=[0.3, 0.3, 0.2, 0.1, 0.1]
    )
)


class TestOtherLibraries:
    @hypothesis.given(dense=DENSE)
    def test_alpha_of_the_package_krippendorff(self, dense):
        counts = counts_of(dense, 4)
        hypothesis.assume((counts[counts.sum(axis=1) > 1].sum(axis=0) > 0).sum() > 1)
        for metric in ("nominal", "ordinal"):
            expected = krippendorff.alpha(
                value_counts=counts, value_domain=np.arange(4), level_of_measurement=metric
            )
            found = krippendorff_alpha(counts, metric=metric)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)

    @hypothesis.given(dense=DENSE)
    def test_kappas_of_statsmodels(self, dense):
        complete = np.where(dense == MISSING, 0, dense)
        hypothesis.assume(all(len(np.unique(row)) > 1 for row in complete))
        counts = counts_of(complete, 4)
        expected = inter_rater.fleiss_kappa(counts)
        np.testing.assert_allclose(fleiss_kappa(counts), expected, atol=1e-9)
        tables = []
        for one, other in itertools.combinations(complete, 2):
            tables.append(np.zeros((4, 4)))
            np.add.at(tables[-1], (one, other), 1)
        expected = np.mean([inter_rater.cohens_kappa(t, return_results=False) for t in tables])
        np.testing.assert_allclose(cohen_kappa(tables), expected, atol=1e-9)
        found = {one.name: one.value for one in agreement(labels_of(complete, 4), num_resamples=2)}
        np.testing.assert_allclose(found["cohen_kappa"], expected, atol=1e-9)


class TestIntervals:
    def test_resamples_are_of_examples(self):
        """The same as drawing examples one by one and working out the coefficient anew."""
        rng = np.random.default_rng(0)
        dense = rng.choice(3, (4, 60), p=[0.5, 0.3, 0.2])
        dense[1] = np.where(rng.random(60) < 0.6, dense[0], dense[1])
        counts = counts_of(dense, 3)
        values = np.sort(
            [float(krippendorff_alpha(counts[rng.integers(60, size=60)])) for _ in range(2000)]
        )
        found = {one.name: one for one in agreement(labels_of(dense, 3), num_resamples=2000)}
        alpha = found["krippendorff_alpha"]
        # Ranks of the limits among other resamples: binomial on both sides, so sqrt(2) wider.
        for limit, tail in ((alpha.low, 0.025), (alpha.high, 0.975)):
            rank = np.searchsorted(values, limit) / len(values)
            assert abs(rank - tail) < 6 * np.sqrt(2 * tail * (1 - tail) / 2000)
        assert all(one.low < one.value < one.high for one in found.values())

    def test_the_same_seed_the_same_limits(self):
        labels = labels_of(np.random.default_rng(0).choice(2, (3, 20)), 2)
        assert agreement(labels, seed=1) == agreement(labels, seed=1)
        assert agreement(labels, seed=1)[2].low != agreement(labels, seed=2)[2].low


class TestEdges:
    def test_all_agree_on_several_classes(self):
        found = agreement(labels_of([[0, 1, 0], [0, 1, 0]], 2))
        assert [one.value for one in found] == [1.0] * 4

    def test_one_class_alone_is_no_agreement_beyond_chance(self):
        found = {one.name: one for one in agreement(labels_of([[0, 0], [0, 0]], 2))}
        assert found["percent_agreement"].value == 1.0
        for name in ("fleiss_kappa", "krippendorff_alpha", "cohen_kappa"):
            assert np.isnan(found[name].value)
            assert np.isnan(found[name].low)

    def test_nobody_answers_what_another_did(self):
        for one in agreement(labels_of([[0, MISSING], [MISSING, 1]], 2)):
            assert one.num_examples == 0
            assert np.isnan(one.value)

    def test_the_same_labeler_twice_is_no_pair(self):
        labels = Labels.from_arrays([0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0], num_classes=2)
        found = {one.name: one for one in agreement(labels)}
        assert np.isnan(found["cohen_kappa"].value)
        assert found["percent_agreement"].value == 0.5

    @pytest.mark.parametrize("bad", [{"prob": 1.0}, {"prob": np.nan}, {"num_resamples": 1}])
    def test_bad_options(self, bad):
        with pytest.raises(InputError, match="Give a level between 0 and 1"):
            agreement(labels_of([[0], [0]], 2), **bad)

    def test_an_unknown_metric(self):
        with pytest.raises(InputError, match="Choose nominal or ordinal"):
            krippendorff_alpha([[1, 1]], metric="interval")


def test_agreement_is_highest_where_the_crowd_is_wrong_together():
    """Labelers who all copy one that errs have an alpha of one; independent ones do not."""
    rng = np.random.default_rng(0)
    truth = rng.choice(2, 200)
    one = np.where(rng.random(200) < 0.7, truth, 1 - truth)
    independent = np.where(rng.random((3, 200)) < 0.9, truth, 1 - truth)
    copied, honest = (
        krippendorff_alpha(counts_of(dense, 2)) for dense in (np.tile(one, (3, 1)), independent)
    )
    assert copied == 1.0 > honest


def test_tables():
    crowd = voted([[2, 1], [3, 0], [0, 2]])
    assert list(crowd.agreement()["coefficient"]) == [
        *("percent_agreement", "fleiss_kappa", "krippendorff_alpha", "cohen_kappa")
    ]
    assert not crowd.has_ordered_classes
    dense = [[0, 0, 1, 0], [0, 1, 1, MISSING], [0, 0, MISSING, MISSING]]
    from gtx_bayes import aggregate

    table = aggregate(crowd_of(dense), "majority-vote").labelers()
    np.testing.assert_allclose(table["coverage"], [1.0, 0.75, 0.5])
    np.testing.assert_allclose(table["agreement"], [1.0, 2 / 3, 1.0])
    np.testing.assert_allclose(table["overlap"], [0.75, 0.75, 0.5])
    np.testing.assert_allclose(table["conflict"], [0.25, 0.25, 0.25])


def test_overlaps_of_repeated_answers_and_of_what_is_no_answer():
    """A labeler has an example once; padding, and answers that are no class, are not there."""
    example, labeler = [0, 0, 0, 1, 1, 2, 2, 3, 4], [0, 0, 1, 0, 1, 0, 1, 1, 0]
    label = [0, 1, 0, 0, 2, 1, 1, MISSING, 0]  # 2 is no class
    labels = Labels.from_arrays(example, labeler, label, num_classes=2, num_answers=3)
    class_probs = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.5, 0.5], [0.3, 0.7]])
    found = overlap_counts(labels, class_probs)
    np.testing.assert_allclose(found[0], [2.5, 2.0])
    np.testing.assert_array_equal(found[1:], [[4, 2], [2, 2], [1, 1]])
