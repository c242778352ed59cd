"""Numbers that go with answers, labelers and examples, and answers that are no class.

Each covariate is a function of the answer's example and labeler: whatever is done to the table, it
must stay that function.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gtx_bayes.devices import deal, examples_mesh, on_parts
from gtx_bayes.errors import InputError
from gtx_bayes.inference.svi import Batches
from gtx_bayes.labelers.confusion_matrix import ConfusionMatrix
from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.labels import MISSING, Assessment, Labels, PaddedLabels
from gtx_bayes.posterior import batch_class_posterior, batch_log_prob, gather_evidence, update
from gtx_bayes.standard_size import in_standard_size

UNSURE = 2  # an answer to two classes
DENSE = np.array(
    [[0, 1, MISSING, 1, UNSURE], [1, MISSING, MISSING, 0, 1], [MISSING, UNSURE, MISSING, 1, 0]],
    np.int8,
)
GOLD = Assessment.from_arrays([0, 3], [0, 1], num_examples=5, num_classes=2)


def when(example, labeler):
    return 10.0 * np.asarray(example) + np.asarray(labeler)


def table(num_answers=3):
    """The answers, out of order until they are sorted."""
    example, labeler = np.nonzero(DENSE.T != MISSING)
    order = np.random.default_rng(0).permutation(example.size)
    example, labeler = example[order], labeler[order]
    return Labels.from_arrays(
        example,
        labeler,
        DENSE[labeler, example],
        num_classes=2,
        num_examples=5,
        num_labelers=3,
        num_answers=num_answers,
        covariates={"when": when(example, labeler)},
        labeler_covariates={"skill": np.arange(3) + 0.5},
        example_covariates={"length": np.arange(5) - 0.25},
    )


def assert_kept(labels, num_labels, examples=None):
    """Every answer has its own covariates; `examples` are the indices that the examples had."""
    examples = np.arange(5) if examples is None else np.asarray(examples)
    there = np.asarray(labels.label) != MISSING
    assert there.sum() == num_labels
    assert labels.num_answers == 3
    example, labeler = np.asarray(labels.example)[there], np.asarray(labels.labeler)[there]
    found = np.asarray(labels.covariates["when"])
    np.testing.assert_array_equal(found[there], when(examples[example], labeler))
    np.testing.assert_array_equal(found[~there], np.zeros((~there).sum()))
    assert labels.labeler_covariates["skill"].shape == (labels.num_labelers,)
    np.testing.assert_array_equal(labels.labeler_covariates["skill"][:3], np.arange(3) + 0.5)
    assert labels.example_covariates["length"].shape == (labels.num_examples,)
    np.testing.assert_array_equal(
        labels.example_covariates["length"][: examples.size], examples - 0.25
    )


def summed(labels, sums, shared, of_examples):
    """What a device finds: the covariates of each example's answers, and those of labelers."""
    by_example = jnp.zeros(labels.num_examples).at[labels.example].add(labels.covariates["when"])

    def count(labels):
        skill = labels.labeler_covariates["skill"][labels.labeler]
        skill = jnp.where(labels.label != MISSING, skill, 0.0)
        return jnp.zeros(labels.num_labelers).at[labels.labeler].add(skill)

    return (by_example, labels.example_covariates["length"]), sums.of_labelers(count, labels)


class TestKept:
    def test_by_sorting(self):
        assert_kept(table(), 10)

    def test_in_a_dense_view(self):
        labels = Labels.from_dense(
            DENSE,
            num_classes=2,
            num_answers=3,
            covariates={"when": when(np.arange(5)[None, :], np.arange(3)[:, None])},
            labeler_covariates={"skill": np.arange(3) + 0.5},
            example_covariates={"length": np.arange(5) - 0.25},
        )
        assert_kept(labels, 10)

    def test_by_entry(self):
        assert_kept(table().entries(np.array([1, 4, 7])), 3)

    def test_by_example(self):
        labels = table().of_examples(np.array([4, 1]))
        assert_kept(labels, 5, examples=[4, 1])

    def test_by_example_with_one_to_come(self):
        labels = table().of_examples(np.array([3, 5]))
        assert_kept(labels, 3, examples=[3])
        np.testing.assert_array_equal(labels.example_covariates["length"], [2.75, 0.0])

    def test_with_padding(self):
        labels, _, _ = in_standard_size(table(), GOLD, None)
        assert labels.num_labels > 10
        assert_kept(labels, 10)

    def test_by_a_tree_map_and_a_replacement(self):
        labels = jax.tree.map(lambda values: values, table())
        assert_kept(dataclasses.replace(labels, label=labels.label), 10)

    def test_in_mini_batches(self, key):
        batches = Batches.shuffled(key, table(), GOLD, 2)
        order = (np.asarray(batches.labels.example_covariates["length"]) + 0.25).astype(int)
        assert sorted(order) == [0, 1, 2, 3, 4]
        labels, gold = batches.batch(jnp.array(1))
        count = np.sum(DENSE[:, order[1:3]] != MISSING)
        assert_kept(labels, count, examples=order[1:3])
        np.testing.assert_array_equal(gold.true_label, GOLD.true_label[order[1:3]])

    def test_on_devices(self):
        dealt = deal(table(), examples_mesh(1))
        (of_answers, of_examples), of_labelers = on_parts(summed, dealt, None, None)
        is_there = DENSE != MISSING
        totals = (when(np.arange(5)[None, :], np.arange(3)[:, None]) * is_there).sum(axis=0)
        np.testing.assert_array_equal(dealt.collect(of_answers), totals)
        np.testing.assert_array_equal(dealt.collect(of_examples), np.arange(5) - 0.25)
        counts = is_there.sum(axis=1)
        np.testing.assert_array_equal(of_labelers, counts * (np.arange(3) + 0.5))

    def test_by_place(self):
        labeler = np.tile(np.arange(3)[:, None], (1, 5))
        padded = PaddedLabels(
            jnp.asarray(labeler),
            jnp.asarray(DENSE),
            3,
            2,
            {
                "when": jnp.asarray(
                    np.where(DENSE == MISSING, 0, when(np.arange(5), labeler)), float
                )
            },
            {"skill": jnp.asarray(np.arange(3) + 0.5, float)},
            {"length": jnp.asarray(np.arange(5) - 0.25, float)},
            3,
        )
        assert_kept(padded.long(), 10)
        shorter = padded.first(1)
        assert shorter.num_answers == 3
        there = np.asarray(shorter.long().label) != MISSING
        assert there.sum() == np.sum(DENSE[0] != MISSING)


class TestPlain:
    """A table without covariates is the table that it was."""

    def test_nothing_more_to_compile(self):
        plain = Labels.from_arrays([0, 1], [0, 0], [1, 0], num_classes=2)
        assert len(jax.tree.leaves(plain)) == 3
        assert plain.num_answers == 2
        assert plain.of_classes() is plain

    def test_constructor(self):
        columns = [jnp.zeros(2, jnp.int32)] * 3
        assert Labels(*columns, 1, 1, 4).num_answers == 4
        assert PaddedLabels(jnp.zeros((1, 1), int), jnp.zeros((1, 1), int), 1, 4).num_answers == 4

    def test_more_classes_are_more_answers(self):
        assert dataclasses.replace(table(), num_classes=4).num_answers == 4


def test_of_classes():
    labels = table().of_classes()
    assert len(jax.tree.leaves(labels)) == 3
    assert labels.num_answers == 2
    np.testing.assert_array_equal(labels.dense(), np.where(DENSE == UNSURE, MISSING, DENSE))
    assert labels.label.dtype == np.int8


class TestModelsOfClasses:
    """Answers that are no class are no evidence of one, in every kernel."""

    @pytest.fixture
    def coin(self):
        return OneCoin(jnp.array([0.9, 0.8, 0.6]), 2)

    def test_one_coin(self, coin, rtol):
        labels = table()
        wanted = batch_class_posterior(coin, labels.of_classes())
        np.testing.assert_allclose(batch_class_posterior(coin, labels), wanted, rtol=rtol)
        dense = labels.of_classes().dense()
        np.testing.assert_allclose(batch_class_posterior(coin, dense), wanted, rtol=rtol)
        first, rest = (labels.entries(at) for at in (np.arange(5), np.arange(5, 10)))
        found = update(gather_evidence(coin, first), coin, rest)
        np.testing.assert_allclose(found.class_posterior(), wanted, rtol=rtol)

    def test_confusion(self, rtol):
        model = ConfusionMatrix(jnp.tile(jnp.array([[0.8, 0.2], [0.3, 0.7]]), (3, 1, 1)), 2)
        labels = table()
        np.testing.assert_allclose(
            batch_log_prob(model, labels), batch_log_prob(model, labels.of_classes()), rtol=rtol
        )


@pytest.mark.parametrize(
    ("covariates", "message"),
    [
        ({"when": [0.0]}, r"covariates\['when'\] has shape \(1,\), not \(2,\)"),
        ({"when": [0.0, np.nan]}, r"\['when'\]\[1\] is nan"),
        ({"when": ["early", "late"]}, "values"),
    ],
)
def test_bad_covariates(covariates, message):
    with pytest.raises(InputError, match=message):
        Labels.from_arrays([0, 1], [0, 0], [1, 0], num_classes=2, covariates=covariates)


def test_too_few_answers():
    with pytest.raises(InputError, match="1 possible answers to 2 classes"):
        Labels.from_arrays([0], [0], [0], num_classes=2, num_answers=1)
    with pytest.raises(InputError, match=r"label\[0\] is 3"):
        Labels.from_arrays([0], [0], [3], num_classes=2, num_answers=3)
