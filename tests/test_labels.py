import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from gtx_bayes.abstentions import unanswered
from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING, Assessment, Labels, distinct, label_dtype


def test_sorted_by_example_and_stable():
    labels = Labels.from_arrays([2, 0, 2, 0], [0, 1, 2, 3], [1, 0, 0, 1], num_classes=2)
    np.testing.assert_array_equal(labels.example, [0, 0, 2, 2])
    np.testing.assert_array_equal(labels.labeler, [1, 3, 0, 2])
    np.testing.assert_array_equal(labels.label, [0, 1, 1, 0])
    assert (labels.num_examples, labels.num_labelers, labels.num_labels) == (3, 4, 4)


def test_dense_round_trip():
    dense = np.array([[0, MISSING, 2], [1, 1, MISSING]])
    labels = Labels.from_dense(dense, num_classes=3)
    np.testing.assert_array_equal(labels.dense(), dense)
    np.testing.assert_array_equal(labels.labels_per_example(), [2, 1, 1])
    np.testing.assert_array_equal(labels.labels_per_labeler(), [2, 2])


def test_padding_is_not_counted():
    labels = Labels.from_arrays([0, 0, 1], [0, 1, 1], [1, MISSING, 0], num_classes=2)
    np.testing.assert_array_equal(labels.labels_per_example(), [1, 1])
    np.testing.assert_array_equal(labels.labels_per_labeler(), [1, 1])
    np.testing.assert_array_equal(labels.dense(), [[1, MISSING], [MISSING, 0]])


@pytest.mark.parametrize(
    ("num_classes", "dtype"), [(2, np.int8), (128, np.int8), (129, np.int16), (40_000, np.int32)]
)
def test_narrowest_label_type(num_classes, dtype):
    assert label_dtype(num_classes) is dtype
    highest = Labels.from_arrays([0], [0], [num_classes - 1], num_classes=num_classes)
    assert int(highest.label[0]) == num_classes - 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0, 1], [0], [0, 1]), "shapes"),
        (([[0]], [[0]], [[0]]), "flat arrays"),
        (([0.0], [0], [0]), "float64"),
        ((np.uint64([2**40]), [0], [0]), "more than an int32"),
        (([-1], [0], [0]), r"example\[0\] is -1"),
        (([0, 1], [0, 0], [0, 2]), r"label\[1\] is 2"),
        (([0, 1], [0, 0], [0, -2]), "alone stands for no label"),
    ],
)
def test_bad_arrays(columns, message):
    with pytest.raises(InputError, match=message):
        Labels.from_arrays(*columns, num_classes=2)


def test_more_answers_than_an_int32_can_index():
    """Broadcast views hold 2**31 entries in no memory."""
    many = np.broadcast_to(np.int8(0), (2**31,))
    with pytest.raises(InputError, match="2147483648 entries, more than an int32 can index"):
        Labels.from_arrays(many, many, many, num_classes=2)
    with pytest.raises(InputError, match="runs to 2147483648"):
        Labels.from_arrays([2**31 - 1], [0], [0], num_classes=2)


def test_sizes_given():
    labels = Labels.from_arrays([], [], [], num_classes=2, num_examples=3, num_labelers=0)
    assert (labels.num_examples, labels.num_labels) == (3, 0)
    with pytest.raises(InputError, match="num_examples is -3"):
        Labels.from_arrays([], [], [], num_classes=2, num_examples=-3)


def test_one_class_is_no_question():
    with pytest.raises(InputError, match="nothing to decide"):
        Labels.from_arrays([0], [0], [0], num_classes=1)


def test_dense_refuses_repeats():
    labels = Labels.from_arrays([0, 0], [0, 0], [0, 1], num_classes=2)
    with pytest.raises(InputError, match="more than once"):
        labels.dense()
    with pytest.raises(InputError, match="3 dimensions"):
        Labels.from_dense(jnp.zeros((1, 1, 1), int), num_classes=2)


def test_assessment():
    gold = Assessment.from_arrays([2, 0], [1, 0], num_examples=3, num_classes=2)
    np.testing.assert_array_equal(gold.true_label, [0, MISSING, 1])
    np.testing.assert_array_equal(gold.is_gold, [True, False, True])
    assert gold.num_gold == 2
    assert Assessment.none(3, 2).num_gold == 0
    with pytest.raises(InputError, match="more than one gold"):
        Assessment.from_arrays([0, 0], [1, 1], num_examples=1, num_classes=2)
    with pytest.raises(InputError, match=r"example\[0\] is 3"):
        Assessment.from_arrays([3], [1], num_examples=3, num_classes=2)


@hypothesis.given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40))
def test_distinct_values(values):
    values = np.array(values, np.int64)
    np.testing.assert_array_equal(distinct(np.tile(values, 2)), sorted(set(values.tolist())))


def test_pairs_without_an_answer():
    """Each once, in order; no pair of another example or labeler goes for one that was answered."""
    example, labeler = np.array([4, 1, 4, 0, 1]), np.array([2, 0, 2, 1, 2])
    found = unanswered(example, labeler, np.array([0, 1, 4]), np.array([1, 1, 0]), 3)
    np.testing.assert_array_equal(found, [[1, 1, 4], [0, 2, 2]])
    np.testing.assert_array_equal(unanswered(example, labeler, *found, 3), [[0], [1]])
