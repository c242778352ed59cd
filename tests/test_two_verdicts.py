"""Panels that follow two verdicts: found in labels alone, and a posterior that allows for both."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from gtx_bayes import aggregate
from gtx_bayes.aggregation.update import update
from gtx_bayes.errors import InputError, WarningNote
from gtx_bayes.inference.two_verdicts import two_verdicts
from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.models.bloc import BlocModel
from tests.crowds import named

NUM_EXAMPLES = 600
COPIES = range(5)


def coin(rng, truth, accuracy, num_classes=2):
    """Labels of some labelers, wrong ones alike; `accuracy` by labeler, or labeler and example."""
    accuracy = np.reshape(accuracy, (len(accuracy), -1))
    other = (truth + rng.integers(1, num_classes, (len(accuracy), truth.size))) % num_classes
    return np.where(rng.random(other.shape) < accuracy, truth, other)


def panel(rng, num_classes=2, num_examples=NUM_EXAMPLES):
    """Five copies of a judge who is right with .75, and three labelers of .85."""
    truth = rng.integers(0, num_classes, num_examples)
    verdict = coin(rng, truth, [0.75], num_classes)[0]
    copies = coin(rng, verdict, [0.95] * len(COPIES), num_classes)
    return truth, np.concatenate([copies, coin(rng, truth, [0.85] * 3, num_classes)])


def labels_of(dense, num_classes=2):
    return Labels.from_dense(dense.astype(np.int8), num_classes=num_classes)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_sides_are_found(num_classes):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        _, dense = panel(rng, num_classes)
        order = rng.permutation(len(dense))
        dense[rng.random(dense.shape) < 0.1] = MISSING
        larger, smaller = two_verdicts(labels_of(dense[order], num_classes))
        assert set(order[list(larger)]) == set(COPIES)
        assert set(larger) | set(smaller) == set(range(len(dense)))


def uneven_accuracies(rng, truth):
    return coin(rng, truth, rng.uniform(0.6, 0.95, 9))


def hard_examples(rng, truth):
    is_hard = rng.random(truth.size) < 0.4
    accuracy = rng.uniform(0.65, 0.95, 9)[:, None]
    return coin(rng, truth, np.where(is_hard, 0.5 + 0.25 * (accuracy - 0.5), accuracy))


def graded_difficulty(rng, truth):
    ease = 1.5 * rng.normal(size=truth.size)
    return coin(rng, truth, 1.0 / (1.0 + np.exp(-rng.uniform(0.5, 2.5, (9, 1)) - ease)))


def misleading_examples(rng, truth):
    look = np.where(rng.random(truth.size) < 0.12, 1 - truth, truth)
    is_pulled = rng.random((9, truth.size)) < 0.8 * (rng.random(truth.size) < 0.4)
    return np.where(is_pulled, look, coin(rng, truth, rng.uniform(0.65, 0.95, 9)))


def biased_labelers(rng, truth):
    accuracy = np.stack([rng.uniform(0.5, 0.7, 9), rng.uniform(0.85, 0.99, 9)])
    accuracy[:, ::2] = accuracy[::-1, ::2]
    return coin(rng, truth, accuracy[truth].T)


@pytest.mark.parametrize(
    "crowd",
    [uneven_accuracies, hard_examples, graded_difficulty, misleading_examples, biased_labelers],
)
def test_one_verdict_is_not_taken_for_two(crowd):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 2, NUM_EXAMPLES)
        assert two_verdicts(labels_of(crowd(rng, truth))) is None


def test_only_panels_are_asked():
    rng = np.random.default_rng(0)
    _, dense = panel(rng)
    sparse = np.where(rng.random(dense.shape) < 0.3, dense, MISSING)
    for few in (sparse, dense[3:7], dense[:, :40]):
        assert two_verdicts(labels_of(few)) is None


@pytest.mark.slow
def test_both_explanations_count_without_gold():
    """Half each, and a warning."""
    truth, dense = panel(np.random.default_rng(1))
    crowd = named(labels_of(dense))
    result = aggregate(crowd)
    joint = result.fit.joint
    assert {each.model for each in joint.components} == {"bloc"}
    assert min(joint.weights) > 0.3
    assert any(isinstance(note, WarningNote) and "two verdicts" in note for note in result.notes)
    probs = np.asarray(result.class_probs)
    # Where the copies and all three others differ nothing tells who is right.
    of_copies = dense[:5].sum(axis=0) > 2
    is_open = (dense[5:] != of_copies).all(axis=0)
    assert is_open.sum() > 20
    assert (probs.max(axis=1)[is_open] < 0.75).all()
    likely = np.log(probs[np.arange(truth.size), truth]).mean()
    shares = (dense.sum(axis=0) + 0.5) / 9.0
    assert likely > np.log(np.where(truth == 1, shares, 1.0 - shares)).mean()


@pytest.mark.slow
def test_gold_decides_between_explanations():
    """In one fit, and in a fit of labels alone that learns of it later."""
    truth, dense = panel(np.random.default_rng(1))
    crowd = named(labels_of(dense))
    result = aggregate(crowd)
    decided = aggregate(named(labels_of(dense), truth[:15]))
    later = pd.DataFrame({"task": crowd.example_names[:15], "label": crowd.class_names[truth[:15]]})
    grown = update(result, gold=later).result
    np.testing.assert_allclose(grown.class_probs, decided.class_probs, atol=1e-3)
    assert grown.fit.joint.lead.labeler_model == decided.fit.joint.lead.labeler_model
    lead = decided.fit.joint.lead.labeler_model
    assert set(lead.members) == set(COPIES)
    assert decided.fit.joint.weights[0] > 0.9
    assert not any(isinstance(note, WarningNote) and "verdict" in note for note in decided.notes)
    assert any("w0, w1, w2, w3, w4 report one shared" in note for note in decided.notes)
    right = np.asarray(decided.class_probs).argmax(axis=1) == truth
    # Three of .85 by majority are right with .939: binomial, 1e-6.
    assert right.sum() >= scipy.stats.binom.ppf(1e-6, truth.size, 0.92)
    accuracy = decided.labelers().set_index("worker")["accuracy"]
    assert accuracy["w0"] < accuracy["w5"]


def test_members_are_labelers():
    labels = labels_of(panel(np.random.default_rng(0))[1])
    for wrong in ((0, 9), (-1,)):
        with pytest.raises(InputError, match="the bloc has a member"):
            BlocModel(members=wrong).for_labels(labels)
    assert dataclasses.replace(BlocModel(), members=(0, 1)).notes(["x", "y"], 0.5) == (
        "With a probability of 0.50 x, y report one shared verdict and tell no more than one "
        "labeler.",
    )
